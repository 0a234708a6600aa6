"""Planted in the kernels of a processor."""

from faults.fault import Fault

# fmt: off
FAULTS = {
    "emitting: a difference is a sum": Fault(
        "kernels/facts.py",
        (('"subtract": "-"', '"subtract": "+"'),),
        "evidence/test_conformance.py::test_the_kernels_of_each_cell_by_themselves[tanh]",
    ),
    "emitting: the other of two is chosen": Fault(
        "kernels/cpu/emitting.py",
        (("(*comparison.operands, *operands[1:])", "(*comparison.operands, *operands[:0:-1])"),),
        "evidence/test_conformance.py::test_the_kernels_of_each_cell_by_themselves[relu]",
    ),
    "emitting: tanh of a half is tanh": Fault(
        "kernels/cpu/emitting.py",
        (('return f"tanh_of_half(t{other})"', 'return f"tanh(t{other})"'),),
        "evidence/test_conformance.py::test_the_kernels_of_each_cell_by_themselves[gru]",
    ),
    "emitting: the state after for the one before": Fault(
        "kernels/cpu/emitting.py",
        (('"row.h" if before else "row.h1"', '"row.h1" if before else "row.h"'),),
        "evidence/test_conformance.py::test_the_kernels_of_each_cell_by_themselves[gru]",
    ),
    "emitting: what the layer above sends is lost": Fault(
        "kernels/cpu/emitting.py",
        (("load(back.dh, j, n) + load(back.dy, j, n)", "load(back.dh, j, n)"),),
        "evidence/test_conformance.py::test_the_kernels_of_each_cell_by_themselves[lstm]",
    ),
    "tracing: units are not asked to be alone": Fault(
        "core/graph.py",
        (("if len(rows) > 1 or len(units) > 1:", "if False:"), ("or not alone:", "or False:")),
        "core/test_tracing.py::test_what_kernels_cannot_compute_is_refused_in_words[reversed units]",
    ),
    "tracing: a program is not held against its cell": Fault(
        "core/drawn.py",
        (("        for seed in range(DRAWN):\n", "        for seed in range(0):\n"),),
        "core/test_tracing.py::test_what_kernels_cannot_compute_is_refused_in_words[q alone]",
    ),
    "tracing: a state replaced while a later stage reads it": Fault(
        "core/tracing.py",
        (("(end in ends[k] and replaced)", "end in ends[k]"),),
        "kernels/test_own_cells.py::test_a_cell_of_ones_own_has_kernels[Staged-float64]",
    ),
    "tracing: what an earlier stage has computed is computed again": Fault(
        "core/tracing.py",
        (("graph.program(some, earlier)", "graph.program(some, {})"),),
        "core/test_tracing.py::test_what_goes_from_stage_to_stage_has_a_place",
    ),
    "kernel stages: an operand of a row that has ended": Fault(
        "kernels/cpu/stages.py",
        (("clear_row(at(row.a, k * lines.saved + share.left), count)", "pass"),),
        "kernels/test_own_cells.py::test_what_ended_rows_leave_is_zeros",
    ),
    "kernel stages: the first stage's weights for all": Fault(
        "kernels/cpu/forward.py",
        (("panels_at(base, offsets, 1 + k, packed), width, panel_size(packed, H)", "panels_at(base, offsets, 1, packed), width, panel_size(packed, H)"),),
        "kernels/test_own_cells.py::test_a_cell_of_ones_own_has_kernels[Staged-float64]",
    ),
    "kernel stages: the first stage's equations for all": Fault(
        "kernels/cpu/stages.py",
        (("routine_of(facts, k, make)\n", "routine_of(facts, 0, make)\n"),),
        "kernels/test_own_cells.py::test_a_cell_of_ones_own_has_kernels[Staged-float64]",
    ),
    "kernel cells: equations of the dtype that came first": Fault(
        "kernels/cpu/stages.py",
        (("    key = facts.key, dtype, make\n", "    key = facts.key, make\n"),),
        "kernels/test_kernels.py::test_relu_layers_of_whole_numbers_are_exact",
    ),
    "kernel stages: dU from the wrong operand": Fault(
        "kernels/cpu/backward.py",
        (("((k - 1) * T + start) * B * H)", "(k * T - T) * B * H)"),),
        "kernels/test_own_cells.py::test_a_cell_of_ones_own_has_kernels[Staged-float64]",
    ),
    "kernel stages: a matrix's gradient without the last chunk": Fault(
        "kernels/cpu/backward.py",
        (("                target = numbers(d.dmatrix, like)\n", "                target = numbers(d.dmatrix, like)\n                count = count if t0 else 0\n"),),
        "kernels/test_own_cells.py::test_a_cell_of_ones_own_has_kernels[projected-float64]",
    ),
    "kernel stages: rows of h as long as units": Fault(
        "kernels/cpu/forward.py",
        (("copy_row(at(end, r * Y), at(numbers(a.last, like), r * R), R)", "copy_row(at(end, r * Y), at(numbers(a.last, like), r * H), H)"),),
        "kernels/test_own_cells.py::test_a_cell_of_ones_own_has_kernels[projected-float64]",
    ),
    "stream stages: blocks too close together": Fault(
        "kernels/cpu/streams.py",
        (("width, size = panel_width(a), panel_size(panels, k)", "width, size = panel_width(a), panel_size(panels, k) // 2"),),
        "kernels/test_entries.py::test_a_pass_and_a_stream_of_relu[2-64-200-f16]",
    ),
    "blocks: columns of a matrix with the scales of others": Fault(
        "inference/blocks.py",
        (("        scale = self._scale(self.columns)\n        values", "        scale = self._scale(slice(self.columns.stop - self.columns.start))\n        values"),),
        "kernels/test_own_cells.py::test_columns_of_a_quantised_matrix_keep_their_scales",
    ),
    "kernel units: gradients of the wrong columns": Fault(
        "kernels/cpu/backward.py",
        (("add_row(at(dP, k * wide + N + q + unit * H + low), target", "add_row(at(dP, k * wide + N + q + low), target"),),
        "kernels/test_own_cells.py::test_a_cell_of_ones_own_has_kernels[PeepholeLSTM-float64]",
    ),
    "kernel sums: lanes beyond a row are added": Fault(
        "kernels/cpu/emitting.py",
        (("f'first_lanes(t{operands[0]}, n, {begins})'", "f't{operands[0]}'"),),
        "kernels/test_own_cells.py::test_a_cell_of_ones_own_has_kernels[LayerNormGRUCell-float64]",
    ),
    "kernel sums: a mean of the lanes": Fault(
        "kernels/cpu/emitting.py",
        (('return f"{whole} / right"', 'return f"{whole} / width"'),),
        "kernels/test_own_cells.py::test_a_cell_of_ones_own_has_kernels[LayerNormGRUCell-float64]",
    ),
    "kernel sums: threads have parts of rows": Fault(
        "kernels/cpu/stages.py",
        (("if whole_rows or B >= parts", "if B >= parts"),),
        "kernels/test_own_cells.py::test_the_bits_of_an_own_cell_do_not_depend_on_threads[1-LayerNormLSTMCell]",
    ),
    "kernel sums: a row's number of another step": Fault(
        "kernels/cpu/backward.py",
        (("at(numbers(a.s, like), now * B + first)", "at(numbers(a.s, like), first)"),),
        "kernels/test_own_cells.py::test_a_cell_of_ones_own_has_kernels[LayerNormGRUCell-float64]",
    ),
    "kernel apart: dQ of one gate alone": Fault(
        "kernels/cpu/backward.py",
        (("q = apart * H  # where dQ begins in dP", "q = H * (apart > 0)"),),
        "kernels/test_own_cells.py::test_a_cell_of_ones_own_has_kernels[LayerNormGRUCell-float64]",
    ),
    "kernel apart: products of another row where h is known": Fault(
        "kernels/cpu/forward.py",
        (("at(numbers(a.u, like), (start + from_) * apart * H)", "at(numbers(a.u, like), (start + from_) * H)"),),
        "kernels/test_own_cells.py::test_a_cell_of_ones_own_has_kernels[LayerNormGRUCell-float64]",
    ),
    "phases: a later one reads what was replaced": Fault(
        "kernels/phases.py",
        (("if one[0]._replace(before=False) not in read)", "if True)"),),
        "core/test_tracing.py::test_a_result_waits_where_a_later_phase_reads_what_it_replaces",
    ),
    "tracing: a later stage's bias is the first's": Fault(
        "core/tracing.py",
        (('q[at] = q[at] + self._load(graph, Place("w", self.starts[k] + i))', 'q[at] = q[at] + self._load(graph, Place("w", i))'),),
        "kernels/test_own_cells.py::test_a_cell_of_ones_own_has_kernels[Biased-float64]",
    ),
    "kernel gru: recurrent bias forgotten": Fault(
        "kernels/cpu/forward.py",
        (("numbers(a.b, like), numbers(a.v, like), numbers(a.y, like)", "numbers(a.b, like), numbers(a.b, like), numbers(a.y, like)"),),
        "evidence/test_conformance.py::test_the_kernels_of_each_cell_by_themselves[gru]",
    ),
    "kernel: dU from the state after the step": Fault(
        "kernels/cpu/backward.py",
        (("else start * B + edge - B) * Y)", "else start * B + edge) * Y)"),),
        "evidence/test_conformance.py::test_the_kernels_of_each_cell_by_themselves[tanh]",
    ),
    "kernel: the first chunk's gradients lost": Fault(
        "kernels/cpu/backward.py",
        (("in range((T - 1) // d.chunk * d.chunk, -1, -d.chunk)", "in range((T - 1) // d.chunk * d.chunk, 0 if T > d.chunk else -1, -d.chunk)"),),
        "evidence/test_conformance.py::test_the_kernels_of_each_cell_by_themselves[tanh]",
    ),
    "kernel known: the first step's product with h of a row before": Fault(
        "kernels/cpu/forward.py",
        (("begins = t0 == 0 and bool(after) == (a.reverse != 0)", "begins = t0 == 0 and not after"),),
        "recurrent/test_segments.py::test_what_is_computed_again_is_the_same[whole-float64-numba-weights dropped]",
    ),
    "kernel: rows go on past their lengths": Fault(
        "kernels/cpu/stages.py",
        (("            if not ended(lengths, share.first + r, t):\n                run(share.left, share.right, row, lines)", "            if True:\n                run(share.left, share.right, row, lines)"),),
        "evidence/test_conformance.py::test_the_kernels_of_each_cell_by_themselves[tanh]",
    ),
    "kernel: a given state taken for zeros": Fault(
        "kernels/cpu/forward.py",
        (("terms = R if t or not a.rest or begins_apart else 0", "terms = R if t else 0"),),
        "evidence/test_conformance.py::test_the_kernels_of_each_cell_by_themselves[tanh]",
    ),
    "kernel: the last of k dropped": Fault(
        "kernels/cpu/tiles.py",
        (("sums = loop(whole, k_end, 1, sums)", "sums = loop(whole, whole, 1, sums)"),),
        "evidence/test_conformance.py::test_the_kernels_of_each_cell_by_themselves[tanh]",
    ),
    "kernel: weights packed one row late": Fault(
        "kernels/cpu/packing.py",
        (("source, target, rows = at(b, i * deep * ldb), at(packed, i * width), k - i * deep", "source, target, rows = at(b, (i + 1) % lines * deep * ldb), at(packed, i * width), k - i * deep"),),
        "evidence/test_conformance.py::test_the_kernels_of_each_cell_by_themselves[tanh]",
    ),
    "kernel: the last of a transposed block not turned": Fault(
        "kernels/cpu/packing.py",
        (("while s < width:", "while 2 * s < width:"),),
        "evidence/test_conformance.py::test_the_kernels_of_each_cell_by_themselves[tanh]",
    ),
    "kernel single: a GRU's step with the wrong bias": Fault(
        "kernels/cpu/forward.py",
        (("bias, apart = at(v, j - joint), at(u", "bias, apart = at(b, j), at(u"),),
        "kernels/test_threads.py::test_step_by_step_has_the_bits_of_all_steps_at_once[GRU(33, 96)-float32-1]",
    ),
    "kernel: one-hot gradients: = for +=": Fault(
        "kernels/cpu/rows.py",
        (("sum_rows(target, source, target, n)", "copy_row(source, target, n)"),),
        "evidence/test_conformance.py::test_the_kernels_of_each_cell_by_themselves[tanh]",
    ),
    "kernel cross entropy: gradient of the sum": Fault(
        "kernels/cpu/losses.py",
        (("by = scale / sum_of_row", "by = (scale / scale) / sum_of_row"),),
        "evidence/test_conformance.py::test_a_training_step_around_the_scan[False-SGD]",
    ),
    "kernel linear: bias forgotten": Fault(
        "kernels/cpu/products.py",
        (("if a.b == 0:", "if True:"),),
        "evidence/test_conformance.py::test_a_training_step_around_the_scan[False-SGD]",
    ),
    "kernel adam: not scaled": Fault(
        "kernels/cpu/updates.py",
        (("gradient = load(g, j, None) * scale +", "gradient = load(g, j, None) +"),),
        "kernels/test_updates.py::test_adam_is_the_formula_and_touches_nothing_else",
    ),
    "kernel sgd: uphill": Fault(
        "kernels/cpu/updates.py",
        (("rate = rate * (clip / norm)", "rate = -rate * (clip / norm)"),),
        "kernels/test_updates.py::test_a_clipped_descent_is_the_formula_and_touches_nothing_else",
    ),
    "kernel logits: the last full vector left out of the maximum": Fault(
        "kernels/cpu/losses.py",
        (("for j in range(width, V - width + 1, width):", "for j in range(width, V - width, width):"),),
        "kernels/test_kernel_tails.py::test_cross_entropy_sees_every_logit",
    ),
    "kernel logits: the first vector left out of the maximum": Fault(
        "kernels/cpu/losses.py",
        (("best = load(row, 0, None)\n        for j in range(width,", "best = load(row, V - width, None)\n        for j in range(width,"),),
        "kernels/test_kernel_tails.py::test_cross_entropy_sees_every_logit",
    ),
    "kernel logits: the first number after the vectors left out of the maximum": Fault(
        "kernels/cpu/losses.py",
        (("highest(best), V // width * width", "highest(best), V // width * width + 1"),),
        "kernels/test_kernel_tails.py::test_cross_entropy_sees_every_logit",
    ),
    "kernel logits: the last number left out of the maximum": Fault(
        "kernels/cpu/losses.py",
        (("for j in range(first, V):", "for j in range(first, V - 1):"),),
        "kernels/test_kernel_tails.py::test_cross_entropy_sees_every_logit",
    ),
    "kernel logits: a maximum of at least 0": Fault(
        "kernels/cpu/losses.py",
        (("    for j in range(first, V):\n", "    largest = largest if largest > 0 else largest - largest\n    for j in range(first, V):\n"),),
        "kernels/test_kernel_tails.py::test_cross_entropy_sees_every_logit",
    ),
    "kernel logits: the last full vector left out of the sum": Fault(
        "kernels/cpu/losses.py",
        (("            summed = summed + e\n", "            summed = summed + e if j < whole - width else summed\n"),),
        "kernels/test_kernel_tails.py::test_cross_entropy_shares_evenly_between_equal_logits",
    ),
    "kernel logits: the last number left out of the sum": Fault(
        "kernels/cpu/losses.py",
        (("summed + load(out, whole, V - whole)", "summed + load(out, whole, V - whole - 1)"),),
        "kernels/test_kernel_tails.py::test_cross_entropy_shares_evenly_between_equal_logits",
    ),
    "kernel logits: the last full vector left out of the gradient": Fault(
        "kernels/cpu/losses.py",
        (("        for j in range(0, whole, width):\n            store(load(out, j, None) * by", "        for j in range(0, whole - width, width):\n            store(load(out, j, None) * by"),),
        "kernels/test_kernel_tails.py::test_cross_entropy_shares_evenly_between_equal_logits",
    ),
    "kernel logits: the last number left out of the gradient": Fault(
        "kernels/cpu/losses.py",
        (("        for j in range(whole, V):\n            put(get(out, j) * by", "        for j in range(whole, V - 1):\n            put(get(out, j) * by"),),
        "kernels/test_kernel_tails.py::test_cross_entropy_shares_evenly_between_equal_logits",
    ),
    "kernel logits: half the lanes left out of the maximum": Fault(
        "kernels/cpu/vectors.py",
        (("value = instruction(builder, *parts)", 'value = parts[0] if name == "highest" else instruction(builder, *parts)'),),
        "kernels/test_kernel_tails.py::test_cross_entropy_sees_every_logit",
    ),
    "kernel norm: half the lanes left out": Fault(
        "kernels/cpu/vectors.py",
        (("value = instruction(builder, *parts)", 'value = parts[0] if name == "total" else instruction(builder, *parts)'),),
        "kernels/test_kernel_tails.py::test_every_entry_counts_in_the_norm",
    ),
    "kernel norm: the last full vector left out": Fault(
        "kernels/cpu/updates.py",
        (("for j in range(0, whole, lanes(block)):", "for j in range(0, whole - lanes(block), lanes(block)):"),),
        "kernels/test_kernel_tails.py::test_every_entry_counts_in_the_norm",
    ),
    "kernel norm: the first vector left out": Fault(
        "kernels/cpu/updates.py",
        (("for j in range(0, whole, lanes(block)):", "for j in range(lanes(block), whole, lanes(block)):"),),
        "kernels/test_kernel_tails.py::test_every_entry_counts_in_the_norm",
    ),
    "kernel norm: the last number left out": Fault(
        "kernels/cpu/updates.py",
        (("x = load(block, whole, size - whole)", "x = load(block, whole, size - whole - 1)"),),
        "kernels/test_kernel_tails.py::test_every_entry_counts_in_the_norm",
    ),
    "kernel norm: the last block left out": Fault(
        "kernels/cpu/updates.py",
        (("    for k in range(blocks):\n        squared", "    for k in range(blocks - 1 if blocks > 1 else 1):\n        squared"),),
        "kernels/test_kernel_tails.py::test_every_entry_counts_in_the_norm",
    ),
    "kernel update: a clipped step without its last full vector": Fault(
        "kernels/cpu/updates.py",
        (("        for j in range(low, high, width):\n            store(load(w, j, None) - rate", "        for j in range(low, high - width, width):\n            store(load(w, j, None) - rate"),),
        "kernels/test_kernel_tails.py::test_every_entry_counts_in_the_norm",
    ),
    "kernel update: a clipped step without its last number": Fault(
        "kernels/cpu/updates.py",
        (("store(load(w, j, left) - rate * load(g, j, left), w, j, left)", "store(load(w, j, left) - rate * load(g, j, left - 1), w, j, left)"),),
        "kernels/test_kernel_tails.py::test_every_entry_counts_in_the_norm",
    ),
    "kernel update: a step without its last full vector": Fault(
        "kernels/cpu/updates.py",
        (("    for j in range(low, high, width):\n        store(load(w, j, None) - rate", "    for j in range(low, high - width, width):\n        store(load(w, j, None) - rate"),),
        "kernels/test_kernel_tails.py::test_every_entry_is_updated_once",
    ),
    "kernel update: a step without its last number": Fault(
        "kernels/cpu/updates.py",
        (("    for j in range(n // width * width, n if part == parts - 1 else 0):\n        put(get(w, j) - rate", "    for j in range(n // width * width, n - 1 if part == parts - 1 else 0):\n        put(get(w, j) - rate"),),
        "kernels/test_kernel_tails.py::test_every_entry_is_updated_once",
    ),
    "kernel update: Adam without its last full vector": Fault(
        "kernels/cpu/updates.py",
        (("    for j in range(low, high, width):\n        gradient", "    for j in range(low, high - width, width):\n        gradient"),),
        "kernels/test_kernel_tails.py::test_every_entry_is_updated_once",
    ),
    "kernel update: Adam without its last number": Fault(
        "kernels/cpu/updates.py",
        (("    for j in range(n // width * width, n if part == parts - 1 else 0):\n        gradient", "    for j in range(n // width * width, n - 1 if part == parts - 1 else 0):\n        gradient"),),
        "kernels/test_kernel_tails.py::test_every_entry_is_updated_once",
    ),
    "kernel row: added without its last full vector": Fault(
        "kernels/cpu/rows.py",
        (("    for j in range(0, whole, width):\n        store(load(one", "    for j in range(0, whole - width, width):\n        store(load(one"),),
        "kernels/test_kernel_tails.py::test_every_entry_of_a_row_is_added_once",
    ),
    "kernel row: added without its last number": Fault(
        "kernels/cpu/rows.py",
        (("    for j in range(whole, n):\n        put(get(one", "    for j in range(whole, n - 1):\n        put(get(one"),),
        "kernels/test_kernel_tails.py::test_every_entry_of_a_row_is_added_once",
    ),
    "kernel product: the last full block of rows not packed": Fault(
        "kernels/cpu/tiles.py",
        (("for j in range(m // HIGH * HIGH, m):", "for j in range(m // HIGH * HIGH, m - 1):"),),
        "kernels/test_kernel_tails.py::test_every_entry_of_a_linear_product_counts",
    ),
    "kernel product: no more than whole panels": Fault(
        "kernels/cpu/packing.py",
        (("    for p in range(first, (n + width - 1) // width, step):\n        for side", "    for p in range(first, max(1, n // width), step):\n        for side"),),
        "kernels/test_kernel_tails.py::test_every_entry_of_a_linear_product_counts",
    ),
    "kernel product: the bias' last columns left out": Fault(
        "kernels/cpu/products.py",
        (("add_row(at(dy, r * N + low), at(db, low), high - low)", "add_row(at(dy, r * N + low), at(db, low), high - low - 1)"),),
        "kernels/test_kernel_tails.py::test_every_entry_of_a_linear_product_counts",
    ),
    "kernel units: the last full vector's step left out": Fault(
        "kernels/cpu/emitting.py",
        (('"for j in range(left, whole, width):"', '"for j in range(left, whole - width, width):"'),),
        "kernels/test_kernel_tails.py::test_every_unit_is_computed_and_sends_back[TanhCell-float32]",
    ),
    "kernel units: the last unit's step left out": Fault(
        "kernels/cpu/emitting.py",
        (("(whole, right - whole, {names})", "(whole, right - whole - 1, {names})"),),
        "kernels/test_kernel_tails.py::test_every_unit_is_computed_and_sends_back[TanhCell-float32]",
    ),
    "kernel units: the last full vector sends nothing back": Fault(
        "kernels/cpu/stages.py",
        (("run(share.left, share.right, row, back", "run(share.left, max(share.left, share.right - 4), row, back"),),
        "kernels/test_kernel_tails.py::test_every_unit_is_computed_and_sends_back[TanhCell-float32]",
    ),
    "kernel units: the last unit sends nothing back": Fault(
        "kernels/cpu/stages.py",
        (("run(share.left, share.right, row, back", "run(share.left, share.right - 1, row, back"),),
        "kernels/test_kernel_tails.py::test_every_unit_is_computed_and_sends_back[TanhCell-float32]",
    ),
    "kernel int8: the last numbers left out of the maximum": Fault(
        "kernels/cpu/copies.py",
        (("        v = load(source, whole, n - whole)\n        best = larger(best, larger(v, 0.0 - v))\n", "        v = load(source, whole, n - whole)\n"),),
        "kernels/test_kernel_tails.py::test_every_entry_of_a_row_counts_in_a_product_with_a_blocked_matrix[int8]",
    ),
    "kernel int8: full vectors after the first left out of the maximum": Fault(
        "kernels/cpu/copies.py",
        (("        v = load(source, j, None)\n        best = larger(best, larger(v, 0.0 - v))\n", "        v = load(source, j, None)\n"),),
        "kernels/test_kernel_tails.py::test_every_entry_of_a_row_counts_in_a_product_with_a_blocked_matrix[int8]",
    ),
    "kernel int8: the last full vector not rounded": Fault(
        "kernels/cpu/copies.py",
        (("    for j in range(0, whole, width):\n        store_quads", "    for j in range(0, whole - width, width):\n        store_quads"),),
        "kernels/test_entries.py::test_a_product_with_a_matrix_in_blocks[int8]",
    ),
    "kernel int8: the last number not rounded": Fault(
        "kernels/cpu/copies.py",
        (("store_quads(load(source, whole, n - whole) * up", "store_quads(load(source, whole, n - whole - 1) * up"),),
        "kernels/test_kernel_tails.py::test_every_entry_of_a_row_counts_in_a_product_with_a_blocked_matrix[int8]",
    ),
    "kernel int8: full vectors not looked at": Fault(
        "kernels/cpu/copies.py",
        (("        check = check + 0.0 * v\n    if whole < n:", "    if whole < n:"),),
        "kernels/test_kernel_tails.py::test_no_entry_that_is_not_finite_is_hidden_by_int8[nan]",
    ),
    "kernel int8: what is not finite taken for numbers": Fault(
        "kernels/cpu/copies.py",
        (("put(most / limit + total(check),", "put(most / limit,"),),
        "kernels/test_kernel_tails.py::test_no_entry_that_is_not_finite_is_hidden_by_int8[nan]",
    ),
    "kernel int8: rows as long as any have 127": Fault(
        "kernels/cpu/copies.py",
        (("limit = min(LARGEST, INT32 // (LARGEST * n))", "limit = LARGEST"),),
        "kernels/test_int8.py::test_sums_at_the_extremes_stay_within_int32[numba-200000]",
    ),
    "kernel int8: rounded toward zero": Fault(
        "kernels/cpu/copies.py",
        (("builder.fptosi(nearest,", "builder.fptosi(value,"),),
        "kernels/test_int8.py::test_rounding_is_to_nearest_and_to_even[numba]",
    ),
    "kernel int8: 128 not added to rows": Fault(
        "kernels/cpu/copies.py",
        (("builder.add(integers, whole(integers.type, OFFSET))", "integers"),),
        "kernels/test_entries.py::test_a_product_with_a_matrix_in_blocks[int8]",
    ),
    "kernel int8: 128 not taken from sums": Fault(
        "kernels/cpu/multiplying.py",
        (("load_right(builder, end(1), ir.VectorType(ir.FloatType(), VECTOR_BYTES // 4), kind)", "ir.Constant(ir.VectorType(ir.IntType(32), VECTOR_BYTES // 4), None)"),),
        "kernels/test_entries.py::test_a_product_with_a_matrix_in_blocks[int8]",
    ),
    "kernel int8: scales for what sums begin with": Fault(
        "kernels/cpu/multiplying.py",
        (("load_right(builder, end(1),", "load_right(builder, end(0),"),),
        "kernels/test_entries.py::test_a_product_with_a_matrix_in_blocks[int8]",
    ),
    "kernel int8: what sums begin with for scales": Fault(
        "kernels/cpu/multiplying.py",
        (("builder.bitcast(end(0), first", "builder.bitcast(end(1), first"),),
        "kernels/test_entries.py::test_a_product_with_a_matrix_in_blocks[int8]",
    ),
    "kernel int8: a row's factor forgotten": Fault(
        "kernels/cpu/multiplying.py",
        (("unit = builder.fmul(scale, splat(builder, builder.load(place, typ=first.type.element), first.type))", "unit = scale"),),
        "kernels/test_int8.py::test_each_row_has_its_factor_and_each_column_its_scale[numba]",
    ),
    "kernel int8: the factor of the first row for all of a tile": Fault(
        "kernels/cpu/tiles.py",
        (("partial(behind, n), at(a_rows[m], k_end)", "partial(behind, n), at(a_rows[0], k_end)"),),
        "kernels/test_int8.py::test_each_row_has_its_factor_and_each_column_its_scale[numba]",
    ),
    "kernel int8: scales of the vector before": Fault(
        "kernels/cpu/tiles.py",
        (("partial(beginning, m, n), partial(behind, n), at(", "partial(beginning, m, n), partial(behind, n & ~1), at("),),
        "kernels/test_int8.py::test_each_row_has_its_factor_and_each_column_its_scale[numba]",
    ),
    "kernel int8: sums begin with those of the first panel": Fault(
        "kernels/cpu/tiles.py",
        (("begin_sums(builder, partial(beginning, m, n), partial(behind, n), entries)", "begin_sums(builder, partial(beginning, m, n), partial(behind, n % 2), entries)"),),
        "kernels/test_entries.py::test_a_product_with_a_matrix_in_blocks[int8]",
    ),
    "kernel int8: what is added to is forgotten": Fault(
        "kernels/cpu/multiplying.py",
        (("return builder.fadd(first, builder.fmul(builder.sitofp(total, first.type), unit))", "return builder.fmul(builder.sitofp(total, first.type), unit)"),),
        "kernels/test_entries.py::test_a_pass_and_a_stream_of_relu[2-64-200-int8]",
    ),
    "kernel entries: an odd last number not multiplied": Fault(
        "kernels/cpu/copies.py",
        (("lines, rows_of_a = lines_before + lines_of(b, k - cut), as_left(spare, b)", "lines, rows_of_a = lines_before + lines_of(b, k - cut - 1), as_left(spare, b)"),),
        "kernels/test_entries.py::test_a_product_with_a_matrix_in_blocks[bf16]",
    ),
    "kernel entries: the last numbers of a row not copied": Fault(
        "kernels/cpu/copies.py",
        (("    if whole < n:\n        store_row(source, n - whole, target, whole)", "    if whole < n - width:\n        store_row(source, n - whole, target, whole)"),),
        "kernels/test_entries.py::test_a_product_with_a_matrix_in_blocks[bf16]",
    ),
    "kernel entries: the first rows copied again and again": Fault(
        "kernels/cpu/copies.py",
        (("at(a, (i + r) * lda)", "at(a, r * lda)"),),
        "kernels/test_entries.py::test_a_pass_and_a_stream_of_relu[70-5-33-bf16]",
    ),
    "kernel entries: one sum of the tallest tile left out": Fault(
        "kernels/cpu/tiles.py",
        (("multiply_add(builder, x, bs[n], sums[m * width + n], entries) for n", "sums[m * width + n] if m == HIGH - 1 and n else multiply_add(builder, x, bs[n], sums[m * width + n], entries) for n"),),
        "kernels/test_entries.py::test_a_product_with_a_matrix_in_blocks[int8]",
    ),
    "kernel entries: the first of several panels for all": Fault(
        "kernels/cpu/tiles.py",
        (("            bp, sp, cp = at(b, place * apart), at(start, place * width)", "            bp, sp, cp = at(b, place * 0), at(start, place * width)"),),
        "kernels/test_entries.py::test_few_rows_take_several_panels_at_once[int8]",
    ),
    "kernel entries: the second row of a last pair left out": Fault(
        "kernels/cpu/packing.py",
        (('builder.icmp_signed(">", left, ir.Constant(left.type, 1))', 'builder.icmp_signed(">", left, ir.Constant(left.type, 2))'),),
        "kernels/test_bfloat16.py::test_packed_numbers_are_rounded_to_nearest_and_nan_stays_nan[False]",
    ),
    "kernel entries: an odd last row twice": Fault(
        "kernels/cpu/packing.py",
        (("builder.select(there, below, ir.Constant(below.type, None))", "below"),),
        "kernels/test_bfloat16.py::test_packed_numbers_are_rounded_to_nearest_and_nan_stays_nan[False]",
    ),
    "kernel entries: neighbours beyond a vector before those in it": Fault(
        "kernels/cpu/packing.py",
        (("for half in (value, after)]", "for half in (after, value)]"),),
        "kernels/test_bfloat16.py::test_packed_numbers_are_rounded_to_nearest_and_nan_stays_nan[True]",
    ),
    "kernel entries: the first of a pair first": Fault(
        "kernels/cpu/multiplying.py",
        (("for place in (1, 0)]", "for place in (0, 1)]"),),
        "kernels/test_vector_widths.py::test_every_width_gives_the_bits_of_the_models[x86-64]",
    ),
    "kernel entries: half of the widened fours left out": Fault(
        "kernels/cpu/multiplying.py",
        (("for one, other in (even, odd):", "for one, other in (even,):"),),
        "kernels/test_vector_widths.py::test_every_width_gives_the_bits_of_the_models[x86-64]",
    ),
    "kernel entries: the first number of an entry for the one that is picked": Fault(
        "kernels/cpu/packing.py",
        (("row_vector(panel, line + side, index % deep, end + side,", "row_vector(panel, line + side, 0, end + side,"),),
        "kernels/test_entries.py::test_an_index_picks_its_dense_row[int8]",
    ),
    "kernel entries: a picked row with the scales of a panel's first columns": Fault(
        "kernels/cpu/packing.py",
        (("row_vector(panel, line + side, index % deep, end + side,", "row_vector(panel, line + side, index % deep, end,"),),
        "kernels/test_entries.py::test_an_index_picks_its_dense_row[int8]",
    ),
    "kernel entries: an embedding with the scale of another row": Fault(
        "kernels/cpu/streams.py",
        (("k % deep, end * width + column, like", "k % deep, end * width, like"),),
        "kernels/test_entries.py::test_an_index_picks_its_dense_row[int8]",
    ),
    "kernel entries: every thread multiplies with the first panels": Fault(
        "kernels/cpu/products.py",
        (("            at(W, first * size),\n", "            at(W, 0 * size),\n"),),
        "kernels/test_entries.py::test_the_bits_depend_on_neither_threads_nor_other_rows[int8]",
    ),
    "kernel entries: sums of int8 begin with the wrong multiple": Fault(
        "inference/blocks.py",
        (("sums = -OFFSET * whole.sum", "sums = -LARGEST * whole.sum"),),
        "kernels/test_entries.py::test_a_product_with_a_matrix_in_blocks[int8]",
    ),
    "kernel cache: a file of another key is taken": Fault(
        "kernels/cpu/cache.py",
        (('rest[:start] != len(key).to_bytes(LENGTH, "little") + key or ', ""),),
        "kernels/test_kernel_cache.py::test_a_file_is_used_for_its_own_key_alone",
    ),
    "kernel cache: nothing for a digest where there are no sources": Fault(
        "kernels/cpu/cache.py",
        (("        code = loader.get_code(name)\n", "        return b''\n"),),
        "kernels/test_kernel_cache.py::test_the_digest_depends_on_all_code_in_whatever_form_it_is",
    ),
    "kernel cache: constants not looked at": Fault(
        "kernels/cpu/cache.py",
        (("            described(code.co_consts),\n", ""),),
        "kernels/test_kernel_cache.py::test_the_digest_depends_on_all_code_in_whatever_form_it_is",
    ),
    "kernel cache: the code beside the package is not looked at": Fault(
        "kernels/cpu/cache.py",
        ((", *sorted(beside)]", "]"),),
        "kernels/test_kernel_cache.py::test_names_depend_on_the_code_beside_this_package_too",
    ),
    "kernel cache: any pickle is a kernel": Fault(
        "kernels/cpu/cache.py",
        (("        except Exception:", "        except OSError:"),),
        "kernels/test_kernel_cache.py::test_a_right_checksum_over_nonsense_is_compiled_anew",
    ),
    "kernel threads: nobody waits at a barrier": Fault(
        "kernels/cpu/team.py",
        (("while look(arrivals) < target:", "while look(arrivals) < 0:"),),
        "kernels/test_threads.py::test_layers_give_the_same_bits_on_any_number_of_threads",
    ),
    "kernel stream: one state for all rows": Fault(
        "kernels/cpu/streams.py",
        (("Strides(H, N, N, R, R, 0)", "Strides(H, N, N, 0, R, 0)"),),
        "inference/test_stream.py::test_a_stream_says_what_the_whole_sequence_says[None-float32-numba-gru]",
    ),
    "kernel stream: the gates' part of U forgotten": Fault(
        "kernels/cpu/streams.py",
        (("(stage.first + i) * H + left), count)", "(stage.first + i) * H + left), 0)"),),
        "inference/test_stream.py::test_a_stream_says_what_the_whole_sequence_says[None-float32-numba-gru]",
    ),
    "kernel stream: states do not change places": Fault(
        "kernels/cpu/streams.py",
        (("links[k, H0], links[k, H1] = links[k, H1], links[k, H0]", "links[k, H0], links[k, H1] = links[k, H0], links[k, H1]"),),
        "inference/test_stream.py::test_a_stream_says_what_the_whole_sequence_says[None-float32-numba-gru]",
    ),
    "leases: lent twice": Fault(
        "kernels/cpu/leases.py",
        (("self._lent += size", "self._lent += size\n        self._returned.append(block)"),),
        "kernels/test_lent_memory.py::test_no_two_living_arrays_overlap_and_idle_memory_is_bounded",
    ),
    "bfloat16: rounded toward zero": Fault(
        "kernels/cpu/bfloat16.py",
        (("nearest = builder.add(builder.add(bits, whole(kind, 0x7FFF)), odd)", "nearest = bits"),),
        "kernels/test_bfloat16.py::test_rounding_is_to_nearest_and_to_even",
    ),
    "bfloat16: ties away from zero": Fault(
        "kernels/cpu/bfloat16.py",
        (("builder.add(bits, whole(kind, 0x7FFF)), odd)", "builder.add(bits, whole(kind, 0x8000)), whole(kind, 0))"),),
        "kernels/test_bfloat16.py::test_rounding_is_to_nearest_and_to_even",
    ),
    "bfloat16: NaN becomes a number": Fault(
        "kernels/cpu/bfloat16.py",
        (('builder.select(builder.fcmp_unordered("uno", value, value), quiet, nearest)', "nearest"),),
        "kernels/test_bfloat16.py::test_nan_of_a_few_bits_stays_nan",
    ),
    "bfloat16: a gradient's blocks end in the middle of pairs": Fault(
        "kernels/cpu/tiles.py",
        (("    for k0 in range(0, k, BLOCK * deep):\n        rows = min(BLOCK * deep, k - k0)", "    for k0 in range(0, k, BLOCK * deep - deep // 2):\n        rows = min(BLOCK * deep - deep // 2, k - k0)"),),
        "kernels/test_entries.py::test_a_gradient_of_many_rows_is_one_sum[1025]",
    ),
    "bfloat16: a pair swapped": Fault(
        "kernels/cpu/bfloat16.py",
        (("for value in (one, other))", "for value in (other, one))"),),
        "kernels/test_bfloat16.py::test_linear_multiplies_rounded_numbers[W]",
    ),
    "bfloat16: rows of indices as they are": Fault(
        "kernels/cpu/forward.py",
        (("sum_rows_as(packed_W, bias,", "sum_rows_as(bias, bias,"),),
        "recurrent/test_bfloat16.py::test_indices_are_one_hot_vectors[numba]",
    ),
    "bfloat16: what is multiplied before a cut is not copied": Fault(
        "kernels/cpu/copies.py",
        (("            if cut:\n", "            if cut and m > 999:\n"),),
        "recurrent/test_bfloat16.py::test_every_cell_multiplies_rounded_numbers[numba-GRUCell]",
    ),
}
# fmt: on
