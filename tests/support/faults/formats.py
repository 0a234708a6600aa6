"""Planted in model files: minirnn's own, and torch's."""

from faults.fault import Fault

# fmt: off
FAULTS = {
    "zoneout: exported": Fault(
        "formats/torch/writing.py",
        (("and not layer.trainable_state and not layer.zoneout", "and not layer.trainable_state"),),
        "recurrent/test_noise.py::test_what_acts_in_training_alone_is_nothing_elsewhere",
    ),
    "load: shapes not compared": Fault(
        "formats/native.py",
        (("if shape is None or shape != actual:", "if (shape is None) != (actual is None):"),),
        "formats/test_files.py::test_an_absurd_description_is_refused_at_once_and_allocates_nothing[embedding of 10**12]",
    ),
    "opening: a list of entries of any length is read": Fault(
        "formats/containers/zip.py",
        (("        if size > self.most:\n", "        if False:\n"),),
        "formats/torch/test_hostile_torch.py::test_a_trick_ends_in_a_refusal[a list of entries that goes on-load]",
    ),
    "torch: a storage read for every tensor in it": Fault(
        "formats/torch/reading.py",
        (("if left[entry] <= 0:", "if True:"),),
        "formats/torch/test_hostile_torch.py::test_a_trick_ends_in_a_refusal[many layers of large storages-load]",
    ),
    "torch: what a pickle makes is not counted": Fault(
        "formats/containers/pickle.py",
        (("if self.held > MOST_HELD + len(self.data):", "if False:"),),
        "formats/test_file_costs.py::test_what_a_pickle_makes_is_counted_in_bytes",
    ),
    "torch: any integer is a key": Fault(
        "formats/containers/pickle.py",
        (("(type(key) is int and abs(key) < LARGEST_KEY)", "type(key) is int"),),
        "formats/test_file_costs.py::test_entries_with_other_keys_than_strings_and_small_integers_are_skipped",
    ),
    "opening: a header of any size is parsed": Fault(
        "formats/opening.py",
        (("    if size > LARGEST_HEADER:\n", "    if False:\n"),),
        "formats/test_file_costs.py::test_a_safetensors_header_is_measured_before_it_is_parsed",
    ),
    "save: deeper than can be loaded": Fault(
        "formats/native.py",
        (('    if depth > DEEPEST:\n        raise ValueError(f"a model file may', '    if False:\n        raise ValueError(f"a model file may'),),
        "formats/test_file_costs.py::test_what_would_not_load_is_not_saved",
    ),
    "load: true for a number": Fault(
        "formats/native.py",
        (("if isinstance(value, bool) is not (name in FLAGS):", "if False:"),),
        "formats/test_file_costs.py::test_a_flag_is_no_number_and_a_number_no_flag[network2-about2-in_features must not be true or false]",
    ),
    "torch: what is made of a foreign object is called": Fault(
        "formats/containers/pickle.py",
        (("        if first is None:\n", "        if type(function) is KnownFunction:\n"),),
        "formats/torch/test_foreign_objects.py::test_what_cannot_be_skipped_is_named[complex numbers]",
    ),
    "torch: a weight that is no tensor is left out": Fault(
        "formats/torch/network.py",
        (("            if is_weight(last):\n", "            if False:\n"),),
        "formats/torch/test_foreign_objects.py::test_what_cannot_be_skipped_is_named[a bias of another kind]",
    ),
    "torch: what is assumed is not said": Fault(
        "formats/torch/network.py",
        (("assumed = [] if modules is not None else assumptions(chain, order)", "assumed = []"),),
        "formats/torch/test_torch_assumed.py::test_unless_it_is_said_it_is_assumed_aloud_or_refused[a gap in an nn.Sequential]",
    ),
    "torch: a number that is missing is nothing": Fault(
        "formats/torch/assumptions.py",
        (("            if high - low > 1:\n", "            if False:\n"),),
        "formats/torch/test_torch_assumed.py::test_unless_it_is_said_it_is_assumed_aloud_or_refused[the last step]",
    ),
    "torch: two networks are one": Fault(
        "formats/torch/assumptions.py",
        (("    if not several:\n        return []\n", "    if True:\n        return []\n"),),
        "formats/torch/test_torch_assumed.py::test_what_is_assumed_is_said[two networks]",
    ),
    "torch: final states of one direction": Fault(
        "formats/torch/modules.py",
        (("Last(bidirectional=len(weighted[-1].directions) > 1)", "Last()"),),
        "formats/torch/test_torch_assumed.py::test_what_is_said_of_a_file_makes_it_compute_what_torch_computes[final states of both directions-.pt]",
    ),
    "opening: a text may be ONNX": Fault(
        "formats/opening.py",
        (("head[0] in ONNX_FIELDS and not text:", "head[0] in ONNX_FIELDS:"),),
        "formats/test_unknown_files.py::test_a_file_is_called_what_it_is[text that begins as ONNX may]",
    ),
    "torch: shown whole": Fault(
        "formats/containers/pickle.py",
        (("if type(value) in _SCALARS else type(value).__name__", "if True else ''"),),
        "formats/torch/test_hostile_torch.py::test_a_trick_ends_in_a_refusal[a storage named by a tree-load]",
    ),
    "torch: no numbers in too many places": Fault(
        "formats/torch/reading.py",
        (("return prod(n or 1 for n in shape) > LARGEST_SIZE", "return False"),),
        "formats/torch/test_hostile_torch.py::test_a_trick_ends_in_a_refusal[a tensor of no numbers and of many-load]",
    ),
    "torch: steps of a name taken off one by one": Fault(
        "formats/torch/network.py",
        (("    paths = [path[alike:] for path in paths]\n", "    for _ in range(alike):\n        paths = [path[1:] for path in paths]\n"),),
        "formats/torch/test_hostile_torch.py::test_a_trick_ends_in_a_refusal[names of a million steps-load]",
    ),
    "torch: entries may overlap": Fault(
        "formats/containers/zip.py",
        (("if info.header_offset < free or", "if"),),
        "formats/torch/test_hostile_torch.py::test_a_trick_ends_in_a_refusal[entries that share their bytes-load]",
    ),
    "save: frozen forgotten": Fault(
        "formats/native.py",
        (('"frozen": sorted(parameters.frozen)', '"frozen": []'),),
        "formats/test_files.py::test_a_model_comes_back_bit_for_bit[float32-sequential]",
    ),
    "save: a cell's options forgotten": Fault(
        "formats/native.py",
        (("({} if isinstance(cell, type) else cell.config())", "{}"),),
        "formats/test_files.py::test_a_model_comes_back_bit_for_bit[float32-another function]",
    ),
    "load: any class for a cell": Fault(
        "formats/native.py",
        (("            if name not in VARIANTS and (name not in NAMED or cell):\n", "            if False:\n"),),
        "formats/test_files.py::test_a_cell_that_describes_none_is_refused[of an unknown kind]",
    ),
}
# fmt: on
