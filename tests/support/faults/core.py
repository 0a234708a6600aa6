"""Planted in core: parameters, lengths, noise, the edge of a layer."""

from faults.fault import Fault

# fmt: off
FAULTS = {
    "reversal off by one": Fault(
        "core/lengths.py",
        (("lengths - 1 - t)", "(lengths - t) % T)"),),
        "evidence/test_properties.py::test_padding_changes_nothing",
    ),
    "dropout: gradient not masked": Fault(
        "core/noise.py",
        (("xp.where(mask, dy * scale, zero), None", "dy * scale, None"),),
        "layers/test_layers.py::test_dropout_scales_selects_and_changes_from_pass_to_pass",
    ),
    "dropout: not rescaled": Fault(
        "core/noise.py",
        (("x.dtype.type(0), 1 / (1 - p)", "x.dtype.type(0), 1.0"),),
        "layers/test_layers.py::test_dropout_scales_selects_and_changes_from_pass_to_pass",
    ),
    "dropout: locked for all rows too": Fault(
        "core/noise.py",
        (("(1 if locked else T, B, D)", "(1 if locked else T, 1 if locked else B, D)"),),
        "recurrent/test_noise.py::test_a_row_has_the_same_masks_in_a_batch_of_any_size[locked]",
    ),
    "dropout: never locked": Fault(
        "core/noise.py",
        (("(1 if locked else T, B, D)", "(T, B, D)"),),
        "recurrent/test_noise.py::test_a_locked_mask_is_one_for_all_steps",
    ),
    "dropout: rows counted from each rank's first": Fault(
        "core/noise.py",
        (("zip((first_step, first_row, 0), shape", "zip((first_step, 0, 0), shape"),),
        "recurrent/test_noise.py::test_a_row_has_the_same_masks_in_a_batch_of_any_size[dropout]",
    ),
    "dropout: the same mask every time": Fault(
        "core/noise.py",
        (("for word in (zlib.crc32(site.encode()), call)", "for word in (zlib.crc32(site.encode()),)"),),
        "layers/test_layers.py::test_dropout_masks_depend_on_seed_place_and_pass_but_not_on_the_shape_around_them",
    ),
    "embedding: repeated index counted once": Fault(
        "core/backend.py",
        (("out[ordered[starts]] += self.xp.add.reduceat(rows[order], starts, axis=0)", "out[ordered[starts]] += rows[order][starts]"),),
        "evidence/test_gradients.py::test_every_composition[embedding-whole]",
    ),
    "variant: trained": Fault(
        "core/protocol.py",
        (('return all(hasattr(stage, "unstep")', 'return any(hasattr(stage, "step")'),),
        "recurrent/test_variants.py::test_a_training_forward_is_refused_before_anything_is_computed",
    ),
    "padding of dy is used": Fault(
        "core/layer.py",
        (("dy = blank(dy, past_y)", "dy = dy"),),
        "evidence/test_properties.py::test_padding_changes_nothing",
    ),
    "frozen weights are trained": Fault(
        "core/parameters.py",
        (("for name in self.frozen)", "for name in ())"),),
        "optim/test_optim.py::test_frozen_weights_take_no_part_even_if_their_gradient_is_nan",
    ),
    "load: NaN accepted": Fault(
        "formats/filling.py",
        (("        if not np.isfinite(array).all():\n", "        if False:\n"),),
        "formats/test_wrong_files.py::test_a_weight_that_does_not_fit_is_named[change-weight 1.0.U must be finite; it holds NaN or infinity]",
    ),
    "save: not atomic": Fault(
        "core/files.py",
        (('temporary = path.with_name(f".{os.urandom(8).hex()}.part")', "temporary = path"),),
        "formats/test_files.py::test_a_write_that_fails_leaves_everything_as_it_was[fsync-True]",
    ),
    "base: backward passes of threads run at once": Fault(
        "core/backward.py",
        (("        with self._parameters.changing:\n", "        if True:\n"),),
        "core/test_shared_models.py::test_gradients_of_passes_in_several_threads_add_up",
    ),
    "base: the weights' number taken after the pass": Fault(
        "core/layer.py",
        (("        inputs = Inputs(self, x)\n        y, final, pull, saved, after = self.apply(x, state, run)\n", "        y, final, pull, saved, after = self.apply(x, state, run)\n        inputs = Inputs(self, x)\n"),),
        "core/test_shared_models.py::test_a_pass_whose_weights_changed_while_it_ran_is_refused",
    ),
    "weighted: gradients are zeroed during a backward pass": Fault(
        "core/module.py",
        (("        with self.bound.changing:\n            self.grads", "        if True:\n            self.grads"),),
        "core/test_shared_models.py::test_a_step_waits_for_the_backward_pass_that_runs[zero_grads]",
    ),
    "parameters: a forked child has its parent's locks": Fault(
        "core/parameters.py",
        (("        parameters.unlock()\n", "        pass\n"),),
        "core/test_shared_models.py::test_a_forked_child_does_not_wait_for_a_thread_of_its_parent",
    ),
    "unchanged: x not compared": Fault(
        "core/unchanged.py",
        (("if now != self.x_seen and", "if False and"),),
        "core/test_unchanged.py::test_a_buffer_of_x_that_is_used_again_is_noticed[shape0-rnn]",
    ),
    "unchanged: weights not compared": Fault(
        "core/unchanged.py",
        (("        if now != self.weights:\n", "        if False:\n"),),
        "core/test_unchanged.py::test_any_weight_that_is_written_by_hand_is_named",
    ),
    "unchanged: the first step alone": Fault(
        "core/unchanged.py",
        (("x[:: max(1, (len(x) - 1) // STEPS), ::", "x[:1, ::"),),
        "core/test_unchanged.py::test_the_first_and_the_last_step_are_looked_at[-1]",
    ),
    "unchanged: one number of a row": Fault(
        "core/unchanged.py",
        (("x[:: max(1, (len(x) - 1) // STEPS), :: max(1, x.shape[1] - 1)]", "x[:: max(1, (len(x) - 1) // STEPS), :: max(1, x.shape[1] - 1), :1]"),),
        "core/test_unchanged.py::test_one_hot_rows_are_seen_whole",
    ),
    "unchanged: infinity near everything": Fault(
        "core/unchanged.py",
        (
            ("np.isfinite(b) & (abs(", "((abs("),
            ("np.maximum(1, abs(b)))\n", "np.maximum(1, abs(b))))\n"),
        ),
        "core/test_unchanged.py::test_nan_is_what_it_was",
    ),
    "unchanged: a tied weight forgotten": Fault(
        "core/unchanged.py",
        (("for other in one.partners():", "for other in ():"),),
        "core/test_unchanged.py::test_of_a_part_its_own_weights_and_those_it_is_tied_to_count",
    ),
    "init: weights that are kept are drawn too": Fault(
        "core/parameters.py",
        (("            if name not in skipped:\n", "            if True:\n"),),
        "layers/test_joining.py::test_a_layer_may_go_into_any_number_of_models",
    ),
    "init: draws over what was trained": Fault(
        "core/module.py",
        (("        if changed:\n", "        if False:\n"),),
        "layers/test_joining.py::test_quantised_layers_are_joined_with_their_kind_alone",
    ),
    "joining: frozen weights are trained": Fault(
        "core/parameters.py",
        (("        if there in source.frozen:\n", "        if False:\n"),),
        "layers/test_joining.py::test_a_part_is_copied_on_its_own",
    ),
    "batch first: dx with time first": Fault(
        "core/layer.py",
        (("dx.swapaxes(0, 1) if first and", "dx if first and"),),
        "core/test_batch_first.py::test_a_call_with_the_batch_first_is_the_other_one_turned[rnn-numpy]",
    ),
    "floats: numbers too large become infinity": Fault(
        "core/backend.py",
        (('np.errstate(over="raise")', 'np.errstate(over="ignore")'),),
        "core/test_floats.py::test_what_would_lose_more_than_digits_is_refused[float32]",
    ),
    "plain bfloat16: the right-hand matrix as it is": Fault(
        "core/parameters.py",
        (("rounded(a) @ rounded(b) if self.compute", "rounded(a) @ b if self.compute"),),
        "recurrent/test_bfloat16.py::test_a_convolution_multiplies_rounded_numbers[numpy]",
    ),
    "plain bfloat16: ties away from zero": Fault(
        "core/bfloat16.py",
        (("(bits + (bits >> 16 & 1) + 0x7FFF) >> 16", "(bits + 0x8000) >> 16"),),
        "core/test_bfloat16.py::test_between_two_neighbours_the_nearer_one_is_taken_and_of_both_the_even_one",
    ),
    "plain bfloat16: a matrix that rounds itself alone": Fault(
        "core/bfloat16.py",
        (("= rounded(a) @ self.rounded", "= a @ self.rounded"),),
        "core/test_bfloat16.py::test_a_matrix_that_rounds_stands_where_its_array_would",
    ),
}
# fmt: on
