"""Planted in texts, the language model and its evaluation."""

from faults.fault import Fault

# fmt: off
FAULTS = {
    "batches: y is x": Fault(
        "language/text.py",
        (("_batch(self.indices[window + 1])", "_batch(self.indices[window])"),),
        "language/test_text.py",
    ),
    "generation forgets its state": Fault(
        "language/model.py",
        (("y, state = self.network(np.array([[symbol]]), state)", "y, state = self.network(np.array([[symbol]]))"),),
        "language/test_lm.py",
    ),
    "beam keeps the wrong states": Fault(
        "language/model.py",
        (("take_rows(state, rows)", "state"),),
        "language/test_lm.py",
    ),
    "text: a lone carriage return stays": Fault(
        "language/text.py",
        (("newlines.decode(text, final=not data)", 'text.replace("\\r\\n", "\\n")'),),
        "language/test_text.py",
    ),
    "text: no room for the mask": Fault(
        "language/text.py",
        (("+ 2, smallest(len(self)))", "+ 2, smallest(len(self) - 1))"),),
        "language/test_text.py",
    ),
    "evaluation: an overflow warns": Fault(
        "language/evaluation.py",
        (('np.errstate(over="ignore", invalid="ignore")', 'np.errstate(invalid="ignore")'),),
        "language/test_evaluation.py",
    ),
    "evaluation: a warm-up counts": Fault(
        "language/evaluation.py",
        (("valid & (step >= rows.skip)", "valid"),),
        "language/test_evaluation.py",
    ),
    "training: overlapping windows count all errors": Fault(
        "language/model.py",
        (("elif stride and stride < len(x) and state is not None:", "elif False:"),),
        "language/test_lm.py",
    ),
    "training: errors stop where the next window begins": Fault(
        "language/model.py",
        (("back_first(dlogits[:stride], dstate)", "back_first(dlogits[:stride])"),),
        "language/test_lm.py",
    ),
    "ranks: errors divided by the rank's own targets": Fault(
        "language/model.py",
        (("cross_entropy(logits, y, mask, total=total)", "cross_entropy(logits, y, mask)"),),
        "training/test_ranks.py",
    ),
    "ranks: masks of the batch's first rows": Fault(
        "language/model.py",
        (("rows.indices(x.shape[1])[0]", "0"),),
        "training/test_ranks.py",
    ),
}
# fmt: on
