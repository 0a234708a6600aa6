"""Backward passes of published packages, as they are installed: what is wrong with them is found."""

from typing import Any

import numpy as np
import pytest

from minirnn.testing import check

pytestmark = pytest.mark.extras


def test_the_gradient_that_thincs_lstm_leaves_at_zero_is_found() -> None:
    ops = pytest.importorskip("thinc.backends.ops")
    rng, lengths = np.random.default_rng(0), np.array([2, 2, 1], np.int32)  # rows that are there at each step
    inputs, units = 3, 2
    zeros = np.zeros((1, 1, units))

    def forward(x: Any, params: Any) -> Any:
        y, cache = ops.lstm_forward_training(params, zeros, zeros, x, lengths)
        return y, (params, cache)

    def backward(dy: Any, saved: Any) -> Any:
        params, cache = saved
        return ops.backprop_lstm(dy, lengths, params, cache)

    weights = 4 * units * (inputs + units + 2)  # W, U, and a bias for each of the two products
    report = check(forward, backward, rng.normal(size=(5, inputs)), rng.normal(size=weights), raises=False)
    assert {(fault.argument, fault.pattern) for fault in report.faults if fault.argument != "dy"} == {
        ("x", "missing term"),
        ("params", "missing term"),
    }
    assert all("the gradient is missing: it is 0" in fault.words for fault in report.faults if fault.argument != "dy")
    assert any(fault.argument == "dy" and fault.pattern == "changed in place" for fault in report.faults)
