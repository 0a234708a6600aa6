"""torch as an outside oracle for connectionist temporal classification: losses and gradients of 500 drawn batches."""

from typing import Any

import numpy as np
import pytest
from ctc_paths import drawn

from minirnn import ctc_loss

torch: Any = pytest.importorskip(
    "torch", reason="the extra 'oracles' (torch) is not installed: the comparisons with torch are left out"
)

pytestmark = pytest.mark.extras
F = torch.nn.functional


def of_torch(logits: Any, targets: Any, lengths: Any, blank: int, reduction: str, zero: bool) -> tuple[Any, Any]:
    """The loss and its gradient with respect to the logits, in the logits' dtype."""
    leaf = torch.tensor(logits, requires_grad=True)
    flat = torch.tensor([label for target in targets for label in target], dtype=torch.int64)
    sizes = torch.tensor([len(target) for target in targets])
    loss = F.ctc_loss(
        leaf.log_softmax(-1), flat, torch.tensor(lengths), sizes, blank, reduction=reduction, zero_infinity=zero
    )
    loss.sum().backward()
    return loss.detach().numpy(), leaf.grad.numpy()


CASES = 500
REDUCTIONS = ("mean", "sum", "none")


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-10)])
def test_losses_and_gradients_agree_with_torch(dtype: str, tolerance: float) -> None:
    """With torch in float64, whose own float32 is off by more."""
    rng, off, theirs_off = np.random.default_rng(0), 0.0, 0.0
    for case in range(CASES):
        T, B, C = (int(n) for n in rng.integers((1, 1, 1), (25, 6, 9)))
        blank, scale, reduction = int(rng.integers(C)), (0.3, 1.0, 5.0)[case % 3], REDUCTIONS[case // 3 % 3]
        logits, targets, lengths = drawn(rng, T, B, C, blank, scale)
        logits, lengths = logits.astype(dtype), np.maximum(1, lengths)  # torch has no rows of no steps
        zero = case % 5 == 0 and C > 1
        if zero and T > 1:  # a row that does not fit
            targets[0], lengths[0] = [(blank + 1) % C] * T, T
        loss, dlogits = ctc_loss(
            *(logits, targets, lengths),
            blank=blank,
            reduction=reduction,  # type: ignore[arg-type]
            impossible="zero" if zero else "error",
        )
        assert loss.dtype == dlogits.dtype == dtype
        expected, dexpected = of_torch(logits.astype("float64"), targets, lengths, blank, reduction, zero)
        np.testing.assert_allclose(loss, expected, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(dlogits, dexpected, rtol=0, atol=tolerance)
        off = max(off, abs(dlogits - dexpected).max())
        theirs_off = max(
            theirs_off, abs(of_torch(logits, targets, lengths, blank, reduction, zero)[1] - dexpected).max()
        )
    assert dtype == "float64" or off < theirs_off


def test_an_impossible_target_has_torchs_loss() -> None:
    logits, targets, lengths = np.zeros((2, 2, 3)), [[1, 1], [2]], np.array([2, 2])
    for reduction in REDUCTIONS:
        for zero, impossible in ((False, "inf"), (True, "zero")):
            expected, _ = of_torch(logits, targets, lengths, 0, reduction, zero)
            loss, _ = ctc_loss(logits, targets, lengths, reduction=reduction, impossible=impossible)  # type: ignore[arg-type]
            np.testing.assert_allclose(loss, expected, rtol=1e-12)
