"""Planted in explain: the trace, the story, the page."""

from faults.fault import Fault

# fmt: off
FAULTS = {
    "explain: running sums in the order of x": Fault(
        "explain/engine/trace.py",
        (("        if self.reverse:\n            return np.asarray(np.cumsum", "        if not self.reverse:\n            return np.asarray(np.cumsum"),),
        "explain/test_explain.py::test_running_sums_end_in_the_gradients",
    ),
    "explain: a gradient without what its own step's loss sends": Fault(
        "explain/engine/recording.py",
        (("flow = (flow[0] + self.dy[t], *flow[1:])", "pass"),),
        "explain/test_explain.py::test_every_gradient_is_the_derivative_by_complex_step",
    ),
    "explain: a line shows what another computed": Fault(
        "explain/engine/trace.py",
        (("and set(event.numbers) & set(equation.numbers)", ""),),
        "explain/test_explain.py::test_every_line_of_a_derivation_is_what_the_code_computes",
    ),
    "explain: a second assignment shown for the first": Fault(
        "explain/engine/watching.py",
        (("self.note(name, self.pending, frame.f_locals[name])", "self.note(name, self.statements[max(self.statements)], frame.f_locals[name])"),),
        "explain/test_explain.py::test_every_line_of_a_derivation_is_what_the_code_computes",
    ),
    "page: a gradient's row is that of its own step": Fault(
        "explain/engine/lines.py",
        (("values[order[1:]] = gradient[order[:-1]]", "values[order] = gradient[order]"),),
        "explain/test_story.py::test_what_is_said_around_the_cell_is_what_was_computed",
    ),
    "page: sums clipped too early": Fault(
        "explain/page/story.py",
        (('if phase == "clip":', 'if phase in ("clip", "backward"):'),),
        "explain/test_story.py::test_sums_grow_when_their_line_is_reached_and_end_at_the_gradient",
    ),
    "page: sums in x's order": Fault(
        "explain/page/sums.py",
        (("walk.sums(name)[list(walk.order)]", "walk.sums(name)"),),
        "explain/test_story.py::test_sums_grow_when_their_line_is_reached_and_end_at_the_gradient",
    ),
    "page: rows of a matrix under others' names": Fault(
        "explain/page/sums.py",
        (("frames[:, here]", "frames[:, : len(here)]"),),
        "explain/test_story.py::test_sums_grow_when_their_line_is_reached_and_end_at_the_gradient",
    ),
    "page: one quantity's numbers for another's": Fault(
        "explain/page/story.py",
        (("while name in self._arrays and not np.array_equal(self._arrays[name], values):", "while False:"),),
        "explain/test_story.py::test_values_are_the_trace_s_and_no_two_share_a_key",
    ),
    "page: scale on every weight": Fault(
        "explain/engine/scene.py",
        (('U = layer.weight("U")\n', 'U = layer.weight("W")\n'),),
        "explain/test_story.py::test_scale_multiplies_the_recurrent_weights_alone",
    ),
    "page: a text that ends the script": Fault(
        "explain/page/document.py",
        (('for character in "<>&\\u2028\\u2029":', 'for character in "&":'),),
        "explain/test_story.py::test_a_hostile_text_stays_text",
    ),
    "page: an index left in line": Fault(
        "explain/page/typeset.py",
        (('cut.append(("sub", match["sub"]))', 'cut.append(("t", match["sub"]))'),),
        "explain/test_story.py::test_the_text_of_a_formula_is_all_there_when_it_is_set",
    ),
    "page: the model that writes is another": Fault(
        "explain/page/writing.py",
        (("module = as_module(scene.lm)", "module = as_module(scene.lm.quantize('int8'))"),),
        "explain/test_writing.py::test_a_page_has_the_module_that_convert_writes[gru]",
    ),
    "page: a model of any size is carried": Fault(
        "explain/page/writing.py",
        ((' if len(module) <= MOST_CHARACTERS else ""', ""),),
        "explain/test_writing.py::test_a_page_grows_by_no_more_than_is_allowed",
    ),
    "page: its policy does not name the model": Fault(
        "explain/page/document.py",
        (("for one in (script, writer) if one)", "for one in (script,) if one)"),),
        "explain/test_writing.py::test_its_policy_lets_this_module_run_and_nothing_else",
    ),
    "serve: for any host": Fault(
        "explain/page/serve.py",
        (("asked[0] not in hosts or ", ""),),
        "explain/test_serve.py::test_what_others_ask_is_refused",
    ),
    "serve: for any page": Fault(
        "explain/page/serve.py",
        (('any(o != f"http://{asked[0]}" for o in origins) or ', ""),),
        "explain/test_serve.py::test_what_others_ask_is_refused",
    ),
    "serve: on every interface": Fault(
        "explain/page/serve.py",
        (("super().__init__((HOST, port), Handler)", 'super().__init__(("", port), Handler)'),),
        "explain/test_serve.py::test_it_listens_on_this_machine_alone",
    ),
    "serve: a mistake ends the answer": Fault(
        "explain/page/serve.py",
        (('            answer = {"problem": str(error)}', "            raise"),),
        "explain/test_serve.py::test_a_mistake_in_the_controls_is_one_sentence",
    ),
    "notebook: a frame with its notebook's rights": Fault(
        "core/display.py",
        (('sandbox="allow-scripts"', 'sandbox="allow-scripts allow-same-origin"'),),
        "core/test_display.py::test_a_page_has_a_frame_that_reaches_nothing_around_it",
    ),
    "notebook: a cell's text is markup": Fault(
        "core/display.py",
        (("<td {STYLED}>{escape(cell)}</td>", "<td {STYLED}>{cell}</td>"),),
        "core/test_display.py::test_text_of_users_stays_text",
    ),
    "notebook: a table leaves out what is inside a layer": Fault(
        "core/module.py",
        (("for weight, spec in layer.all_specs().items()),", "for weight, spec in layer.specs().items()),"),),
        "core/test_display.py::test_a_model_is_a_table_of_its_layers",
    ),
    "notebook: an unrolled layer has h in both halves": Fault(
        "explain/engine/trace.py",
        (('picture(said, self["h1"], self["dh1"],', 'picture(said, self["h1"], self["h1"],'),),
        "core/test_display.py::test_numbers_that_are_not_finite_are_drawn_as_such",
    ),
    "notebook: above 0 and below 0 swapped": Fault(
        "explain/engine/unrolled.py",
        (("ABOVE if value > 0 else BELOW", "BELOW if value > 0 else ABOVE"),),
        "core/test_display.py::test_a_trace_is_drawn_unrolled",
    ),
    "notebook: an output for each step": Fault(
        "training/progress.py",
        (("            handle.update(progress)", "            display(progress, display_id=True)"),),
        "core/test_display.py::test_a_notebook_has_one_output_that_is_updated",
    ),
    "notebook: a training that is stopped is not shown": Fault(
        "training/progress.py",
        (("    finally:\n        if progress.last is not None:", "    finally:\n        if progress.share == 1:"),),
        "core/test_display.py::test_whoever_stops_a_training_sees_where_it_stopped",
    ),
    "notebook: a curve keeps its beginning": Fault(
        "training/progress.py",
        (("            del self.curve[1::2]", "            del self.curve[MOST_POINTS:]"),),
        "core/test_display.py::test_a_curve_keeps_few_points_of_the_whole",
    ),
}
# fmt: on
