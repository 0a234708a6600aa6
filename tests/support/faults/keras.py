"""Planted in what reads and writes Keras' files, and in the reader of HDF5."""

from faults.fault import Fault

# fmt: off
FAULTS = {
    "keras: weights alone of any layers are a chain": Fault(
        "formats/keras/assuming.py",
        (("        if usual not in HARMLESS or inputs > 1:\n", "        if False:\n"),),
        "formats/keras/test_keras_files.py::test_a_layer_without_weights_may_do_anything[flatten]",
    ),
    "keras: what is assumed is not said": Fault(
        "formats/keras/reading.py",
        (("    warn(f", "    (f"),),
        "formats/keras/test_keras_files.py::test_weights_alone_open_as_a_chain_and_what_was_assumed_is_said",
    ),
    "keras: a Dot that is not normalized": Fault(
        "formats/keras/assembling.py",
        (('Dot(*words, normalize=settings.flag("normalize"))', 'Dot(*words, normalize=settings.flag("normalize") and False)'),),
        "formats/keras/test_keras_files.py::test_a_dot_that_is_normalized_is_read_as_one",
    ),
    "keras: r and z as Keras has them": Fault(
        "formats/keras/weights.py",
        (('return [1, 0, 2] if kind == "GRU"', 'return [0, 1, 2] if kind == "GRU"'),),
        "formats/keras/test_keras_files.py::test_a_file_of_keras_gives_its_numbers[Keras 3, .keras]",
    ),
    "keras: a GRU's second bias in both": Fault(
        "formats/keras/weights.py",
        (("            both[1, 2] = 0  # stands apart, as bn\n", "            pass\n"),),
        "formats/keras/test_keras_files.py::test_a_file_of_keras_gives_its_numbers[Keras 3, .keras]",
    ),
    "keras: cuDNN's gates not turned": Fault(
        "formats/keras/weights.py",
        (('"U": kernel(stored[1], lambda k: k.T)', '"U": kernel(stored[1], lambda k: k)'),),
        "formats/keras/test_keras_files.py::test_a_file_of_keras_gives_its_numbers[Keras 2, cuDNN]",
    ),
    "keras: cuDNN's input in C's order": Fault(
        "formats/keras/weights.py",
        (('k.T.reshape(k.shape, order="F")', "k.T.reshape(k.shape)"),),
        "formats/keras/test_keras_files.py::test_a_file_of_keras_gives_its_numbers[Keras 2, cuDNN]",
    ),
    "keras: a weight of any shape": Fault(
        "formats/keras/weights.py",
        (("if dataset.shape not in shapes:", "if False:"),),
        "formats/keras/test_keras_files.py::test_sizes_are_held_against_the_file_before_memory_is_taken",
    ),
    "keras: hard sigmoid always Keras 3's": Fault(
        "formats/keras/functions.py",
        (("0.2 if keras < 3 else 1 / 6", "1 / 6"),),
        "formats/keras/test_keras_files.py::test_a_file_of_keras_gives_its_numbers[Keras 2, .keras]",
    ),
    "keras: hard sigmoid always Keras 2's": Fault(
        "formats/keras/functions.py",
        (("0.2 if keras < 3 else 1 / 6", "0.2"),),
        "formats/keras/test_keras_files.py::test_a_file_of_keras_gives_its_numbers[Keras 3, .weights.h5]",
    ),
    "keras: every merge a sum": Fault(
        "formats/keras/layers.py",
        (("Bidirectional(one.layer, other.layer, merge)", 'Bidirectional(one.layer, other.layer, "sum")'),),
        "formats/keras/test_keras_files.py::test_a_file_of_keras_gives_its_numbers[Keras 3, .h5]",
    ),
    "keras: go_backwards forgotten": Fault(
        "formats/keras/layers.py",
        (("            placed.insert(0, Placed(Reverse()))\n", "            pass\n"),),
        "formats/keras/test_keras_files.py::test_a_file_of_keras_gives_its_numbers[Keras 3, .weights.h5]",
    ),
    "keras: mask_zero forgotten": Fault(
        "formats/keras/layers.py",
        (("mask=0 if zero else None", "mask=None"),),
        "formats/keras/test_keras_files.py::test_a_file_of_keras_gives_its_numbers[Keras 3, .keras]",
    ),
    "keras: a weight left over": Fault(
        "formats/keras/stores.py",
        (("if array.name not in used and", "if False and"),),
        "formats/keras/test_keras_files.py::test_every_weight_belongs_to_a_layer",
    ),
    "keras: more weights than the file": Fault(
        "formats/keras/reading.py",
        (("if total > size or", "if"),),
        "formats/keras/test_keras_files.py::test_sizes_are_held_against_the_file_before_memory_is_taken",
    ),
    "keras out: a GRU's biases exchanged": Fault(
        "formats/keras/weights.py",
        (('np.stack([arrays["bias"], inner])', 'np.stack([inner, arrays["bias"]])'),),
        "formats/keras/test_keras_files.py::test_a_model_in_the_words_of_keras_is_the_same_model[2]",
    ),
    "keras out: all steps for the last": Fault(
        "formats/keras/describing.py",
        (("whole = last is None or not top", "whole = True"),),
        "formats/keras/test_keras_files.py::test_a_model_in_the_words_of_keras_is_the_same_model[2]",
    ),
    "keras out: Reverse forgotten": Fault(
        "formats/keras/describing.py",
        (("backwards=type(before) is Reverse", "backwards=False"),),
        "formats/keras/test_keras_files.py::test_what_keras_saved_in_its_words_again[Keras 3, .weights.h5]",
    ),
    "keras out: directions exchanged": Fault(
        "formats/keras/describing.py",
        (("[here[:1], here[1:]]", "[here[1:], here[:1]]"),),
        "formats/keras/test_keras_files.py::test_a_model_in_the_words_of_keras_is_the_same_model[2]",
    ),
    "keras out: frozen forgotten": Fault(
        "formats/keras/describing.py",
        (("trains = not layers or not", "trains = True or not"),),
        "formats/keras/test_keras_files.py::test_frozen_layers_do_not_train_and_biases_that_there_are_not_are_left_out",
    ),
    "keras out: any hard sigmoid": Fault(
        "formats/keras/functions.py",
        (("if isclose(f.constants[0], slopes[version][0], rel_tol=1e-7):", "if True:"),),
        "formats/keras/test_keras_files.py::test_what_keras_has_no_words_for_is_named[Keras 2's hard sigmoid]",
    ),
    "keras out: a mask turned around": Fault(
        "formats/keras/describing.py",
        (("        if self.mask_reversed:\n", "        if False:\n"),),
        "formats/keras/test_keras_files.py::test_what_keras_has_no_words_for_is_named[a mask turned around]",
    ),
    "keras out: NaN written": Fault(
        "formats/keras/writing.py",
        (("            check_finite((", "            tuple(("),),
        "formats/keras/test_keras_files.py::test_a_diverged_model_is_not_saved",
    ),
    "saved model: any bytes for a shape": Fault(
        "formats/containers/bundle.py",
        (("if min(self.shape, default=0) < 0 or prod(self.shape) * self.dtype.itemsize != self.nbytes:", "if False:"),),
        "formats/keras/test_keras_saved.py::test_an_index_that_lies_is_refused",
    ),
    "saved model: tensors behind the end": Fault(
        "formats/containers/bundle.py",
        (("if min(offset, size) < 0 or offset + size > there:", "if False:"),),
        "formats/keras/test_keras_saved.py::test_a_saved_model_without_a_file_is_refused",
    ),
    "saved model: the first variable of every layer": Fault(
        "formats/keras/saved_model.py",
        (("            keys += self.objects[variables[str(k)]].keys", "            keys += self.objects[variables['0']].keys"),),
        "formats/keras/test_keras_saved.py::test_a_saved_model_computes_what_keras_computed",
    ),
    "hdf5: an array larger than the file": Fault(
        "formats/containers/hdf5/storage.py",
        (("if self.nbytes > self.expansion * self.source.size:", "if False:"),),
        "formats/keras/test_keras_files.py::test_sizes_are_held_against_the_file_before_memory_is_taken",
    ),
    "hdf5: chunks of any size": Fault(
        "formats/containers/hdf5/chunks.py",
        (("if whole > 4 * self.size * prod(self.shape) + LARGEST_SMALL:", "if False:"),),
        "formats/hdf5/test_hdf5_stored.py::test_what_is_declared_is_held_against_the_file[a chunk larger than its dataset-chunks must be no larger than their dataset]",
    ),
    "hdf5: any number of bytes made up": Fault(
        "formats/containers/hdf5/source.py",
        (("        if self._unwritten < 0:\n", "        if False:\n"),),
        "formats/hdf5/test_hdf5_stored.py::test_what_is_declared_is_held_against_the_file[an array that was never written-arrays must be written]",
    ),
    "hdf5: a zip's worth forgotten": Fault(
        "formats/containers/hdf5/source.py",
        (("worth = self.size if packed is None else min(packed, self.size)", "worth = self.size"),),
        "formats/hdf5/test_hdf5_stored.py::test_what_stands_in_a_zip_expands_to_what_the_zip_is_worth",
    ),
    "keras: Windows' names as they are": Fault(
        "formats/keras/stores.py",
        (("{self.names.get(place, place)}/vars", "{place}/vars"),),
        "formats/hdf5/test_hdf5_stored.py::test_groups_are_the_same_whatever_joins_their_names[backslashes]",
    ),
    "keras: a pickle of any size": Fault(
        "formats/keras/reading.py",
        (("if length > LARGEST_PICKLE:", "if False:"),),
        "formats/keras/test_keras_pickled.py::test_bounds_are_checked_before_a_pickle_is_read",
    ),
    "keras: the first of several in a pickle": Fault(
        "formats/keras/reading.py",
        (("if len(files) != 1:", "if not files:"),),
        "formats/keras/test_keras_pickled.py::test_what_is_no_such_pickle_is_refused",
    ),
    "keras: a pickle without end": Fault(
        "formats/containers/packed.py",
        (("if steps == MOST_INSTRUCTIONS:", "if False:"),),
        "formats/keras/test_keras_pickled.py::test_instructions_are_counted",
    ),
    "hdf5: an array past the file's end": Fault(
        "formats/containers/hdf5/source.py",
        (("if address + length > self.size:", "if False:"),),
        "formats/keras/test_keras_files.py::test_sizes_are_held_against_the_file_before_memory_is_taken",
    ),
    "hdf5: shuffled bytes left so": Fault(
        "formats/containers/hdf5/chunks.py",
        (("data = data.reshape(self.size, -1).T.ravel()", "pass"),),
        "formats/keras/test_keras_files.py::test_a_file_of_keras_gives_its_numbers[Keras 3, .h5, earliest]",
    ),
    "hdf5: a chunk in its neighbour's place": Fault(
        "formats/containers/hdf5/chunks.py",
        (("slice(o, o + n) for o, n in zip(offset, self.chunk", "slice(0, n) for o, n in zip(offset, self.chunk"),),
        "formats/keras/test_keras_files.py::test_a_file_of_keras_gives_its_numbers[Keras 3, .h5, earliest]",
    ),
    "hdf5: a heap's object one byte late": Fault(
        "formats/containers/hdf5/heaps.py",
        (("self.source.read(block + offset - base, length", "self.source.read(block + offset - base + 1, length"),),
        "formats/keras/test_keras_files.py::test_a_file_of_keras_gives_its_numbers[Keras 3, .h5, earliest]",
    ),
    "keras: a convolution's function left out": Fault(
        "formats/keras/layers.py",
        (("return [around.placed(kind, settings, stored, steps, self.width, rank), *_applied(activation)]", "return [around.placed(kind, settings, stored, steps, self.width, rank)]"),),
        "formats/keras/test_keras_files.py::test_a_convolution_has_its_function_and_its_order",
    ),
    "keras: a kernel's axes in another order": Fault(
        "formats/keras/around.py",
        (('kernel = w["W"].reshape(layer.kernel_size, -1, layer.out_channels)', 'kernel = w["W"].reshape(-1, layer.kernel_size, layer.out_channels).swapaxes(0, 1)'),),
        "formats/keras/test_keras_files.py::test_a_convolution_has_its_function_and_its_order",
    ),
    "keras: epsilon as torch has it": Fault(
        "formats/keras/around.py",
        (("EPSILON = 1e-3", "EPSILON = 1e-5"),),
        "formats/keras/test_keras_files.py::test_a_norm_that_says_nothing_has_keras_defaults",
    ),
    "keras: always a layer's first call": Fault(
        "formats/keras/functional.py",
        (("k = 0 if count <= 1 else place.call", "k = 0"),),
        "formats/keras/test_keras_files.py::test_a_file_of_keras_gives_its_numbers[Keras 3, a graph in .keras]",
    ),
    "keras: no initial state": Fault(
        "formats/keras/assembling.py",
        (("own = initial if name in states else []", "own = []"),),
        "formats/keras/test_keras_files.py::test_a_file_of_keras_gives_its_numbers[Keras 3, a graph in .keras]",
    ),
}
# fmt: on
