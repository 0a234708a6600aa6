"""Planted in the training loop, checkpoints and ranks."""

from faults.fault import Fault

# fmt: off
FAULTS = {
    "training drops the state": Fault(
        "training/loop.py",
        (('state = self._carried if self.sampling == "sequential" else None', "state = None"),),
        "training/test_train.py::test_sequential_training_carries_the_state_within_an_epoch",
    ),
    "training repeats its batches": Fault(
        "training/loop.py",
        (("seed=epoch_seed(self.seed, self.epoch),", "seed=epoch_seed(self.seed, 0),"),),
        "training/test_train.py::test_each_epoch_cuts_the_text_at_its_own_place",
    ),
    "resume: dropout begins anew": Fault(
        "training/loop.py",
        (('p.calls, p.updates = about["calls"], p.updates + 1', "p.updates += 1"),),
        "training/test_resume.py::test_what_goes_on_ends_as_what_never_stopped",
    ),
    "resume: masks are drawn anew": Fault(
        "training/loop.py",
        (("self._masks, self._carried, self._skipped = masks, carried,", "self._carried, self._skipped = carried,"),),
        "training/test_resume.py::test_what_goes_on_ends_as_what_never_stopped",
    ),
    "resume: the state begins anew": Fault(
        "training/loop.py",
        (("self._masks, self._carried, self._skipped = masks, carried,", "self._masks, self._carried, self._skipped = masks, None,"),),
        "training/test_resume.py::test_what_goes_on_ends_as_what_never_stopped",
    ),
    "resume: a batch is taken twice": Fault(
        "training/loop.py",
        (("            start=self.batch,\n", "            start=max(0, self.batch - 1),\n"),),
        "training/test_resume.py::test_what_goes_on_ends_as_what_never_stopped",
    ),
    "training: a skipped step's state is carried on": Fault(
        "training/loop.py",
        (("why, state = str(error), None", "why = str(error)"),),
        "training/test_what_is_kept.py::test_after_a_skipped_step_the_state_begins_anew",
    ),
    "training: skips counted in all": Fault(
        "training/loop.py",
        (("                self._skipped = 0\n", ""),),
        "training/test_what_is_kept.py::test_only_skips_in_a_row_end_a_run",
    ),
    "training: an overflow warns": Fault(
        "training/loop.py",
        (('np.errstate(over="ignore", invalid="ignore")', 'np.errstate(invalid="ignore")'),),
        "training/test_train.py::test_a_diverging_run_ends_in_an_error_that_names_a_weight",
    ),
    "training: skips before a pause forgotten": Fault(
        "training/loop.py",
        (('masks, carried, about["skipped"]', "masks, carried, 0"),),
        "training/test_what_is_kept.py::test_skips_in_a_row_are_counted_across_a_pause",
    ),
    "training: other batches than before": Fault(
        "training/loop.py",
        (("if value != self._identity.get(name):", "if False:"),),
        "training/test_resuming.py::test_a_state_does_not_go_on_where_other_batches_come",
    ),
    "checkpoint: another dtype not noticed": Fault(
        "training/checkpoints.py",
        (('f"{name} {a.dtype} {a.shape}"', 'f"{name} {a.shape}"'),),
        "training/test_what_is_kept.py::test_the_same_bytes_by_another_name_shape_or_dtype_are_another_checkpoint[retyped]",
    ),
    "checkpoint: another shape not noticed": Fault(
        "training/checkpoints.py",
        (('f"{name} {a.dtype} {a.shape}"', 'f"{name} {a.dtype}"'),),
        "training/test_what_is_kept.py::test_the_same_bytes_by_another_name_shape_or_dtype_are_another_checkpoint[reshaped]",
    ),
    "keeping: the clock goes on": Fault(
        "training/keeper.py",
        (("            self.keep()\n            self._looked = time.perf_counter()\n", "            self.keep()\n"),),
        "training/test_what_is_kept.py::test_the_clock_begins_anew_with_each_checkpoint",
    ),
    "keeping: what vanished is believed to stand": Fault(
        "training/keeper.py",
        (("if ranks.agree(self._lost):", "if False:"),),
        "training/test_resuming.py::test_a_directory_that_vanished_is_said_to_have_and_made_again",
    ),
    "record: speed since the beginning": Fault(
        "training/metrics.py",
        (("        self._tokens, self._since = 0, step.seconds\n", "        self._tokens = 0\n"),),
        "training/test_what_is_kept.py::test_the_record_has_the_speed_since_its_last_line",
    ),
    "training: a skipped step's gradient stays": Fault(
        "training/loop.py",
        (("        network.zero_grads()\n", ""),),
        "training/test_resume.py::test_a_step_that_is_not_finite_is_skipped_if_asked",
    ),
    "training: skips without end": Fault(
        "training/loop.py",
        (("if self._skipped == HOPELESS:", "if False:"),),
        "training/test_resume.py::test_a_model_that_does_not_come_back_stops_after_all",
    ),
    "checkpoint: damage not noticed": Fault(
        "training/checkpoints.py",
        (('!= metadata.get("digest")', '!= metadata.get("digest") and False'),),
        "training/test_resume.py::test_a_corrupt_newest_checkpoint_is_reported_and_the_one_before_taken[flip]",
    ),
    "checkpoint: the newest removed": Fault(
        "training/checkpoints.py",
        (("sound[self.keep :]", "sound[: -self.keep]"),),
        "training/test_resume.py::test_the_last_checkpoints_stay_and_the_best_model",
    ),
    "checkpoint: what a kill left stays": Fault(
        "training/checkpoints.py",
        (("                left.unlink(missing_ok=True)\n", "                pass\n"),),
        "training/test_resume.py::test_what_a_killed_write_left_is_swept_away",
    ),
    "checkpoint: of a diverged model": Fault(
        "training/checkpoints.py",
        (("if not np.isfinite(a).all():", "if False:"),),
        "training/test_resume.py::test_a_diverged_model_is_not_kept",
    ),
    "keeping: the last for the best": Fault(
        "training/keeper.py",
        (("if perplexity < self.best and", "if"),),
        "training/test_what_is_kept.py::test_a_step_that_is_evaluated_twice_counts_once_as_the_best",
    ),
    "keeping: patience does not end": Fault(
        "training/keeper.py",
        (("self.worse >= self.patience", "self.worse > 10 * self.patience"),),
        "training/test_resume.py::test_patience_ends_a_run_that_gets_no_better",
    ),
    "keeping: a full disk ends training": Fault(
        "training/keeper.py",
        (("except OSError as error:", "except ZeroDivisionError as error:"),),
        "training/test_resume.py::test_a_full_disk_stops_nothing_and_loses_nothing",
    ),
    "record: lines of steps that come again": Fault(
        "training/metrics.py",
        (('if line["step"] <= step] if', 'if line["step"]] if'),),
        "training/test_resume.py::test_a_line_cut_off_by_a_kill_is_left_out",
    ),
    "ranks: a row is computed twice": Fault(
        "training/ranks.py",
        (("return slice(batch_size * self.rank // self.size,", "return slice(max(0, batch_size * self.rank // self.size - 1),"),),
        "training/test_ranks.py::test_each_row_has_one_rank_and_no_rank_two_more_than_another",
    ),
    "ranks: each takes its own gradient": Fault(
        "training/ranks.py",
        (("self._comm.Allreduce(None, grads)  # None: in place", "pass"),),
        "training/test_ranks.py::test_ranks_take_the_steps_of_one_process",
    ),
    "ranks: a sum stays on the host": Fault(
        "training/ranks.py",
        (("grads[...] = backend.xp.asarray(copied)", "pass"),),
        "training/test_ranks.py::test_gradients_on_a_device_are_summed",
    ),
    "ranks: each says its own loss": Fault(
        "training/ranks.py",
        (("return float(whole[0])", "return loss"),),
        "training/test_ranks.py::test_ranks_take_the_steps_of_one_process",
    ),
    "ranks: drift not noticed": Fault(
        "training/ranks.py",
        (("        if others:", "        if False:"),),
        "training/test_ranks.py::test_ranks_that_drifted_apart_are_not_kept",
    ),
    "ranks: each with all threads": Fault(
        "training/ranks.py",
        (("len(here[1]) // everywhere.count(here)", "len(here[1])"),),
        "training/test_ranks.py::test_ranks_share_the_processors",
    ),
    "ranks: all on one GPU": Fault(
        "training/ranks.py",
        (("before % runtime.getDeviceCount()", "0"),),
        "training/test_ranks.py::test_ranks_of_a_machine_take_its_gpus_in_turn",
    ),
    "ranks: another MPI's mpiexec not noticed": Fault(
        "training/ranks.py",
        (("    for name in SIZES:", "    for name in ():"),),
        "training/test_ranks.py::test_mpiexec_of_another_mpi_is_noticed",
    ),
    "ranks: only the first rank's state is kept": Fault(
        "training/loop.py",
        (("for k, share in enumerate(zip(*shares, strict=True))", "for k, share in enumerate(zip(shares[0]))"),),
        "training/test_ranks.py::test_a_run_goes_on_with_another_number_of_ranks[next-7]",
    ),
    "ranks: all go on with the first rows' state": Fault(
        "training/loop.py",
        (("a[:, self._rows].copy()", "a[:, : self._rows.stop - self._rows.start].copy()"),),
        "training/test_ranks.py::test_a_run_goes_on_with_another_number_of_ranks",
    ),
    "ranks: every rank writes": Fault(
        "training/keeper.py",
        (("if self.training.ranks.rank:", "if False:"),),
        "training/test_ranks.py::test_the_first_rank_keeps_the_run",
    ),
    "ranks: one believes in a best that was not kept": Fault(
        "training/keeper.py",
        (("if ranks.agree(self._try(lambda: save(lm, self.folder.best))):", "if self._try(lambda: save(lm, self.folder.best)):"),),
        "training/test_ranks.py::test_ranks_agree_on_what_was_not_kept_and_when_to_stop",
    ),
    "bfloat16: a checkpoint goes on with other products": Fault(
        "training/loop.py",
        (("for name in names} | compute\n", "for name in names}\n"),),
        "training/test_bfloat16.py::test_a_checkpoint_goes_on_bit_for_bit_and_with_the_same_products_alone",
    ),
    "bfloat16: forgotten in a model file": Fault(
        "formats/native.py",
        (('        about["compute"] = parameters.compute\n', "        pass\n"),),
        "core/test_compute.py::test_a_model_file_keeps_it",
    ),
}
# fmt: on
