"""Planted in what reads and writes Keras' files, and in the reader of HDF5."""

from faults.fault import Fault

# fmt: off
FAULTS = {
    "keras: r and z as Keras has them": Fault(
        "formats/keras/weights.py",
        (('return [1, 0, 2] if kind == "GRU"', 'return [0, 1, 2] if kind == "GRU"'),),
        "formats/keras/test_keras_files.py",
    ),
    "keras: a GRU's second bias in both": Fault(
        "formats/keras/weights.py",
        (("            both[1, 2] = 0  # stands apart, as bn\n", "            pass\n"),),
        "formats/keras/test_keras_files.py",
    ),
    "keras: cuDNN's gates not turned": Fault(
        "formats/keras/weights.py",
        (('"U": kernel(stored[1], lambda k: k.T)', '"U": kernel(stored[1], lambda k: k)'),),
        "formats/keras/test_keras_files.py",
    ),
    "keras: cuDNN's input in C's order": Fault(
        "formats/keras/weights.py",
        (('k.T.reshape(k.shape, order="F")', "k.T.reshape(k.shape)"),),
        "formats/keras/test_keras_files.py",
    ),
    "keras: a weight of any shape": Fault(
        "formats/keras/weights.py",
        (("if dataset.shape not in shapes:", "if False:"),),
        "formats/keras/test_keras_files.py",
    ),
    "keras: hard sigmoid always Keras 3's": Fault(
        "formats/keras/functions.py",
        (("0.2 if keras < 3 else 1 / 6", "1 / 6"),),
        "formats/keras/test_keras_files.py",
    ),
    "keras: hard sigmoid always Keras 2's": Fault(
        "formats/keras/functions.py",
        (("0.2 if keras < 3 else 1 / 6", "0.2"),),
        "formats/keras/test_keras_files.py",
    ),
    "keras: every merge a sum": Fault(
        "formats/keras/layers.py",
        (("Bidirectional(one.layer, other.layer, merge)", 'Bidirectional(one.layer, other.layer, "sum")'),),
        "formats/keras/test_keras_files.py",
    ),
    "keras: go_backwards forgotten": Fault(
        "formats/keras/layers.py",
        (("            placed.insert(0, Placed(Reverse()))\n", "            pass\n"),),
        "formats/keras/test_keras_files.py",
    ),
    "keras: mask_zero forgotten": Fault(
        "formats/keras/layers.py",
        (("mask=0 if zero else None", "mask=None"),),
        "formats/keras/test_keras_files.py",
    ),
    "keras: a weight left over": Fault(
        "formats/keras/stores.py",
        (("if array.name not in used and", "if False and"),),
        "formats/keras/test_keras_files.py",
    ),
    "keras: more weights than the file": Fault(
        "formats/keras/reading.py",
        (("if total > root.source.size or", "if"),),
        "formats/keras/test_keras_files.py",
    ),
    "keras out: a GRU's biases exchanged": Fault(
        "formats/keras/weights.py",
        (('np.stack([arrays["bias"], inner])', 'np.stack([inner, arrays["bias"]])'),),
        "formats/keras/test_keras_files.py",
    ),
    "keras out: all steps for the last": Fault(
        "formats/keras/describing.py",
        (("whole = last is None or not top", "whole = True"),),
        "formats/keras/test_keras_files.py",
    ),
    "keras out: Reverse forgotten": Fault(
        "formats/keras/describing.py",
        (("backwards=type(before) is Reverse", "backwards=False"),),
        "formats/keras/test_keras_files.py",
    ),
    "keras out: directions exchanged": Fault(
        "formats/keras/describing.py",
        (("[here[:1], here[1:]]", "[here[1:], here[:1]]"),),
        "formats/keras/test_keras_files.py",
    ),
    "keras out: frozen forgotten": Fault(
        "formats/keras/describing.py",
        (("trains = not owned or not", "trains = True or not"),),
        "formats/keras/test_keras_files.py",
    ),
    "keras out: any hard sigmoid": Fault(
        "formats/keras/functions.py",
        (("if isclose(f.constants[0], slopes[version][0], rel_tol=1e-7):", "if True:"),),
        "formats/keras/test_keras_files.py",
    ),
    "keras out: a mask turned around": Fault(
        "formats/keras/describing.py",
        (("        if self.turned:\n", "        if False:\n"),),
        "formats/keras/test_keras_files.py",
    ),
    "keras out: NaN written": Fault(
        "formats/keras/writing.py",
        (("if not np.isfinite(array).all():", "if False:"),),
        "formats/keras/test_keras_files.py",
    ),
    "hdf5: an array larger than the file": Fault(
        "formats/hdf5/storage.py",
        (("if self.nbytes > self.expansion * self.source.size:", "if False:"),),
        "formats/keras/test_keras_files.py",
    ),
    "hdf5: chunks of any size": Fault(
        "formats/hdf5/chunks.py",
        (("if whole > 4 * self.size * prod(self.shape) + LARGEST_SMALL:", "if False:"),),
        "formats/keras/test_keras_files.py",
    ),
    "hdf5: any number of bytes made up": Fault(
        "formats/hdf5/source.py",
        (("        if self._unwritten < 0:\n", "        if False:\n"),),
        "formats/keras/test_keras_files.py",
    ),
    "hdf5: a zip's worth forgotten": Fault(
        "formats/hdf5/source.py",
        (("worth = self.size if packed is None else min(packed, self.size)", "worth = self.size"),),
        "formats/keras/test_keras_files.py",
    ),
    "keras: Windows' names as they are": Fault(
        "formats/keras/stores.py",
        (("self.names.get(place.removesuffix('/vars'), place.removesuffix('/vars'))", "place.removesuffix('/vars')"),),
        "formats/keras/test_keras_files.py",
    ),
    "hdf5: an array past the file's end": Fault(
        "formats/hdf5/source.py",
        (("if address + length > self.size:", "if False:"),),
        "formats/keras/test_keras_files.py",
    ),
    "hdf5: shuffled bytes left so": Fault(
        "formats/hdf5/chunks.py",
        (("data = data.reshape(self.size, -1).T.ravel()", "pass"),),
        "formats/keras/test_keras_files.py",
    ),
    "hdf5: a chunk in its neighbour's place": Fault(
        "formats/hdf5/chunks.py",
        (("slice(o, o + n) for o, n in zip(offset, self.chunk", "slice(0, n) for o, n in zip(offset, self.chunk"),),
        "formats/keras/test_keras_files.py",
    ),
    "hdf5: a heap's object one byte late": Fault(
        "formats/hdf5/heaps.py",
        (("self.source.read(block + offset - base, length", "self.source.read(block + offset - base + 1, length"),),
        "formats/keras/test_keras_files.py",
    ),
}
# fmt: on
