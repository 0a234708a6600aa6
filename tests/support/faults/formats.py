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
        "formats/test_wrong_files.py::test_an_absurd_description_is_refused_at_once_and_allocates_nothing[embedding of 10**12]",
    ),
    "opening: a list of entries of any length is read": Fault(
        "formats/containers/zip.py",
        (("        if size > self.most:\n", "        if False:\n"),),
        "formats/torch/test_hostile_torch.py::test_a_trick_ends_in_a_refusal[a list of entries that goes on-load]",
    ),
    "torch: a storage in a pickle parsed for every tensor": Fault(
        "formats/torch/plain.py",
        (("if id(data) not in made:", "if True:"),),
        "formats/torch/test_plain_pickles.py::test_a_storage_that_is_referred_to_again_is_read_once",
    ),
    "torch: attention that reads another sequence is one layer": Fault(
        "formats/torch/rules.py",
        (("reads = (query, value, key) if key.node", "reads = (query,) if key.node"),
         ("else (query, value) if value.node != query.node else (query,)", "else (query,)")),
        "formats/torch/test_torch_graphs.py::test_a_program_computes_what_it_computes_in_torch[Cells-scripted]",
    ),
    "torch programs: h is c": Fault(
        "formats/torch/graphs.py",
        (('place * count + "hc".index(name)', "place * count"),),
        "formats/torch/test_torch_graphs.py::test_a_program_computes_what_it_computes_in_torch[Cells-scripted]",
    ),
    "torch programs: rows come first where they do within": Fault(
        "formats/torch/network.py",
        (("orders == {True} if outline.batch_first is None else outline.batch_first", "orders == {True}"),),
        "formats/torch/test_torch_graphs.py::test_a_program_computes_what_it_computes_in_torch[Turned-traced]",
    ),
    "torch programs: a graph without its second output": Fault(
        "formats/torch/tracing.py",
        (("        if not all(isinstance(one, Tensor) for one in results):", "        if True:"),),
        "formats/torch/test_programs.py::test_a_program_that_is_no_chain_computes_what_it_computes_in_torch[scripted Heads]",
    ),
    "torch: attention's mask is overlooked in a graph": Fault(
        "formats/torch/exported.py",
        (("        if name not in self.USUAL or masked:\n", "        if False:\n"),),
        "formats/torch/test_torch_attention.py::test_what_reads_more_than_one_sequence_is_no_chain[OfEarlier-exported]",
    ),
    "torch: any square matrix taken for a field": Fault(
        "formats/torch/modules.py",
        (('return alone and ends in ({}, {"start_transitions": shape[:1], "end_transitions": shape[:1]})', "return alone"),),
        "formats/torch/test_fields.py::test_what_is_like_no_field_is_not_left_out",
    ),
    "torch: a list of pairs gone over for nothing": Fault(
        "formats/torch/pickled.py",
        (("if not sound or len({pair[0] for pair in pairs}) < len(pairs):", "if not sound:"),),
        "formats/torch/test_old_pickles.py::test_others_are_refused",
    ),
    "torch: a pickle of any size": Fault(
        "formats/torch/plain.py",
        (("if length > LARGEST_PICKLE:", "if False:"),),
        "formats/torch/test_plain_pickles.py::test_sizes_are_checked_before_a_pickle_is_read",
    ),
    "torch: a storage read for every tensor in it": Fault(
        "formats/torch/pickled.py",
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
        (("        if is_weight(last):\n", "        if False:\n"),),
        "formats/torch/test_foreign_objects.py::test_what_cannot_be_skipped_is_named[a bias of another kind]",
    ),
    "torch: what is assumed is not said": Fault(
        "formats/torch/network.py",
        (("    if assumed or source.rivals:\n", "    if source.rivals:\n"),),
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
        "formats/torch/stored.py",
        (("return prod(n or 1 for n in shape) > LARGEST_SIZE", "return False"),),
        "formats/torch/test_hostile_torch.py::test_a_trick_ends_in_a_refusal[a tensor of no numbers and of many-load]",
    ),
    "torch: steps of a name taken off one by one": Fault(
        "formats/torch/chains.py",
        (("    paths = [path[alike:] for path in paths]\n", "    for _ in range(alike):\n        paths = [path[1:] for path in paths]\n"),),
        "formats/torch/test_hostile_torch.py::test_a_trick_ends_in_a_refusal[names of a million steps-load]",
    ),
    "torch: entries may overlap": Fault(
        "formats/containers/zip.py",
        (("if info.header_offset < free or", "if"),),
        "formats/torch/test_hostile_torch.py::test_a_trick_ends_in_a_refusal[entries that share their bytes-load]",
    ),
    "torch: objects of a class share their attributes": Fault(
        "formats/containers/pickle.py",
        (("self.part(self.taken(Foreign, \"makes an object of a\").another())", "self.part(self.taken(Foreign, \"makes an object of a\"))"),),
        "formats/torch/test_whole_modules.py::test_objects_of_one_class_have_attributes_of_their_own",
    ),
    "torch: hyperparameters are not compared with the weights": Fault(
        "formats/torch/network.py",
        (("            module.check(outline.settings[path])\n", "            pass\n"),),
        "formats/torch/test_whole_modules.py::test_a_module_that_is_not_sound_is_named[directions that are not those of the weights-zip]",
    ),
    "torch: a Sequential's order is assumed": Fault(
        "formats/torch/records.py",
        (("chains[path] = path if chain is None else chain", "chains[path] = path"),),
        "formats/torch/test_whole_modules.py::test_what_follows_what_in_sequentials_within_each_other_is_said",
    ),
    "torch: a class that looks like another is that": Fault(
        "formats/torch/records.py",
        (('name.removesuffix("Cell") if name in WEIGHTED else ""', 'name.removesuffix("Cell") if name in WEIGHTED else "Linear"'),),
        "formats/torch/test_whole_modules.py::test_a_module_that_is_not_sound_is_named[a class of torch's that only looks like a Linear-zip]",
    ),
    "torch: dropout of a whole module is lost": Fault(
        "formats/torch/modules.py",
        (("proj_size=self.proj_size, dropout=own.dropout)", "proj_size=self.proj_size)"),),
        "formats/torch/test_whole_modules.py::test_classes_hyperparameters_and_functions_are_read[zip]",
    ),
    "torch: batch_first of a whole module is lost": Fault(
        "formats/torch/network.py",
        (("whole.batch_first = orders == {True}", "whole.batch_first = False"),),
        "formats/torch/test_whole_modules.py::test_classes_hyperparameters_and_functions_are_read[zip]",
    ),
    "torch before 1.6: a storage's length is believed": Fault(
        "formats/torch/legacy.py",
        (("        if places.get(name, (0, -1))[1] != storage.length:\n", "        if name not in places:\n"),),
        "formats/torch/test_whole_modules.py::test_storages_of_the_older_format_are_where_they_are_said_to_be",
    ),
    "torch before 1.6: storages may lie behind the end": Fault(
        "formats/torch/legacy.py",
        (("        if count < 0 or at > length:\n", "        if count < 0:\n"),),
        "formats/torch/test_whole_modules.py::test_storages_of_the_older_format_are_where_they_are_said_to_be",
    ),
    "torch: what is beside a model is dropped without a word": Fault(
        "formats/torch/network.py",
        (("    return wrapper, [Assumption(", "    return wrapper, 0 * [Assumption("),),
        "formats/torch/test_checkpoints.py::test_little_beside_a_model_is_left_out_and_said[a counter]",
    ),
    "torch: a matrix beside a model is left out": Fault(
        "formats/torch/network.py",
        (("if len(tensor.shape) > 1]\n", "if name.partition(\".\")[0] in WRAPPERS]\n"),),
        "formats/torch/test_checkpoints.py::test_a_matrix_beside_a_model_is_not_left_out",
    ),
    "torch programs: a module that is called twice has two sets of weights": Fault(
        "formats/torch/tracing.py",
        (("return tuple(reversed(steps)) if len(set(paths)) == len(paths) else None", "return tuple(reversed(steps))"),),
        "formats/torch/test_programs.py::test_what_is_no_chain_is_a_graph",
    ),
    "torch programs: any step is the last": Fault(
        "formats/torch/moves.py",
        (("            if index == -1:\n", "            if True:\n"),),
        "formats/torch/test_programs.py::test_what_is_read_of_a_recurrent_module",
    ),
    "torch programs: any axis is that of time": Fault(
        "formats/torch/moves.py",
        (('< len(axes) and axes[dim] == "T":', "< len(axes):"),),
        "formats/torch/test_programs.py::test_what_is_read_of_a_recurrent_module",
    ),
    "torch programs: softmax along any axis": Fault(
        "formats/torch/moves.py",
        (('        if dim not in (-1, rank - 1) or (axes and not trace.is_same(axes[-1], "D")):\n', "        if False:\n"),),
        "formats/torch/test_programs.py::test_where_code_is_no_chain_it_says_why[return torch.softmax(x, 1)]",
    ),
    "torch programs: initial states are zeros": Fault(
        "formats/torch/rules.py",
        (("    if not all(one is None or type(one) is Zeros for one in states):\n", "    if False:\n"),),
        "formats/torch/test_programs.py::test_what_is_read_of_a_recurrent_module",
    ),
    "torch programs: part of the steps is all": Fault(
        "formats/torch/moves.py",
        (("whole = start in (None, 0) and end in ENDS and step == 1", "whole = True"),),
        "formats/torch/test_programs.py::test_what_is_read_of_a_recurrent_module",
    ),
    "torch programs: final states of both directions are the last step of one": Fault(
        "formats/torch/moves.py",
        (("trace.add(step_of(Last(bidirectional=True))", "trace.add(step_of(Last())"),),
        "formats/torch/test_programs.py::test_a_program_computes_what_it_computes_in_torch[traced 23]",
    ),
    "torch programs: arguments are shown whole": Fault(
        "formats/torch/outline.py",
        (("    if make and odd:\n", "    if False:\n"),),
        "formats/torch/test_programs.py::test_values_within_each_other_are_not_shown",
    ),
    "torch programs: calls without end": Fault(
        "formats/torch/following.py",
        (("        if self.program.depth > DEEPEST:\n", "        if False:\n"),),
        "formats/torch/test_programs.py::test_where_code_is_no_chain_it_says_why[return self.forward(x, )]",
    ),
    "torch programs: a weight that the file does not have": Fault(
        "formats/torch/network.py",
        ((".under(start).having(_grouped(source.tensors, start))", ".under(start)"),),
        "formats/torch/test_programs.py::test_a_graph_that_names_weights_which_are_not_there_is_not_followed",
    ),
    "torch.export: a zip deflated in a zip": Fault(
        "formats/torch/exported.py",
        (("if info.compress_type != ZIP_STORED and info.file_size > SLACK:", "if False:"),),
        "formats/torch/test_programs.py::test_a_file_within_a_file_is_not_deflated_twice",
    ),
    "torch.export: sizes are believed": Fault(
        "formats/torch/pickled.py",
        (("if 0 not in shape and (last >= storage.length or prod(shape) > storage.length):", "if False:"),),
        "formats/torch/test_programs.py::test_weights_are_where_they_are_said_to_be",
    ),
    "torch: a string of layers is one name": Fault(
        "formats/torch/loading.py",
        (("entries.split(layers)", "[layers]"),),
        "formats/torch/test_descriptions.py::test_a_string_is_a_list_of_modules",
    ),
    "torch: a function's model keeps its dtype": Fault(
        "formats/torch/loading.py",
        (("    return model if same else model.to(", "    return model if True else model.to("),),
        "formats/torch/test_descriptions.py::test_a_function_makes_the_model_of_the_arrays",
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
        "formats/test_wrong_files.py::test_a_cell_that_describes_none_is_refused[of an unknown kind]",
    ),
    "torch: a convolution's weights not turned": Fault(
        "formats/torch/around.py",
        (('fetch("weight").transpose(2, 1, 0).reshape(-1, out)', 'fetch("weight").reshape(out, -1).T'),),
        "formats/torch/test_torch_around.py::test_a_whole_module_says_what_its_layers_were_made_with",
    ),
    "torch: a norm's epsilon not read": Fault(
        "formats/torch/around.py",
        (('return {"eps": number(values.get("eps", EPSILON), "eps")}', 'return {"eps": EPSILON}'),),
        "formats/torch/test_torch_around.py::test_a_whole_module_says_what_its_layers_were_made_with",
    ),
    "torch: a pool's padding counts": Fault(
        "formats/torch/pools.py",
        (('bool(attributes.get("count_include_pad", True))', "True"),),
        "formats/torch/test_torch_around.py::test_a_whole_module_says_what_its_layers_were_made_with",
    ),
    "torch: a gain that torch has to have is left out": Fault(
        "formats/torch/writing.py",
        (('w = {"g": np.ones_like(w["b"]), **w}', "pass"),),
        "formats/torch/test_torch_around.py::test_what_is_written_is_loaded_strictly",
    ),
}
# fmt: on
