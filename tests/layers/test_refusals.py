"""What layers refuse, each in one sentence, before anything is changed."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from tiers import either

from minirnn import (
    GRU,
    LSTM,
    RNN,
    SGD,
    Activation,
    Bidirectional,
    Dropout,
    Embedding,
    Last,
    Linear,
    Recurrent,
    Sequential,
)
from minirnn.cells import LSTMCell, ProjectedLSTMCell, TanhCell
from minirnn.more_cells import MinGRUCell

X = np.random.default_rng(3).normal(size=(4, 3, 2))
THREE = Sequential(RNN(2, 3), Linear(3, 2), Dropout(0.1))


class NoUnstep:
    state = ("h",)
    gates = ("h",)
    saves = ()

    @staticmethod
    def step(p: Any, q: Any, state: Any) -> Any:
        return (p + q,), ()


class Unbound:
    state = ("h",)
    gates = ("h",)
    saves = ("h1",)

    def step(self, p: Any, q: Any, state: Any) -> Any:
        return (p + q,), (p,)

    def unstep(self, dstate: Any, saved: Any) -> Any:
        return dstate[0], dstate[0], (None,)


Projection = ProjectedLSTMCell.stages[1]


def stages(*of: Any) -> Any:
    """A cell of these, whose h is another width than its c."""
    return type("C", (), {"state": ("h", "c"), "stages": of, "output_size": 2})


REFUSED: list[tuple[str, Any, str]] = [
    ("forward before init", lambda: GRU(2, 3).forward(X), "call init"),
    ("size 0", lambda: GRU(0, 3), "input_size must be an integer of at least 1; got 0"),
    ("size of text", lambda: Linear(2, "3"), "out_features"),  # type: ignore[arg-type] # the point
    ("weight dropout 1", lambda: GRU(2, 3, weight_dropout=1), "weight_dropout must be a number from 0"),
    ("zoneout 1", lambda: LSTM(2, 3, zoneout=(0.1, 1)), "zoneout must be a number from 0"),
    ("zoneout of 2", lambda: GRU(2, 3, zoneout=(0.1, 0.2)), r"or one for each state \(h\); got 2 of them"),
    ("zoneout of 1", lambda: LSTM(2, 3, zoneout=[0.1]), r"or one for each state \(h, c\); got 1 of them"),
    ("dropout 1", lambda: GRU(2, 3, 2, dropout=1), "dropout must be a number from 0"),
    ("nonlinearity", lambda: RNN(2, 3, nonlinearity="gelu"), "nonlinearity must be one of tanh, relu; got 'gelu'"),
    ("reset", lambda: GRU(2, 3, reset="never"), "reset must be one of after, before"),
    ("scheme", lambda: GRU(2, 3).init(scheme="zeros"), "scheme must be one of uniform"),  # type: ignore[arg-type] # the point
    ("seed", lambda: GRU(2, 3).init(-1), "seed must be an integer from 0"),
    (
        "backend",
        lambda: GRU(2, 3).init(backend="torch"),
        "backend must be one of auto, numpy, numba, cupy, cuda; got 'torch'",
    ),
    (
        "dtype",
        lambda: GRU(2, 3).init(backend="numpy", dtype="float16"),
        "dtype on backend numpy must be one of float32",
    ),
    ("dtype of nothing", lambda: GRU(2, 3).init(dtype="word"), "must be one of float32"),
    (
        "x of wrong features",
        lambda: GRU(2, 3).init().forward(np.zeros((4, 3, 5), "f4")),
        r"\(T, B, 2\).*got shape \(4, 3, 5\)",
    ),
    ("x of two axes", lambda: GRU(2, 3).init().forward(np.zeros((4, 2), "f4")), r"got shape \(4, 2\)"),
    ("x too large", lambda: GRU(2, 3).init().forward(X * 1e300), "x has numbers that are too large for float32"),
    ("x complex", lambda: GRU(2, 3).init(dtype="float64").forward(X * 1j), "got complex128"),
    ("x of booleans", lambda: GRU(2, 3).init().forward(X > 0), "got bool"),
    ("x of words", lambda: GRU(2, 3).init().forward([["a"]]), "x must be float32"),
    ("x ragged", lambda: GRU(2, 3).init().forward([[[1.0, 2.0]], [[1.0]]]), "rectangular"),
    ("no steps", lambda: GRU(2, 3).init().forward(np.zeros((0, 3, 2), "f4")), "at least one step"),
    ("index too large", lambda: GRU(2, 3).init().forward(np.array([[0], [2]])), "indices must be from 0 to 1; got 2"),
    ("index below 0", lambda: Embedding(2, 3).init().forward(np.array([[-1]])), "indices must be from 0 to 1; got -1"),
    ("floats to an embedding", lambda: Embedding(2, 3).init().forward(X), "expects integers of shape"),
    (
        "features of integers",
        lambda: GRU(2, 3).init().forward(np.zeros((2, 2, 2), int)),
        r"integers of shape \(T, B\), or floats \(T, B, 2\); got shape \(2, 2, 2\) of integers",
    ),
    ("integers to a Linear", lambda: Linear(2, 3).init().forward(np.ones((2, 2, 2), int)), "floats that .*; got int64"),
    ("integers of three axes", lambda: Embedding(2, 3).init().forward(np.zeros((2, 2, 2), int)), "integers of shape"),
    ("lengths too long", lambda: GRU(2, 3).init(dtype="f8").forward(X, lengths=[4, 5, 1]), "from 0 to 4.*got 5"),
    ("lengths below 0", lambda: GRU(2, 3).init(dtype="f8").forward(X, lengths=[4, -1, 1]), "from 0 to 4.*got -1"),
    ("too few lengths", lambda: GRU(2, 3).init(dtype="f8").forward(X, lengths=[4, 1]), "lengths must be 3 integers"),
    (
        "lengths of floats",
        lambda: GRU(2, 3).init(dtype="f8").forward(X, lengths=[4.0, 1, 1]),
        "lengths must be 3 integers",
    ),
    (
        "state of wrong shape",
        lambda: GRU(2, 3).init(dtype="f8").forward(X, np.zeros((1, 2, 3))),
        r"\(1, 3, 3\); got \(1, 2, 3\)",
    ),
    ("state of an LSTM", lambda: LSTM(2, 3).init(dtype="f8").forward(X, np.zeros((1, 3, 3))), r"a tuple \(h, c\)"),
    ("state of a Linear", lambda: Linear(2, 3).init(dtype="f8").forward(X, np.zeros(1)), "has no state"),
    (
        "state of a Sequential",
        lambda: THREE.init().forward(np.zeros((4, 3), int), np.zeros(3)),
        "one entry a layer, here 3",
    ),
    (
        "dy of wrong shape",
        lambda: GRU(2, 3).init(dtype="f8").forward(X)[2](np.zeros((4, 3, 2))),
        "dy must have the shape of y",
    ),
    (
        "features through a width-keeping layer",
        lambda: Sequential(Dropout(0.1), GRU(3, 4)).init(dtype="f8")(X),
        r"\(T, B, 3\)",
    ),
    (
        "one direction of indices",
        lambda: Bidirectional(GRU(3, 4), Linear(3, 4)).init()(np.zeros((2, 3), int)),
        "x must be float32",
    ),
    ("directions of other inputs", lambda: Bidirectional(Embedding(3, 4), Linear(3, 4)), "share none"),
    (
        "half a state",
        lambda: LSTM(2, 3).init(dtype="f8").forward(X, (None, np.zeros((1, 3, 3)))),
        "state h must be float64",
    ),
    ("a cell of instance methods", lambda: Recurrent(Unbound, 2, 3), "write step and unstep as static methods"),
    (
        "a unit called W",
        lambda: Recurrent(type("C", (TanhCell,), {"units": ("W",)}), 2, 3),
        "may not be called W, as another one is",
    ),
    ("a cell that loses a state", lambda: Recurrent(type("C", (TanhCell,), {"state": ("h", "c")}), 2, 3), "2 states"),
    (
        "a merge of no kind",
        lambda: Bidirectional(GRU(2, 3), merge="max"),
        "merge must be one of concat, sum, mul, ave; got 'max'",
    ),
    (
        "one of two that reduces time",
        lambda: Bidirectional(Sequential(GRU(2, 3), Last()), GRU(2, 3)),
        r"outputs of a kind: Sequential\( \(0\): GRU\(2, 3\).* reduces the steps to one, GRU\(2, 3\) does not",
    ),
    ("a function of no name", lambda: Activation("swish"), "name must be one of linear, tanh.*; got 'swish'"),
    (
        "reading on after two ends",
        lambda: Sequential(Bidirectional(Sequential(GRU(2, 3), Last())), GRU(6, 2)),
        "needs steps",
    ),
    ("no layers", Sequential, "at least one layer"),
    (
        "sizes that do not meet",
        lambda: Sequential(GRU(2, 3), Linear(4, 2)),
        "expects 4 features; those before it give 3",
    ),
    ("an embedding inside", lambda: Sequential(GRU(2, 3), Embedding(3, 2)), "can only be the first"),
    ("recurrence after the last", lambda: Sequential(GRU(2, 3), Last(), GRU(3, 3)), "needs steps"),
    ("a tie of other sizes", lambda: Linear(3, 5, tie=Embedding(5, 2)), r"tied to Embedding\(5, 3\)"),
    (
        "a recurrent bias of no gate",
        lambda: Recurrent(type("C", (), {**vars(NoUnstep), "unstep": 1, "recurrent_bias": ("n",)}), 1, 1),
        "not one of the gates",
    ),
    (
        "a cell without unstep, to train",
        lambda: Recurrent(NoUnstep, 2, 3).init(dtype="f8").forward(X),
        r"Recurrent\(NoUnstep, 2, 3\) is for inference only, model\(x\): its cell has no unstep",
    ),
    (
        "a stage without unstep",
        lambda: Recurrent(type("C", (), {"state": ("h",), "stages": (NoUnstep, TanhCell)}), 2, 3),
        "must have gates, saves, step and unstep; missing: unstep",
    ),
    (
        "a projection as wide",
        lambda: LSTM(2, 3, proj_size=3),
        "proj_size must be less than hidden_size, 3, or 0; got 3",
    ),
    ("a projection below 0", lambda: LSTM(2, 3, proj_size=-1), "proj_size must be an integer of at least 0; got -1"),
    (
        "state h as wide as c",
        lambda: LSTM(2, 3, proj_size=1).init(dtype="f8").forward(X, (np.zeros((1, 3, 3)), np.zeros((1, 3, 3)))),
        r"state h must have shape \(num_layers \* directions, B, output_size\) = \(1, 3, 1\); got \(1, 3, 3\)",
    ),
    (
        "state c as narrow as h",
        lambda: LSTM(2, 3, proj_size=1).init(dtype="f8").forward(X, (np.zeros((1, 3, 1)), np.zeros((1, 3, 1)))),
        r"state c must have shape \(num_layers \* directions, B, hidden_size\) = \(1, 3, 3\); got \(1, 3, 1\)",
    ),
    (
        "weight dropout without U",
        lambda: Recurrent(MinGRUCell, 2, 3, weight_dropout=0.2),
        "weight_dropout drops entries of U, which MinGRUCell has none of; got 0.2",
    ),
    (
        "a stage without a product among others",
        lambda: Recurrent(type("C", (), {"state": ("h",), "stages": (MinGRUCell, TanhCell)}), 2, 3),
        "a stage without a product is the only one, with no bias or matrix for it",
    ),
    (
        "a gradient for a product that is none",
        lambda: Recurrent(type("C", (TanhCell,), {"product": False}), 2, 3),
        "C does not run on one row of numbers",
    ),
    (
        "dq of a stage without a product",
        lambda: Recurrent(
            type("C", (MinGRUCell,), {"unstep": staticmethod(lambda d, _: (np.ones((1, 6)), np.ones((1, 6)), d))}), 2, 3
        ),
        "unstep of a stage without a product must return None for dq: its q has no columns",
    ),
    (
        "a matrix of its own in the first stage",
        lambda: Recurrent(type("C", (TanhCell,), {"matrix": "P", "gates": ()}), 2, 3),
        "a stage with a matrix, here P, has no gates and is not the first",
    ),
    (
        "a matrix called b",
        lambda: Recurrent(stages(LSTMCell, type("Out", (Projection,), {"matrix": "b"})), 2, 3),
        "a weight may not be called b",
    ),
    (
        "a projection of what is not there",
        lambda: Recurrent(stages(LSTMCell, Projection, type("Out", (Projection,), {"matrix": "Q"})), 2, 3),
        "the product of stage Out does not fit what the stage before it puts first",
    ),
    (
        "a width of h that no stage makes",
        lambda: Recurrent(stages(LSTMCell), 2, 3),
        r"2 states of shape \(B, output_size\) for h, \(B, H\) for others",
    ),
    ("a cell without step", lambda: Recurrent(type("C", (), {"state": ("h",)}), 2, 3), "missing: gates, step"),
]


@pytest.mark.parametrize(("make", "message"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_bad_input_is_refused_in_one_sentence(make: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError, RuntimeError), match=message) as raised:
        make()
    assert "\n" not in str(raised.value).replace("nested lists", "")[:200]


def test_lists_of_numbers_are_taken_in_the_models_dtype() -> None:
    model = GRU(2, 3).init(0)
    y, _, backward = model.forward([[[0.5, 1.5]], [[1, 2]]])
    dx, _ = backward([[[1, 1, 1]], [[0, 0, 0]]])  # type: ignore[arg-type] # lists are arrays to be
    assert y.dtype == np.float32
    assert dx is not None
    np.testing.assert_array_equal(y, model(np.array([[[0.5, 1.5]], [[1, 2]]], "f4"))[0])
    assert model([[1, 0], [0, 1]])[0].shape == (2, 2, 3)  # a list of two axes is indices, as an array is


def test_a_cell_given_as_an_instance_runs() -> None:
    y, _ = Recurrent(Unbound(), 2, 3).init(0, dtype="float64", backend="numpy")(X)
    assert y.shape == (4, 3, 3)


def test_a_cotangent_may_leave_out_part_of_a_state() -> None:
    model = LSTM(2, 3).init(0, dtype="float64")
    _, (h, c), backward = model.forward(X)
    both, _ = backward(None, (h, c), keep=True)
    parts = [backward(None, d, keep=True)[0] for d in ((h, None), (None, c))]
    assert both is not None
    np.testing.assert_allclose(both, parts[0] + parts[1], rtol=1e-12)  # type: ignore[operator] # x is floats


def test_one_layer_object_in_two_places_is_refused() -> None:
    layer = RNN(2, 2)
    with pytest.raises(ValueError, match="in two places"):
        Sequential(layer, layer)
    with pytest.raises(TypeError, match="expects layers; got str"):
        Sequential("GRU")  # type: ignore[arg-type] # the point


def test_backward_after_the_optimiser_moved_the_weights_is_refused() -> None:
    model = GRU(2, 3).init(0, dtype="float64")
    sgd = SGD(model, 0.1)
    y, _, first = model.forward(X)
    _, _, second = model.forward(X)
    first(y)
    sgd.step()
    with pytest.raises(RuntimeError, match="weights have changed since this forward"):
        second(y)


@given(either())
def test_a_failing_forward_leaves_everything_as_it_was(case: Any) -> None:
    before = case.model.weights.copy(), case.model.bound.calls
    with pytest.raises(ValueError, match="lengths"):
        case.model.forward(case.x, case.state, lengths=[-1] * case.x.shape[1])
    np.testing.assert_array_equal(case.model.weights, before[0])
    assert case.model.bound.calls == before[1]
