"""Planted in recurrent layers: direction, depth, what is masked and computed again."""

from faults.fault import Fault

# fmt: off
FAULTS = {
    "a matrix's gradient: = for +=": Fault(
        "recurrent/plain.py",
        (("weights.add(matrix_of(stage), product(A.T, rows))", "weights.grad(matrix_of(stage))[...] = product(A.T, rows)"),),
        "recurrent/test_segments.py::test_what_is_computed_again_is_the_same[whole-float64-numpy-projected]",
    ),
    "a projection's state as wide as the cell": Fault(
        "recurrent/direction.py",
        (("p.backend.xp.zeros((B, n), p.dtype)", "p.backend.xp.zeros((B, self.hidden_size), p.dtype)"),),
        "evidence/test_proof.py::test_every_cell_is_proved",
    ),
    "weights' gradients: = for +=": Fault(
        "recurrent/weights.py",
        (("total += gradient", "total[...] = gradient"),),
        "evidence/test_gradients.py::test_every_composition[many to one-whole]",
    ),
    "dU: = for +=": Fault(
        "recurrent/plain.py",
        (("[:, scan.columns[k]] += product(A.T, rows)", "[:, scan.columns[k]] = product(A.T, rows)"),),
        "evidence/test_gradients.py::test_every_composition[many to one-whole]",
    ),
    "bias dropped for one-hot input": Fault(
        "recurrent/weights.py",
        (("        P += b\n", '        if x.dtype.kind not in "iu":\n            P += b\n'),),
        "evidence/test_oracle.py::test_every_layer_agrees_with_the_oracle",
    ),
    "initial states of layers reversed": Fault(
        "recurrent/networks.py",
        (("[d for _, d in back] + dinitials", "dinitials + [d for _, d in back]"),),
        "evidence/test_gradients.py::test_every_recurrent_layer_by_complex_step",
    ),
    "final state's gradient to the first layer": Fault(
        "recurrent/networks.py",
        (("dfinals[layer * n + k]", "dfinals[k]"),),
        "evidence/test_gradients.py::test_every_recurrent_layer_by_complex_step",
    ),
    "lost initial-state gradient": Fault(
        "recurrent/plain.py",
        (("product_backward(self.x, dP), dstate\n", "product_backward(self.x, dP), tuple(d * 0 for d in dstate)\n"),),
        "evidence/test_gradients.py::test_every_recurrent_layer_by_complex_step",
    ),
    "trainable state learns from the first row only": Fault(
        "recurrent/direction.py",
        (('add(f"{name}0", d.sum(0))', 'add(f"{name}0", d[0])'),),
        "evidence/test_gradients.py::test_every_composition[one-hot-whole]",
    ),
    "dx of only one direction": Fault(
        "recurrent/networks.py",
        (("                    dy += part\n", "                    dy += 0 * part\n"),),
        "evidence/test_gradients.py::test_every_recurrent_layer_by_complex_step",
    ),
    "dropout: not locked between layers": Fault(
        "recurrent/networks.py",
        (("run, locked=self.locked)", "run, locked=False)"),),
        "recurrent/test_noise.py::test_layers_of_one_recurrent_layer_are_locked_by_masks_of_their_own",
    ),
    "weight dropout: gradient not masked": Fault(
        "recurrent/weight_dropout.py",
        (('self.undropped.add("U", self._masked(self.dV))', 'self.undropped.add("U", self.dV)'),),
        "recurrent/test_noise.py::test_weight_dropout_is_the_same_layer_with_fewer_weights[RNN-numpy]",
    ),
    "weight dropout: not rescaled": Fault(
        "recurrent/weight_dropout.py",
        (("self.scale = backend.xp, 1 / (1 - p)", "self.scale = backend.xp, 1.0"),),
        "recurrent/test_noise.py::test_a_pass_with_its_masks_given_agrees_with_the_oracle",
    ),
    "weight dropout: the gradient of a pass before counted again": Fault(
        "recurrent/weight_dropout.py",
        (("        self.dV[...] = 0\n", ""),),
        "recurrent/test_noise.py::test_weight_dropout_is_the_same_layer_with_fewer_weights[RNN-numpy]",
    ),
    "weight dropout: one mask for all layers": Fault(
        "recurrent/weight_dropout.py",
        (('f"{weights.prefix}U"', '"U"'),),
        "recurrent/test_noise.py::test_every_u_has_a_mask_of_its_own_in_every_pass",
    ),
    "weight dropout: in inference too": Fault(
        "recurrent/direction.py",
        (("if run.training and p else weights", "if p else weights"),),
        "recurrent/test_noise.py::test_weight_dropout_is_the_same_layer_with_fewer_weights[RNN-numpy]",
    ),
    "weight dropout: kernels read the model's U": Fault(
        "recurrent/fused.py",
        (('= weights.addresses("U")[0]', '= weights.parameters.addresses(weights.prefix + "U")[0]'),),
        "recurrent/test_noise.py::test_weight_dropout_is_the_same_layer_with_fewer_weights[RNN-numba]",
    ),
    "weight dropout: kernels add to the model's gradient": Fault(
        "recurrent/fused.py",
        (('self.weights.addresses("U")[1]', 'self.weights.parameters.addresses(self.weights.prefix + "U")[1]'),),
        "recurrent/test_noise.py::test_weight_dropout_is_the_same_layer_with_fewer_weights[RNN-numba]",
    ),
    "zoneout: nothing of it in inference": Fault(
        "recurrent/plain.py",
        (("share = zoneout if any(zoneout) and not run.training else None", "share = None"),),
        "recurrent/test_noise.py::test_zoneout_in_inference_is_what_the_oracle_says",
    ),
    "zoneout: drawn by what keeps": Fault(
        "recurrent/zoneout.py",
        (("        ~keep_mask(backend", "        keep_mask(backend"),),
        "recurrent/test_noise.py::test_a_zoned_state_is_on_average_what_inference_says",
    ),
    "masks: a kernel's rows counted from each rank's first": Fault(
        "kernels/cpu/noise.py",
        (("np.uint64(first_row + b + 1)", "np.uint64(b + 1)"),),
        "recurrent/test_noise.py::test_compiled_masks_are_those_of_numpy",
    ),
    "zoneout: one mask for both states": Fault(
        "recurrent/zoneout.py",
        (('zoneout.{name}"', 'zoneout"'),),
        "recurrent/test_noise.py::test_every_state_of_every_direction_has_zones_of_its_own",
    ),
    "zoneout: one mask for both directions": Fault(
        "recurrent/zoneout.py",
        (('f"{prefix}zoneout', 'f"zoneout'),),
        "recurrent/test_noise.py::test_every_state_of_every_direction_has_zones_of_its_own",
    ),
    "zoneout: lengths forgotten": Fault(
        "recurrent/zoneout.py",
        (("ended if zone is None else zone | ended", "ended if zone is None else zone"),),
        "recurrent/test_noise.py::test_padding_changes_nothing_with_masks_frozen",
    ),
    "zoneout: one mask for all steps": Fault(
        "recurrent/zoneout.py",
        (("run.call, (T, B, n), p", "run.call, (1, B, n), p"),),
        "recurrent/test_noise.py::test_a_pass_with_its_masks_given_agrees_with_the_oracle",
    ),
    "zoneout: h's probability for c": Fault(
        "recurrent/zoneout.py",
        (("recurrence.zoneout, strict", "recurrence.zoneout[:1] * len(recurrence.zoneout), strict"),),
        "recurrent/test_noise.py::test_a_zoned_state_is_on_average_what_inference_says",
    ),
    "zoneout: kernels that know nothing of it": Fault(
        "recurrent/direction.py",
        (("        if any(zoneout):\n", "        if False:\n"),),
        "kernels/test_own_cells.py::test_zoneout_has_kernels[lstm]",
    ),
    "zoneout: zones not turned with the steps": Fault(
        "recurrent/fused.py",
        (("zone[::-1] if self.reverse else zone", "zone"),),
        "kernels/test_own_cells.py::test_zoneout_has_kernels[lstm]",
    ),
    "zoneout: what stayed sends nothing back": Fault(
        "core/zones.py",
        (("np.where(mask, d, 0.0)", "np.where(mask, 0.0, 0.0 * d)"),),
        "kernels/test_own_cells.py::test_zoneout_has_kernels[lstm]",
    ),
    "segments: each with the masks of the first": Fault(
        "recurrent/checkpointing.py",
        (("first_step=k * self.run.every", "first_step=0"),),
        "recurrent/test_segments.py::test_what_is_computed_again_is_the_same[whole-float64-numpy-zoned]",
    ),
    "segments: without noise at first": Fault(
        "recurrent/checkpointing.py",
        (("first_step=k * self.run.every, again=again", "first_step=k * self.run.every, training=not again"),),
        "recurrent/test_segments.py::test_what_is_computed_again_is_the_same[whole-float64-numpy-zoned]",
    ),
    "mask: gaps filled from behind": Fault(
        "recurrent/masks.py",
        (("argsort(t + T * self.skip", "argsort(-t + T * self.skip"),),
        "recurrent/test_masks.py::test_a_row_under_a_mask_is_that_row_without_the_skipped_steps[numpy]",
    ),
    "mask: the step after for the one before": Fault(
        "recurrent/masks.py",
        (("self.xp.maximum(count - 1, 0)", "self.xp.maximum(count - 1, 0) * 0"),),
        "recurrent/test_masks.py::test_a_row_under_a_mask_is_that_row_without_the_skipped_steps[numpy]",
    ),
    "mask: not 0 before the first step": Fault(
        "recurrent/masks.py",
        (("self.skip if zero else self.before)", "self.skip if zero else self.before & False)"),),
        "recurrent/test_masks.py::test_a_row_under_a_mask_is_that_row_without_the_skipped_steps[numpy]",
    ),
    "mask: what skipped steps send back lost": Fault(
        "recurrent/masks.py",
        (("dy[t - 1] += self.xp.where", "dy[t - 1] += 0 * self.xp.where"),),
        "recurrent/test_masks.py::test_gradients_under_a_mask_by_complex_step",
    ),
    "mask: sent back twice": Fault(
        "recurrent/masks.py",
        (("            dy = blank(dy, gaps.past)\n", ""),),
        "recurrent/test_masks.py::test_gradients_under_a_mask_by_complex_step",
    ),
    "variant: peepholes swapped": Fault(
        "recurrent/variants.py",
        (('f"p_{gate}" for gate in self.gates if', 'f"p_{gate}" for gate in self.gates[::-1] if'),),
        "recurrent/test_variants.py::test_weights_have_the_names_that_readers_need",
    ),
    "variant: the output gate sees the old cell": Fault(
        "recurrent/variants.py",
        (('w["p_o"] * c1', 'w["p_o"] * c'),),
        "recurrent/test_variants.py::test_each_option_agrees_with_scalar_loops[peepholes]",
    ),
    "variant: not coupled": Fault(
        "recurrent/variants.py",
        (("f = 1 - i if", "f = i if"),),
        "recurrent/test_variants.py::test_each_option_agrees_with_scalar_loops[coupled]",
    ),
    "variant: clipped on one side": Fault(
        "recurrent/variants.py",
        (("np.clip(a, -clip, clip)", "np.clip(a, None, clip)"),),
        "recurrent/test_variants.py::test_every_variant_agrees_with_scalar_loops",
    ),
    "variant: reset after the product, whatever is asked": Fault(
        "recurrent/variants.py",
        (('if self.reset == "after" else', "if True else"),),
        "recurrent/test_variants.py::test_every_variant_agrees_with_scalar_loops",
    ),
    "segments: all from the first state": Fault(
        "recurrent/checkpointing.py",
        (("one.forward(part.x, self.states[k][i]", "one.forward(part.x, self.states[0][i]"),),
        "recurrent/test_segments.py::test_what_is_computed_again_is_the_same[whole-float64-numpy-gru]",
    ),
    "segments: states' gradients stop": Fault(
        "recurrent/checkpointing.py",
        (("flow, dstates[i] = one.backward", "flow, _ = one.backward"),),
        "recurrent/test_segments.py::test_what_is_computed_again_is_the_same[whole-float64-numpy-gru]",
    ),
    "segments: a reverse direction's in x's order": Fault(
        "recurrent/checkpointing.py",
        (("        if self.reverse:\n            return", "        if False:\n            return"),),
        "recurrent/test_segments.py::test_what_is_computed_again_is_the_same[whole-float64-numpy-lstm]",
    ),
    "segments: lengths forgotten": Fault(
        "recurrent/checkpointing.py",
        (("past = None if self.run.past is None else self.run.past[stretch]", "past = None"),),
        "recurrent/test_segments.py::test_what_is_computed_again_is_the_same[lengths-float64-numpy-gru]",
    ),
    "segments: states not copied": Fault(
        "recurrent/checkpointing.py",
        (("[tuple(backend.xp.array(s) for s in each) for each in states]", "list(states)"),),
        "recurrent/test_segments.py::test_a_given_state_may_be_written_to_afterwards",
    ),
    "segments: the last one computed again": Fault(
        "recurrent/checkpointing.py",
        (("parts, self.last = self.last or self._ahead", "parts, self.last = self._ahead"),),
        "recurrent/test_segments.py::test_a_short_last_segment_is_not_computed_again",
    ),
    "segments: all is kept": Fault(
        "core/run.py",
        (("return self.training and 0 < self.every < T", "return False"),),
        "recurrent/test_segments.py::test_what_is_kept_is_a_tenth_at_most[1024-4-RNN-numpy]",
    ),
    "segments: each with the dropout of the first": Fault(
        "core/noise.py",
        (("0 if locked else run.first_step", "0"),),
        "recurrent/test_segments.py::test_what_is_computed_again_is_the_same[whole-float64-numpy-gru]",
    ),
    "segments: a layer inside begins with the first one's states": Fault(
        "recurrent/checkpointing.py",
        (("one.forward(x, self.states[k][i], y)", "one.forward(x, self.states[k][0], y)"),),
        "recurrent/test_deep_checkpointing.py::test_layers_at_once_give_the_bits_of_each_by_itself",
    ),
    "segments: dropout between layers sends all back": Fault(
        "recurrent/checkpointing.py",
        (("flow, _ = part.dropped.pull(flow, None)", "pass"),),
        "recurrent/test_deep_checkpointing.py::test_layers_at_once_give_the_bits_of_each_by_itself",
    ),
    "segments: dropped weights' gradient settled in none": Fault(
        "recurrent/direction.py",
        (("        weights.settle()\n", ""),),
        "recurrent/test_noise.py::test_weight_dropout_is_the_same_layer_with_fewer_weights[RNN-numpy]",
    ),
    "segments: y of layers inside kept": Fault(
        "recurrent/networks.py",
        (("if n == 1 < self.num_layers and run.in_segments(len(x)):", "if False:"),),
        "recurrent/test_deep_checkpointing.py::test_no_y_of_a_layer_inside_is_kept[GRUCell-numba-8192]",
    ),
    "load: a cell's functions not looked up": Fault(
        "recurrent/variants.py",
        (("Function(**value) if name in functions else value", "value"),),
        "formats/test_files.py::test_a_model_comes_back_bit_for_bit[float32-another function]",
    ),
}
# fmt: on
