"""Reading the part of HDF5 that Keras and h5py write, in Python alone: ``with File(path) as file: file["a/b"].read()``.

From the *HDF5 File Format Specification*, version 3.0: superblocks 0 to 3, both kinds of object headers, groups and
attributes stored either way (symbol tables; link messages, fractal heaps and B-trees of version 2), numbers, text and
booleans; compact, contiguous and chunked data, with gzip and shuffle.  What is left out is refused by name: links to
elsewhere, compound types, references, other filters, chunk indices of libver="latest" for more than one chunk.

A file is untrusted.  Every address and size is checked against the file before anything is read or
allocated, no piece is visited twice in one walk, and all walks of one file share a budget; whatever is wrong is a
ModelFileError.  Checksums are not compared: the oldest files have none, and what they guard is checked in other ways.
"""

from minirnn.formats.containers.hdf5.objects import SIGNATURE, Dataset, File, Group

__all__ = ["SIGNATURE", "Dataset", "File", "Group"]
