"""Planted in layers and losses."""

from faults.fault import Fault

# fmt: off
FAULTS = {
    "linear: db: = for +=": Fault(
        "layers/feedforward.py",
        (("db += drows.sum(0)", "db[...] = drows.sum(0)"),),
        "evidence/test_gradients.py::test_every_composition[tied-whole]",
    ),
    "linear: tied gradient lost": Fault(
        "layers/feedforward.py",
        (('dW = self.tie.grad("W").T if self.tie', 'dW = self.tie.grad("W").T.copy() if self.tie'),),
        "layers/test_layers.py::test_tied_weights_stand_once_and_collect_both_gradients",
    ),
    "last: one step early": Fault(
        "layers/feedforward.py",
        (("xp.where(skipped, 0, t).max(0)", "xp.where(skipped, 0, t - 1).max(0)"),),
        "layers/test_layers.py::test_last_takes_each_rows_last_valid_step",
    ),
    "sequential: layers back in the order forward": Fault(
        "layers/compose.py",
        (("zip(reversed(pulls), reversed(dstate), strict=True)", "zip(pulls, reversed(dstate), strict=True)"),),
        "evidence/test_gradients.py::test_every_composition[many to one-whole]",
    ),
    "bidirectional: halves swapped": Fault(
        "layers/compose.py",
        (("xp.concatenate([a, b]", "xp.concatenate([b, a]"),),
        "evidence/test_oracle.py::test_bidirectional_combinator_is_a_bidirectional_layer",
    ),
    "bidirectional: a product's gradients swapped": Fault(
        "layers/compose.py",
        (("return dy * b, dy * a", "return dy * a, dy * b"),),
        "evidence/test_gradients.py::test_every_composition[product of two-whole]",
    ),
    "bidirectional: not 0 at a skipped step": Fault(
        "layers/compose.py",
        (("y if skip is None else blank(y, skip)", "y"),),
        "recurrent/test_masks.py::test_a_pair_of_layers_is_a_layer_of_both_directions_under_a_mask",
    ),
    "mask: x kept": Fault(
        "layers/feedforward.py",
        (("return Result(blank(x, skip), None", "return Result(x, None"),),
        "recurrent/test_masks.py::test_masking_marks_whole_steps_only",
    ),
    "mask: lengths forgotten": Fault(
        "layers/feedforward.py",
        (("skip | run.skipped", "skip"),),
        "recurrent/test_masks.py::test_two_masks_and_lengths_add_up",
    ),
    "sequential: a mask not handed on": Fault(
        "layers/compose.py",
        (("run = changed or run", "run = run"),),
        "recurrent/test_masks.py::test_a_row_under_a_mask_is_that_row_without_the_skipped_steps",
    ),
    "gelu: the other half": Fault(
        "layers/activations.py",
        (("return _below(a, 0, upper, 1 - upper)", "return _below(a, 0, 1 - upper, upper)"),),
        "layers/test_activations.py::test_the_tail_of_the_normal_distribution_has_its_digits",
    ),
    "elu: slope without alpha": Fault(
        "layers/activations.py",
        (("dy * (y + alpha), dy)", "dy * (y + 1), dy)"),),
        "layers/test_activations.py::test_the_slope_is_the_derivative[elu]",
    ),
    "softmax: slope of each entry alone": Fault(
        "layers/activations.py",
        (("y * (dy - (dy * y).sum(axis=-1, keepdims=True))", "y * (dy - dy * y)"),),
        "layers/test_activations.py::test_the_slope_is_the_derivative[softmax]",
    ),
    "mish: large numbers": Fault(
        "layers/activations.py",
        (("a * np.tanh(_softplus(a))", "a * np.tanh(np.log(1 + np.exp(a)))"),),
        "layers/test_activations.py::test_values_are_those_of_the_formula_on_one_number[mish]",
    ),
    "cross entropy: gradient of the sum": Fault(
        "layers/losses.py",
        (("dlogits /= N", "dlogits /= 1"),),
        "layers/test_losses.py::test_cross_entropy_and_its_gradient_are_those_of_the_definition",
    ),
    "cross entropy: mask not in the mean": Fault(
        "layers/losses.py",
        (("targets.size if counts is None else counts.sum()", "targets.size"),),
        "layers/test_losses.py::test_cross_entropy_and_its_gradient_are_those_of_the_definition",
    ),
    "cross entropy: no shift": Fault(
        "layers/losses.py",
        (("flat - flat.real.max(axis=1, keepdims=True)", "flat - 0"),),
        "layers/test_losses.py::test_extreme_logits_give_an_exact_loss_and_gradient",
    ),
    "mse: half the gradient": Fault(
        "layers/losses.py",
        (("difference * (2 / N)", "difference * (1 / N)"),),
        "layers/test_losses.py::test_mse_and_its_gradient_are_those_of_the_definition",
    ),
    "loss: an overflow warns": Fault(
        "layers/losses.py",
        (('    with np.errstate(over="ignore"):  # further', "    with np.errstate():  # further"),),
        "layers/test_losses.py::test_logits_further_apart_than_their_dtype_reaches_are_certain_without_a_warning",
    ),
    "layers: a softmax's y can be written": Fault(
        "layers/feedforward.py",
        (("if run.training and self.function.slope_reads_value:", "if False:"),),
        "core/test_unchanged.py::test_a_y_that_backward_needs_cannot_be_written",
    ),
    "joining: vectors shared with the model that was": Fault(
        "layers/compose.py",
        (("        _separate(model, like)\n", "        model.bind(like)\n"),),
        "recurrent/test_masks.py::test_a_row_under_a_mask_is_that_row_without_the_skipped_steps[numpy]",
    ),
    "layer norm: nothing through the variance": Fault(
        "more_cells.py",
        (("s * (dN - mean(dN) - N * mean(dN * N))", "s * (dN - mean(dN))"),),
        "evidence/test_gradients.py::test_every_composition[layer norm-whole]",
    ),
    "layer norm: the variance of a sample": Fault(
        "more_cells.py",
        (("np.sqrt(mean(off * off) + eps)", "np.sqrt(mean(off * off) * a.shape[-1] / max(1, a.shape[-1] - 1) + eps)"),),
        "layers/test_around.py::test_every_layer_agrees_with_the_oracle",
    ),
    "layer norm: db: = for +=": Fault(
        "layers/normalisation.py",
        (('self.grad("b")[...] += dy.sum', 'self.grad("b")[...] = dy.sum'),),
        "evidence/test_gradients.py::test_every_composition[layer norm-whole]",
    ),
    "batch norm: epsilon outside the root": Fault(
        "layers/normalisation.py",
        (('(self.weight("var") + self.eps) ** 0.5', '(self.weight("var") ** 0.5 + self.eps)'),),
        "layers/test_around.py::test_batch_norm_agrees_with_the_oracle",
    ),
    "prelu: the kink's other side": Fault(
        "layers/feedforward.py",
        (("da = xp.where(above, x.dtype.type(0), dy * x)", "da = xp.where(above, dy * x, x.dtype.type(0))"),),
        "evidence/test_gradients.py::test_every_composition[trained slopes-whole]",
    ),
    "windows: padded on the right only": Fault(
        "layers/windows.py",
        (("for n in (self.left, self.right)]", "for n in (0, self.left + self.right)]"),),
        "layers/test_around.py::test_every_layer_agrees_with_the_oracle",
    ),
    "windows: what is past a row's end is read": Fault(
        "layers/windows.py",
        (("        if run.past is not None:\n            x = xp.where(run.past[:, :, None], value, x)\n", ""),),
        "layers/test_around.py::test_what_a_layer_before_makes_of_padding_is_not_read",
    ),
    "windows: lengths are not handed on": Fault(
        "layers/windows.py",
        (("if self.changes_steps else None", "if False else None"),),
        "layers/test_around.py::test_a_stride_changes_lengths_for_the_layers_after_it",
    ),
    "windows: one too many in a row": Fault(
        "layers/windows.py",
        (("- self.reach - 1) // self.stride + 1  # (2)\n        return windows *", "- self.reach - 1) // self.stride + 2\n        return windows *"),),
        "layers/test_around.py::test_every_layer_agrees_with_the_oracle",
    ),
    "windows: overlapping gradients replace each other": Fault(
        "layers/windows.py",
        (("own[...] += dwindow", "own[...] = dwindow"),),
        "evidence/test_gradients.py::test_every_composition[convolution-whole]",
    ),
    "convolution: the groups' features swapped": Fault(
        "layers/convolution.py",
        (("for k in range(self.groups)]\n\n        y", "for k in reversed(range(self.groups))]\n\n        y"),),
        "layers/test_around.py::test_every_layer_agrees_with_the_oracle",
    ),
    "convolution: the state is not of the row's end": Fault(
        "layers/convolution.py",
        (("xp.full(B, T) if run.past is None else (~run.past).sum(axis=0)", "xp.full(B, T)"),),
        "layers/test_around.py::test_a_causal_convolution_carries_the_steps_before_it",
    ),
    "convolution: the state's gradient lost": Fault(
        "layers/convolution.py",
        (("                dp[last] += dstate\n", "                pass\n"),),
        "evidence/test_gradients.py::test_every_composition[causal convolution-whole]",
    ),
    "largest: padding counts as 0": Fault(
        "layers/pooling.py",
        (('p = self.padded(x, run, fill=float("-inf"))', "p = self.padded(x, run)"),),
        "layers/test_around.py::test_every_layer_agrees_with_the_oracle",
    ),
    "largest: every equal step gets the gradient": Fault(
        "layers/pooling.py",
        (("xp.where(first == k, dy, zero)", "xp.where(windows[k] == y, dy, zero)"),),
        "layers/test_around.py::test_of_equal_steps_the_first_gets_the_gradient",
    ),
    "mean: padding always counts": Fault(
        "layers/pooling.py",
        (("if not self.count_padding:", "if False:"),),
        "layers/test_around.py::test_means_count_padding_or_not",
    ),
    "mean of all: padding counts": Fault(
        "layers/pooling.py",
        (("n = xp.maximum(valid.sum(axis=0), 1)", "n = xp.maximum((valid | True).sum(axis=0), 1)"),),
        "layers/test_around.py::test_pooling_over_all_steps_is_over_those_that_count",
    ),
    "flatten: rows outermost": Fault(
        "layers/pooling.py",
        (("Result(x.swapaxes(0, 1).reshape(B, T * D)", "Result(x.reshape(B, T * D)"),),
        "layers/test_around.py::test_flatten_puts_steps_one_after_another",
    ),
    "sequential: a mask before a convolution": Fault(
        "layers/compose.py",
        (("if masked and not layer.skips:", "if False:"),),
        "layers/test_around.py::test_what_cannot_be_built_is_refused[mask]",
    ),
    "sequential: saved past the new end": Fault(
        "layers/compose.py",
        (("saved if run.past is past else ended(saved, run)", "saved"),),
        "layers/test_around.py::test_what_is_saved_of_layers_after_a_stride_ends_where_their_rows_do",
    ),
    "edge: y is not 0 past its own end": Fault(
        "core/layer.py",
        (("y = y if past_y is None else blank(y, past_y)", "y = y if past is None else blank(y, past) if y.shape[0] == len(past) else y"),),
        "layers/test_around.py::test_a_stride_changes_lengths_for_the_layers_after_it",
    ),
    "hard swish: half the slope": Fault(
        "layers/activations.py",
        (("dy * (a / 3 + 0.5), dy)", "dy * (a / 6 + 0.5), dy)"),),
        "layers/test_activations.py::test_the_slope_is_the_derivative[hard_swish]",
    ),
    "graph: = for += at a fork": Fault(
        "layers/graph.py",
        (("d[name] = d[name] + gradient if name in d else gradient", "d[name] = gradient"),),
        "layers/test_graph.py::test_a_gradient_is_the_sum_of_what_all_readers_send_back",
    ),
    "graph: a final state's gradient lost": Fault(
        "layers/graph.py",
        (("if any(one is not None for one in ends_in):", "if False:"),),
        "layers/test_graph.py::test_a_gradient_is_the_sum_of_what_all_readers_send_back",
    ),
    "graph: states in the order of their arrays": Fault(
        "layers/graph.py",
        (("stacked = [xp.stack(arrays[k::count]) for k in range(count)]", "stacked = [xp.stack(arrays[k::count]) for k in reversed(range(count))]"),),
        "layers/test_graph.py::test_states_go_from_one_layer_to_another",
    ),
    "combine: a difference's second with the same sign": Fault(
        "layers/joining.py",
        (('-dy if how == "difference" and k else dy', "dy"),),
        "layers/test_graph.py::test_the_transpose_of_every_join[layer1]",
    ),
    "dot: the gradient of a norm is lost": Fault(
        "layers/joining.py",
        (("r * (dn - n * xp.where(small, along.dtype.type(0), along))", "r * dn"),),
        "layers/test_graph.py::test_the_transpose_of_a_norm_along_any_axis",
    ),
    "dot: a norm that counts as the smallest has a gradient": Fault(
        "layers/joining.py",
        (("xp.where(small, along.dtype.type(0), along)", "along"),),
        "layers/test_graph.py::test_the_transpose_of_a_norm_above_and_below_the_smallest[1e-08--1]",
    ),
    "attention: padding is read": Fault(
        "layers/attention.py",
        (("counts = None if run.skipped is None else ~run.skipped.T[:, None, :]", "counts = None"),),
        "layers/test_attention.py::test_attention_is_what_loops_compute",
    ),
    "attention: softmax without its sum": Fault(
        "layers/attention.py",
        (("de: Array = a * (da - (da * a).sum(axis=-1, keepdims=True))", "de: Array = a * da"),),
        "layers/test_attention.py::test_gradients[dot-False-False-1]",
    ),
    "attention: heads not scaled": Fault(
        "layers/attention.py",
        (("scale = q.dtype.type(self.key_size**-0.5)", "scale = q.dtype.type(1)"),),
        "layers/test_attention.py::test_every_head_is_attention_of_projections",
    ),
    "ctc: no blank between equal labels": Fault(
        "layers/ctc.py",
        (("labels[:, 1:] != labels[:, :-1]", "labels[:, 1:] != blank"),),
        "layers/test_ctc.py::test_every_target_of_three_labels_has_its_paths[5]",
    ),
    "ctc: a path ends at the last blank alone": Fault(
        "layers/ctc.py",
        (("for k in (PAST, PAST - 1)", "for k in (PAST, PAST)"),),
        "layers/test_ctc.py::test_the_loss_is_that_of_all_paths",
    ),
    "ctc: β ends at the last blank alone": Fault(
        "layers/ctc.py",
        (("(s >= L - 2)", "(s >= L - 1)"),),
        "layers/test_ctc.py::test_the_gradient_is_the_derivative[sum]",
    ),
    "ctc: β skips as α does": Fault(
        "layers/ctc.py",
        (("skips[:, :-2] = barred[:, 2:]", "skips[:, :-2] = barred[:, :-2]"),),
        "layers/test_ctc.py::test_the_gradient_is_the_derivative[sum]",
    ),
    "ctc: β without the step ahead": Fault(
        "layers/ctc.py",
        (("ahead[:, :L] = log_b + log_y[t]", "ahead[:, :L] = log_b"),),
        "layers/test_ctc.py::test_the_gradient_is_the_derivative[sum]",
    ),
    "ctc: β from the longest row's end": Fault(
        "layers/ctc.py",
        (("(last == t + 1)[:, None]", "(last.max() == t + 1)"),),
        "layers/test_ctc.py::test_a_batch_is_its_rows_alone_and_padding_is_not_read",
    ),
    "ctc: α's shifts past a row's end": Fault(
        "layers/ctc.py",
        (("xp.where(live, shifts, floats.type(0))", "xp.where(live | ~live, shifts, floats.type(0))"),),
        "layers/test_ctc.py::test_a_batch_is_its_rows_alone_and_padding_is_not_read",
    ),
    "ctc: padding is read": Fault(
        "layers/ctc.py",
        (("x = xp.where(live[:, :, None], logits, zero)", "x = logits"),),
        "layers/test_ctc.py::test_a_batch_is_its_rows_alone_and_padding_is_not_read",
    ),
    "ctc: gradients in the padding": Fault(
        "layers/ctc.py",
        (("(live & possible)[:, :, None]", "possible[:, None]"),),
        "layers/test_ctc.py::test_a_batch_is_its_rows_alone_and_padding_is_not_read",
    ),
    "ctc: labels in the padding": Fault(
        "layers/ctc.py",
        (("counts = np.arange(S) < sizes[:, None]\n", "counts = np.arange(S) < sizes.max() + 0 * sizes[:, None]\n"),),
        "layers/test_ctc.py::test_a_batch_is_its_rows_alone_and_padding_is_not_read",
    ),
    "ctc: states past a row's last": Fault(
        "layers/ctc.py",
        (("xp.where(xp.asarray(inside), log_y, never)", "log_y"),),
        "layers/test_ctc.py::test_a_row_keeps_its_digits_beside_one_of_more_labels",
    ),
    "ctc: α never shifted": Fault(
        "layers/ctc.py",
        (("shift = _largest(xp, a)\n", "shift = _largest(xp, a) * 0\n"),),
        "layers/test_ctc.py::test_a_long_float32_sequence_keeps_its_digits",
    ),
    "ctc: log of a sum shifted by its first term": Fault(
        "layers/ctc.py",
        (("largest = xp.maximum(largest, term.real)", "largest = largest"),),
        "layers/test_ctc.py::test_extreme_logits_give_an_exact_loss_and_gradient[float32]",
    ),
    "ctc: mean over labels": Fault(
        "layers/ctc.py",
        (("np.maximum(1, sizes)", "np.maximum(1, sizes.mean())"),),
        "layers/test_ctc.py::test_a_batch_is_its_rows_alone_and_padding_is_not_read",
    ),
    "ctc: mean's gradient is the sum's": Fault(
        "layers/ctc.py",
        (("dlogits * share[:, None]", "dlogits"),),
        "layers/test_ctc.py::test_the_gradient_is_the_derivative[mean]",
    ),
    "ctc: an impossible row has a gradient": Fault(
        "layers/ctc.py",
        (("possible = losses.real != np.inf", "possible = losses.real == losses.real"),),
        "layers/test_ctc.py::test_a_target_that_has_too_few_steps",
    ),
    "ctc: a step too few is let through": Fault(
        "layers/ctc.py",
        (("needed = sizes + equal.sum(axis=1)", "needed = sizes"),),
        "layers/test_ctc.py::test_a_target_that_has_too_few_steps",
    ),
    "ctc greedy: blanks taken out first": Fault(
        "layers/ctc_decoding.py",
        (("path = best[:T, b]\n", "path = best[:T, b][best[:T, b] != blank]\n        T = len(path)\n"),),
        "layers/test_ctc_decoding.py::test_repeats_need_a_blank_between",
    ),
    "ctc greedy: steps past a row's end": Fault(
        "layers/ctc_decoding.py",
        (("path = best[:T, b]\n", "path = best[:, b]\n        T = len(path)\n"),),
        "layers/test_ctc_decoding.py::test_greedy_takes_the_likeliest_path",
    ),
    "ctc beam: a repeat without a blank": Fault(
        "layers/ctc_decoding.py",
        (("longer[np.arange(W), last] = log_b + y[last]", "longer[np.arange(W), last] = both + y[last]"),),
        "layers/test_ctc_decoding.py::test_a_wide_beam_finds_every_labelling",
    ),
    "ctc beam: two ways to a prefix not added": Fault(
        "layers/ctc_decoding.py",
        (("stay_n[j] = np.logaddexp(stay_n[j], longer[i, prefix[-1]])", "stay_n[j] = max(stay_n[j], longer[i, prefix[-1]])"),),
        "layers/test_ctc_decoding.py::test_a_wide_beam_finds_every_labelling",
    ),
    "ctc beam: a prefix twice": Fault(
        "layers/ctc_decoding.py",
        (("longer[i, prefix[-1]] = -np.inf", "longer[i, prefix[-1]] += 0"),),
        "layers/test_ctc_decoding.py::test_a_narrow_beam_counts_no_path_twice",
    ),
    "ctc beam: the order of partition": Fault(
        "layers/ctc_decoding.py",
        (('places[np.argsort(-log_p[places], kind="stable")]', "places"),),
        "layers/test_ctc_decoding.py::test_a_wide_beam_finds_every_labelling",
    ),
}
# fmt: on
