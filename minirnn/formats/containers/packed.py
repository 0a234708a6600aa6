"""A file within a pickle, as ``pickle.dump`` of a Keras model makes it: the bytes of a ``.keras`` file, to be opened.

The pickle names a function of Keras and holds the bytes that it would be called with; some hold those of an ``.h5``
file, and nothing else.  Its instructions are gone over with the standard library's ``pickletools``, which carries none
of them out.
"""

from contextlib import suppress
from io import BytesIO

LARGEST_PICKLE = 2**28  # bytes
MOST_INSTRUCTIONS = 2**14  # that are gone over: a model is few, and what was pickled beside it a record of its training
SIGNATURES = (b"PK\x03\x04", b"\x89HDF\r\n\x1a\n")  # with which the files begin
KERAS = b"keras"
PICKLE = b"\x80"


def is_packed(head: bytes) -> bool:
    """Whether a file that begins so is a pickle that names Keras and holds such a file."""
    return head.startswith(PICKLE) and KERAS in head and any(signature in head for signature in SIGNATURES)


def files_in(data: bytes) -> list[bytes]:
    """The files that a pickle holds as strings of bytes, each once; none where it is no sound pickle.

    An instruction that states more bytes than there are takes no memory for them.
    """
    import pickletools  # 3 ms that most programs do not need

    files: dict[bytes, None] = {}
    with suppress(ValueError):  # of an unknown instruction, or one that is cut off: what stands before it counts
        for steps, (_, argument, _) in enumerate(pickletools.genops(BytesIO(data)), start=1):
            if isinstance(argument, (bytes, bytearray)) and argument.startswith(SIGNATURES):
                files[bytes(argument)] = None
            if steps == MOST_INSTRUCTIONS:
                break
    return list(files)
