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
}
# fmt: on
