"""Planted in the training loop, checkpoints and ranks."""

from faults.fault import Fault

# fmt: off
FAULTS = {
    "training drops the state": Fault(
        "training/loop.py",
        (('state = self._carried if self.sampling == "sequential" else None', "state = None"),),
        "training/test_train.py",
    ),
    "training repeats its batches": Fault(
        "training/loop.py",
        (("seed=epoch_seed(self.seed, self.epoch),", "seed=epoch_seed(self.seed, 0),"),),
        "training/test_train.py",
    ),
    "resume: dropout begins anew": Fault(
        "training/loop.py",
        (('p.calls, p.updates = about["calls"], p.updates + 1', "p.updates += 1"),),
        "training/test_resume.py",
    ),
    "resume: masks are drawn anew": Fault(
        "training/loop.py",
        (("self._masks, self._carried, self._skipped = masks, carried,", "self._carried, self._skipped = carried,"),),
        "training/test_resume.py",
    ),
    "resume: the state begins anew": Fault(
        "training/loop.py",
        (("self._masks, self._carried, self._skipped = masks, carried,", "self._masks, self._carried, self._skipped = masks, None,"),),
        "training/test_resume.py",
    ),
    "resume: a batch is taken twice": Fault(
        "training/loop.py",
        (("            start=self.batch,\n", "            start=max(0, self.batch - 1),\n"),),
        "training/test_resume.py",
    ),
    "training: a skipped step's state is carried on": Fault(
        "training/loop.py",
        (("why, state = str(error), None", "why = str(error)"),),
        "training/test_train.py",
    ),
    "training: skips counted in all": Fault(
        "training/loop.py",
        (("                self._skipped = 0\n", ""),),
        "training/test_train.py",
    ),
    "training: an overflow warns": Fault(
        "training/loop.py",
        (('np.errstate(over="ignore", invalid="ignore")', 'np.errstate(invalid="ignore")'),),
        "training/test_train.py",
    ),
    "training: skips before a pause forgotten": Fault(
        "training/loop.py",
        (('masks, carried, about["skipped"]', "masks, carried, 0"),),
        "training/test_train.py",
    ),
    "training: other batches than before": Fault(
        "training/loop.py",
        (("if value != self._identity.get(name):", "if False:"),),
        "training/test_train.py",
    ),
    "checkpoint: another dtype not noticed": Fault(
        "training/checkpoints.py",
        (('f"{name} {a.dtype} {a.shape}"', 'f"{name} {a.shape}"'),),
        "training/test_resume.py",
    ),
    "checkpoint: another shape not noticed": Fault(
        "training/checkpoints.py",
        (('f"{name} {a.dtype} {a.shape}"', 'f"{name} {a.dtype}"'),),
        "training/test_resume.py",
    ),
    "keeping: the clock goes on": Fault(
        "training/keeper.py",
        (("            self.keep()\n            self._looked = time.perf_counter()\n", "            self.keep()\n"),),
        "training/test_what_is_kept.py",
    ),
    "keeping: what vanished is believed to stand": Fault(
        "training/keeper.py",
        (("if ranks.agree(self._lost):", "if False:"),),
        "training/test_what_is_kept.py",
    ),
    "record: speed since the beginning": Fault(
        "training/metrics.py",
        (("        self._tokens, self._since = 0, step.seconds\n", "        self._tokens = 0\n"),),
        "training/test_what_is_kept.py",
    ),
    "training: a skipped step's gradient stays": Fault(
        "training/loop.py",
        (("        network.zero_grads()\n", ""),),
        "training/test_train.py",
    ),
    "training: skips without end": Fault(
        "training/loop.py",
        (("if self._skipped == HOPELESS:", "if False:"),),
        "training/test_train.py",
    ),
    "checkpoint: damage not noticed": Fault(
        "training/checkpoints.py",
        (('!= metadata.get("digest")', '!= metadata.get("digest") and False'),),
        "training/test_resume.py",
    ),
    "checkpoint: the newest removed": Fault(
        "training/checkpoints.py",
        (("sound[self.keep :]", "sound[: -self.keep]"),),
        "training/test_resume.py",
    ),
    "checkpoint: what a kill left stays": Fault(
        "training/checkpoints.py",
        (("                left.unlink(missing_ok=True)\n", "                pass\n"),),
        "training/test_resume.py",
    ),
    "checkpoint: of a diverged model": Fault(
        "training/checkpoints.py",
        (("if not np.isfinite(a).all():", "if False:"),),
        "training/test_resume.py",
    ),
    "keeping: the last for the best": Fault(
        "training/keeper.py",
        (("if perplexity < self.best and", "if"),),
        "training/test_what_is_kept.py",
    ),
    "keeping: patience does not end": Fault(
        "training/keeper.py",
        (("self.worse >= self.patience", "self.worse > 10 * self.patience"),),
        "training/test_what_is_kept.py",
    ),
    "keeping: a full disk ends training": Fault(
        "training/keeper.py",
        (("except OSError as error:", "except ZeroDivisionError as error:"),),
        "training/test_what_is_kept.py",
    ),
    "record: lines of steps that come again": Fault(
        "training/metrics.py",
        (('if line["step"] <= step] if', 'if line["step"]] if'),),
        "training/test_what_is_kept.py",
    ),
    "ranks: a row is computed twice": Fault(
        "training/ranks.py",
        (("return slice(batch_size * self.rank // self.size,", "return slice(max(0, batch_size * self.rank // self.size - 1),"),),
        "training/test_ranks.py",
    ),
    "ranks: each takes its own gradient": Fault(
        "training/ranks.py",
        (("self._comm.Allreduce(None, grads)  # None: in place", "pass"),),
        "training/test_ranks.py",
    ),
    "ranks: a sum stays on the host": Fault(
        "training/ranks.py",
        (("grads[...] = backend.xp.asarray(copied)", "pass"),),
        "training/test_ranks.py",
    ),
    "ranks: each says its own loss": Fault(
        "training/ranks.py",
        (("return float(whole[0])", "return loss"),),
        "training/test_ranks.py",
    ),
    "ranks: drift not noticed": Fault(
        "training/ranks.py",
        (("        if others:", "        if False:"),),
        "training/test_ranks.py",
    ),
    "ranks: each with all threads": Fault(
        "training/ranks.py",
        (("len(here[1]) // everywhere.count(here)", "len(here[1])"),),
        "training/test_ranks.py",
    ),
    "ranks: all on one GPU": Fault(
        "training/ranks.py",
        (("before % runtime.getDeviceCount()", "0"),),
        "training/test_ranks.py",
    ),
    "ranks: another MPI's mpiexec not noticed": Fault(
        "training/ranks.py",
        (("    for name in SIZES:", "    for name in ():"),),
        "training/test_ranks.py",
    ),
    "ranks: only the first rank's state is kept": Fault(
        "training/loop.py",
        (("for k, share in enumerate(zip(*shares, strict=True))", "for k, share in enumerate(zip(shares[0]))"),),
        "training/test_ranks.py",
    ),
    "ranks: all go on with the first rows' state": Fault(
        "training/loop.py",
        (("a[:, self._rows].copy()", "a[:, : self._rows.stop - self._rows.start].copy()"),),
        "training/test_ranks.py",
    ),
    "ranks: every rank writes": Fault(
        "training/keeper.py",
        (("if self.training.ranks.rank:", "if False:"),),
        "training/test_ranks.py",
    ),
    "ranks: one believes in a best that was not kept": Fault(
        "training/keeper.py",
        (("if ranks.agree(self._try(lambda: save(lm, self.folder.best))):", "if self._try(lambda: save(lm, self.folder.best)):"),),
        "training/test_ranks.py",
    ),
}
# fmt: on
