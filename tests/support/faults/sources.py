"""Planted in models as files of source."""

from faults.fault import Fault

# fmt: off
FAULTS = {
    "sources: a product that lies there already is not stored": Fault(
        "formats/sources/plan.py",
        (("self.loads[value[1]] != self.stores[place]", "value[1] != place"),),
        "formats/sources/test_python.py::test_every_cell_gives_its_own_numbers[projected]",
    ),
    "sources: what ends a comment stays in it": Fault(
        "formats/sources/words.py",
        (("+/'#%@|~^-]", "*+/'#%@|~^-]"),),
        "formats/sources/test_planning.py::test_words_in_comments_end_nothing[*/ int x; /*]",
    ),
    "sources: masks are ignored": Fault(
        "formats/sources/planning.py",
        (("    if network.masks:\n", "    if False:\n"),),
        "formats/sources/test_planning.py::test_what_cannot_be_carried_is_refused_before_a_file_is_written[<lambda>-skips no steps0]",
    ),
    "sources: an embedding's scales are those of columns": Fault(
        "formats/sources/planner.py",
        (("by_row = weight.transposed", "by_row = False"),),
        "formats/sources/test_python.py::test_it_imports_numpy_alone_and_tests_itself",
    ),
    "sources: the bias within the reset product is left out": Fault(
        "formats/sources/recurrence.py",
        (("Fill(q, bias, facts.apart * H)", "Fill(q, None, facts.apart * H)"),),
        "formats/sources/test_python.py::test_every_cell_gives_its_own_numbers[gru]",
    ),
    "sources: states are not mixed": Fault(
        "formats/sources/recurrence.py",
        (("k)): share for k, share in", "k)): 0.0 for k, share in"),),
        "formats/sources/test_python.py::test_directions_depth_and_mixed_states",
    ),
    "sources: both directions read forward": Fault(
        "formats/sources/python.py",
        (('back = "[::-1]" if one.reverse else ""', 'back = ""'),),
        "formats/sources/test_python.py::test_directions_depth_and_mixed_states",
    ),
    "sources: a trainable initial state is 0": Fault(
        "formats/sources/planner.py",
        (("began = None if initial is None else", "began = None if True else"),),
        "formats/sources/test_python.py::test_directions_depth_and_mixed_states",
    ),
    "sources: a header replaces any file": Fault(
        "formats/sources/__init__.py",
        (("        _check_header(beside, header)\n", ""),),
        "formats/sources/test_planning.py::test_a_header_replaces_no_other_file",
    ),
    "sources: a kind made of minirnn's own counts as that": Fault(
        "formats/sources/layers.py",
        (("if type(layer) in KINDS else own(layer, planner, source)", "if isinstance(layer, tuple(KINDS)) else own(layer, planner, source)"),),
        "formats/sources/test_planning.py::test_what_cannot_be_carried_is_refused_before_a_file_is_written[<lambda>-it is no layer of minirnn that has a form there1]",
    ),
    "sources: a layer of one's own is not held against itself": Fault(
        "formats/sources/layers.py",
        (("if type(layer) not in KINDS and not holds(", "if False and not holds("),),
        "formats/sources/test_planning.py::test_what_cannot_be_carried_is_refused_before_a_file_is_written[<lambda>-computes more than its operations on one row show]",
    ),
    "sources: the unknown symbol is written": Fault(
        "formats/sources/python_library.py",
        (("likeliest = int(y[1:].argmax()) + 1", "likeliest = int(y.argmax())"), ("text.append(likeliest)", "text.append(0)")),
        "formats/sources/test_python.py::test_it_writes_what_the_model_writes",
    ),
    "sources: C's tanh of NaN is a number": Fault(
        "formats/sources/c_library.py",
        (("> 0x7f800000u ? 0x7fc00000u : 0u", "> 0x7f800000u ? 0u : 0u"),),
        "formats/sources/test_c.py::test_functions_at_their_limits[tanh]",
    ),
    "sources: JavaScript rounds a product's sum once": Fault(
        "formats/sources/javascript_library.py",
        (("    for (let j = 0; j < N; j++) y[yo + j] = f(y[yo + j] + f(a * W[Wo + j]));", "    for (let j = 0; j < N; j++) y[yo + j] = f(y[yo + j] + a * W[Wo + j]);"),),
        "formats/sources/test_javascript.py::test_it_has_the_bits_of_the_c_file",
    ),
}
