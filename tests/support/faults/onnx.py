"""Planted in what reads, runs and writes ONNX."""

from faults.fault import Fault

# fmt: off
FAULTS = {
    "onnx: gates of an LSTM in another order": Fault(
        "formats/onnx/running/recurrences.py",
        (("else (0, 2, 3, 1)", "else (0, 2, 1, 3)"),),
        "formats/onnx/test_onnx_files.py::test_a_graph_computes_what_it_did_elsewhere[auto-torch, lstm, deep, both ways]",
    ),
    "onnx: gates of a GRU as they come": Fault(
        "formats/onnx/running/recurrences.py",
        (('"GRU": (1, 0, 2)', '"GRU": (0, 1, 2)'),),
        "formats/onnx/test_onnx_files.py::test_a_graph_computes_what_it_did_elsewhere[auto-torch, tagger, batch first]",
    ),
    "onnx: peepholes in another order": Fault(
        "formats/onnx/running/recurrences.py",
        (('("p_i", "p_o", "p_f")', '("p_i", "p_f", "p_o")'),),
        "formats/onnx/test_onnx_files.py::test_a_graph_computes_what_it_did_elsewhere[auto-chain 2]",
    ),
    "onnx: the second bias forgotten": Fault(
        "formats/onnx/running/recurrences.py",
        (("return ordered(outer + inner)", "return ordered(outer)"),),
        "formats/onnx/test_onnx_files.py::test_a_graph_computes_what_it_did_elsewhere[auto-torch, lstm, deep, both ways]",
    ),
    "onnx: reset before the product, whatever is asked": Fault(
        "formats/onnx/running/recurrences.py",
        (('reset = "after" if self.reset_after else', 'reset = "before" if self.reset_after else'),),
        "formats/onnx/test_onnx_files.py::test_a_graph_computes_what_it_did_elsewhere[auto-torch, tagger, batch first]",
    ),
    "onnx: lengths ignored": Fault(
        "formats/onnx/running/recurrences.py",
        (("lens = None if (lens == T).all() else lens", "lens = None"),),
        "formats/onnx/test_onnx_files.py::test_a_graph_computes_what_it_did_elsewhere[auto-minirnn, lengths]",
    ),
    "onnx: a reverse direction not turned back": Fault(
        "formats/onnx/running/recurrences.py",
        (("ys.append(reversed_steps(y, lens) if reverse else y)", "ys.append(y)"),),
        "formats/onnx/test_onnx_files.py::test_a_graph_computes_what_it_did_elsewhere[auto-torch, lstm, deep, both ways]",
    ),
    "onnx: constants of functions not taken in turn": Fault(
        "formats/onnx/running/recurrences.py",
        (("next(constants[w], v)", "v"),),
        "formats/onnx/test_onnx_files.py::test_a_graph_computes_what_it_did_elsewhere[auto-node, GRU 0]",
    ),
    "onnx: input_forget ignored": Fault(
        "formats/onnx/running/recurrences.py",
        (('op == "LSTM" and node.flag("input_forget")', 'op == "LSTM" and node.flag("input_forget") and False'),),
        "formats/onnx/test_onnx_files.py::test_a_graph_computes_what_it_did_elsewhere[auto-node, LSTM 19]",
    ),
    "onnx: negative integers": Fault(
        "formats/containers/protobuf.py",
        (("return value - (1 << 64) if value >> 63 else value", "return value"),),
        "formats/onnx/test_onnx_files.py::test_a_graph_computes_what_it_did_elsewhere[auto-torch, tagger]",
    ),
    "onnx: integers of more than one byte": Fault(
        "formats/containers/protobuf.py",
        (("(part & 0x7F).astype(np.uint64) << (7 * place)", "(part & 0x7F).astype(np.uint64) << (8 * place)"),),
        "formats/onnx/test_onnx_files.py::test_a_graph_computes_what_it_did_elsewhere[auto-types, numbers]",
    ),
    "onnx: bfloat16 as float16": Fault(
        "formats/onnx/reading/tensors.py",
        (("    if code == FLOAT16:\n", "    if code in (FLOAT16, BFLOAT16):\n"),),
        "formats/onnx/test_onnx_files.py::test_a_graph_computes_what_it_did_elsewhere[auto-types, raw]",
    ),
    "onnx: numbers from any folder": Fault(
        "formats/onnx/reading/external.py",
        (('    if elsewhere or name in ("", ".", ".."):\n', "    if False:\n"),),
        "formats/onnx/test_onnx_external.py::test_no_other_folder_is_looked_into[/etc/passwd]",
    ),
    "onnx: a link followed": Fault(
        "formats/onnx/reading/external.py",
        (
            ("            check_plain(what, name, path.lstat())\n", ""),
            ('"O_NOFOLLOW", ', ""),
        ),
        "formats/onnx/test_onnx_external.py::test_links_are_not_followed_wherever_they_lead",
    ),
    "onnx: a pipe waited for": Fault(
        "formats/onnx/reading/external.py",
        (("    if not stat.S_ISREG(about.st_mode):\n", "    if False:\n"),),
        "formats/onnx/test_onnx_external.py::test_links_are_not_followed_wherever_they_lead",
    ),
    "onnx: more bytes than another file has": Fault(
        "formats/onnx/reading/external.py",
        (
            ("                if end > holds:\n", "                if False:\n"),
            ("                if len(data) < size:\n", "                if False:\n"),
        ),
        "formats/onnx/test_onnx_external.py::test_sizes_are_checked_before_memory_is_taken[past the end]",
    ),
    "onnx: one place read for every tensor in it": Fault(
        "formats/onnx/reading/external.py",
        (
            ("        if place not in self._parts:\n", "        if True:\n"),
            ("if self._held.get(name, 0) + size > holds or", "if"),
        ),
        "formats/onnx/test_onnx_external.py::test_many_tensors_in_one_file_take_no_more_than_it[one place for many tensors]",
    ),
    "onnx: numbers elsewhere from the start": Fault(
        "formats/onnx/reading/external.py",
        (("                file.seek(offset)\n", ""),),
        "formats/onnx/test_onnx_external.py::test_tensors_come_from_where_their_entries_say[weights.bin]",
    ),
    "onnx: an empty array counts for nothing": Fault(
        "formats/onnx/running/meter.py",
        (("return math.prod(max(1, n) for n in shape)", "return math.prod(shape)"),),
        "formats/onnx/test_onnx_structures.py::test_a_small_file_takes_little[TopK of none]",
    ),
    "onnx: the steps of a Scan for nothing": Fault(
        "formats/onnx/running/subgraphs.py",
        (("        meter.spend(T * around(body))\n", ""),),
        "formats/onnx/test_onnx_structures.py::test_a_small_file_takes_little[a Scan of no nodes]",
    ),
    "onnx: names for nothing": Fault(
        "formats/onnx/running/perform.py",
        (("    return CALL + NAME * (len(node.inputs) + len(node.outputs))\n", "    return CALL\n"),),
        "formats/onnx/test_onnx_structures.py::test_a_small_file_takes_little[a Scan of a node of many operands]",
    ),
    "onnx: lists of any length": Fault(
        "formats/onnx/running/operands.py",
        (("    if count > most:\n", "    if False:\n"),),
        "formats/onnx/test_onnx_bombs.py::test_many_of_something_are_read_in_time_or_refused[numbers in an attribute]",
    ),
    "onnx: shared memory counted for each": Fault(
        "formats/onnx/running/meter.py",
        (("        total += max(0, last - max(first, end))\n", "        total += last - first\n"),),
        "formats/onnx/test_onnx_structures.py::test_memory_that_arrays_share_is_counted_once",
    ),
    "onnx: room for what is there already": Fault(
        "formats/onnx/running/meter.py",
        (("ROOM + 2 * wide - max(0, constants - wide)", "ROOM + 2 * constants"),),
        "formats/onnx/test_onnx_structures.py::test_a_small_file_takes_little[constants that were widened, and results]",
    ),
    "onnx: texts of any length": Fault(
        "formats/containers/protobuf.py",
        (("        if self.text_left < 0:\n", "        if False:\n"),),
        "formats/onnx/test_onnx_bombs.py::test_what_is_no_model_is_refused_in_one_sentence[texts of nine megabytes]",
    ),
    "onnx: final states of any number": Fault(
        "formats/onnx/recognising/move_rules.py",
        (("    if sum(len(form.rows) for form in inputs) > MOST_ROWS:\n", "    if False:\n"),),
        "formats/onnx/test_onnx_structures.py::test_a_small_file_takes_little[final states doubled]",
    ),
    "onnx: constants of any size looked at": Fault(
        "formats/onnx/recognising/forms.py",
        (("form.size <= MOST_LOOKED_AT and ", ""),),
        "formats/onnx/test_onnx_structures.py::test_a_small_file_takes_little[Max with a large constant]",
    ),
    "onnx: vocabularies of any length": Fault(
        "formats/onnx/graph.py",
        (('    if len(about["vocabulary"]) > LONGEST_VOCABULARY:\n', "    if False:\n"),),
        "formats/onnx/test_onnx_structures.py::test_a_small_file_takes_little[a vocabulary of lists]",
    ),
    "onnx: B not transposed": Fault(
        "formats/onnx/running/computing.py",
        (('node.flag("transA"), node.flag("transB")', 'node.flag("transA"), node.flag("transB") and False'),),
        "formats/onnx/test_onnx_files.py::test_a_graph_computes_what_it_did_elsewhere[auto-torch, classifier]",
    ),
    "onnx: the older Softmax over one axis": Fault(
        "formats/onnx/running/computing.py",
        (("    if old:\n            rows", "    if False:\n            rows"),),
        "formats/onnx/test_onnx_files.py::test_a_graph_computes_what_it_did_elsewhere[auto-old]",
    ),
    "onnx: a clip on one side": Fault(
        "formats/onnx/running/computing.py",
        (("((low, np.maximum), (high, np.minimum))", "((low, np.maximum),)"),),
        "formats/onnx/test_onnx_files.py::test_a_graph_computes_what_it_did_elsewhere[auto-minirnn, a scan]",
    ),
    "onnx: the last of equal entries first": Fault(
        "formats/onnx/running/indexing.py",
        (("order = x.shape[k] - 1 - np.flip(order, k)", "order = np.flip(np.argsort(x, axis=k, kind='stable'), k)"),),
        "formats/onnx/test_onnx_files.py::test_a_graph_computes_what_it_did_elsewhere[auto-standard, top_k_same_values]",
    ),
    "onnx: a Scan in one direction": Fault(
        "formats/onnx/running/subgraphs.py",
        (("whole[-1 - t if back else t] = a", "whole[t] = a"),),
        "formats/onnx/test_onnx_files.py::test_a_graph_computes_what_it_did_elsewhere[auto-minirnn, a scan]",
    ),
    "onnx: layers not held against the graph": Fault(
        "formats/onnx/recognising/chain.py",
        (("if actual.shape != expected.shape or not np.abs(actual - expected).max(initial=0) <= room:", "if False:"),),
        "formats/onnx/test_onnx_files.py::test_a_graph_that_looks_like_a_chain_and_computes_something_else_stays_a_graph",
    ),
    "onnx: a node before what it reads": Fault(
        "formats/onnx/reading/model.py",
        (('if name and name not in known:\n                    raise ModelFileError(f"{node} reads', 'if False:\n                    raise ModelFileError(f"{node} reads'),),
        "formats/onnx/test_onnx_bombs.py::test_what_is_no_model_is_refused_in_one_sentence",
    ),
    "onnx: results not counted": Fault(
        "formats/onnx/running/meter.py",
        (("            self.room -= size\n", ""),),
        "formats/onnx/test_onnx_structures.py::test_a_small_file_takes_little[final states doubled]",
    ),
    "onnx: time not counted": Fault(
        "formats/onnx/running/meter.py",
        (("        self.time -= math.ceil(ns)\n", ""),),
        "formats/onnx/test_onnx_structures.py::test_a_small_file_takes_little[a Scan of no nodes]",
    ),
    "onnx: temporary arrays not counted": Fault(
        "formats/onnx/running/meter.py",
        (("if count * itemsize * copies > self.room:", "if count * itemsize > self.room:"),),
        "formats/onnx/test_onnx_bombs.py::test_what_asks_for_much_is_refused_or_stays_small[4194304]",
    ),
    "onnx: any number of nodes": Fault(
        "formats/onnx/reading/model.py",
        (("        if self.nodes_left < 0:\n", "        if False:\n"),),
        "formats/onnx/test_onnx_bombs.py::test_many_of_something_are_read_in_time_or_refused[nodes]",
    ),
    "onnx: chains of any length": Fault(
        "formats/onnx/recognising/forms.py",
        (("if len(self.parts) == MOST_PARTS:", "if False:"),),
        "formats/onnx/test_onnx_bombs.py::test_many_of_something_are_read_in_time_or_refused[functions in a row]",
    ),
    "onnx: inputs of any size drawn": Fault(
        "formats/onnx/recognising/chain.py",
        (("        if sum(map(math.prod, [shape, *shapes.values()])) > MOST_DRAWN:\n", "        if False:\n"),),
        "formats/onnx/test_onnx_bombs.py::test_what_asks_for_much_is_refused_or_stays_small",
    ),
    "onnx: a convolution's weights in torch's order": Fault(
        "formats/onnx/recognising/around_rules.py",
        (("W.transpose(2, 1, 0).reshape(-1, W.shape[0])", "W.reshape(W.shape[0], -1).T"),),
        "formats/onnx/test_onnx_around.py::test_an_export_of_torch_becomes_layers[strides-older exporter]",
    ),
    "onnx: Flatten with time last as with time first": Fault(
        "formats/onnx/recognising/around_rules.py",
        (('if x.axes == "BY":', "if False:"),),
        "formats/onnx/test_onnx_around.py::test_an_export_of_torch_becomes_layers[flat, time last-older exporter]",
    ),
    "onnx: SAME_LOWER as SAME_UPPER": Fault(
        "formats/onnx/running/windows.py",
        (('return (small, large) if self.same == "SAME_UPPER" else (large, small)', "return small, large"),),
        "formats/onnx/test_onnx_around.py::test_an_operator_computes_what_onnxruntime_does[Conv]",
    ),
    "onnx: padding in a mean": Fault(
        "formats/onnx/running/windows.py",
        (("meter, float(counts))", "meter, 1.0)"),),
        "formats/onnx/test_onnx_around.py::test_an_operator_computes_what_onnxruntime_does[AveragePool]",
    ),
    "onnx: groups written as one": Fault(
        "formats/onnx/writing/around.py",
        (("reshape(K, -1, out).transpose(2, 1, 0)", "reshape(-1, K, out).transpose(2, 0, 1)"),),
        "formats/onnx/test_onnx_around.py::test_what_is_written_computes_the_same_and_is_read_as_the_same_layers[convolutions]",
    ),
    "onnx: the other branch": Fault(
        "formats/onnx/running/subgraphs.py",
        (('chosen = inner[not scalar(of_kind(operands[0], "b"))]', 'chosen = inner[bool(scalar(of_kind(operands[0], "b")))]'),),
        "formats/onnx/test_onnx_files.py::test_a_graph_computes_what_it_did_elsewhere[auto-standard, if]",
    ),
    "onnx: a Loop once too often": Fault(
        "formats/onnx/running/subgraphs.py",
        (("while on and (most is None or t < most):", "while on and (most is None or t <= most):"),),
        "formats/onnx/test_onnx_files.py::test_a_graph_computes_what_it_did_elsewhere[auto-standard, loop11]",
    ),
    "onnx: zero points forgotten": Fault(
        "formats/onnx/running/quantised.py",
        (("y = y if parts[1] is None else y - parts[1]", "y = y"),),
        "formats/onnx/test_onnx_files.py::test_a_graph_computes_what_it_did_elsewhere[auto-int8]",
    ),
    "onnx: graphs within graphs without an end": Fault(
        "formats/onnx/reading/model.py",
        (("if op in BODIES and known.depth == DEEPEST:", "if False:"),),
        "formats/onnx/test_onnx_bombs.py::test_many_of_something_are_read_in_time_or_refused[graphs within graphs]",
    ),
}
# fmt: on
