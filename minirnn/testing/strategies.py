"""Hypothesis strategies: layers, shapes, inputs, lengths and states.

Arrays are drawn as a seed and a scale, not number by number: examples are made quickly, and shrink in the shapes and
options, where the reason for a failure is.  ::

    from hypothesis import given
    from minirnn.testing import check_gradients
    from minirnn.testing.strategies import cases


    @given(cases(cells=[MyCell]))
    def test_my_cell(case):
        check_gradients(case.model, case.x, case.state, lengths=case.lengths)

An example takes some ten forward passes, which is well within the 200 ms that Hypothesis allows by default.  Larger
examples (``largest=12``) and ``check_gradients(..., entries="all")`` need ``@settings(deadline=None)``.  Layers are
drawn with ``backend="numpy"``: other backends compile or load their kernels in the first example, for seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minirnn.cells import GRUBeforeCell, GRUCell, LSTMCell, ProjectedLSTMCell, ReluCell, TanhCell
from minirnn.core.backend import Array
from minirnn.core.protocol import multiplies, stages_of
from minirnn.core.run import State
from minirnn.more_cells import NAMED
from minirnn.recurrent.networks import Recurrent
from minirnn.testing.gradients import kink_distance
from minirnn.testing.precision import AnyCell

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError("minirnn.testing.strategies needs Hypothesis: pip install 'minirnn[test]'") from error

CELLS: tuple[AnyCell, ...] = (
    *(TanhCell, ReluCell, GRUCell, GRUBeforeCell, LSTMCell, ProjectedLSTMCell(2)),
    *NAMED.values(),
)
KINK = 1e-3  # cases keep relu's inputs at least this far from 0


@dataclass(frozen=True)
class Case:
    """A layer with something to run it on: float64, ``lengths`` None or (B,), ``state`` None or as the layer's."""

    model: Recurrent
    x: Array
    state: State
    lengths: Array | None


def sizes(largest: int = 4) -> st.SearchStrategy[int]:
    """A size from 1 to ``largest``, the small ones first in shrinking."""
    return st.integers(1, largest)


def shapes(largest: int = 4) -> st.SearchStrategy[tuple[int, int]]:
    """(T, B): steps, up to one more than ``largest``, and rows."""
    return st.tuples(sizes(largest + 1), sizes(largest))


@st.composite
def arrays(draw: st.DrawFn, shape: tuple[int, ...], scales: Sequence[float] = (1.0, 0.1, 3.0)) -> Array:
    """A float64 array of ``shape``: normal, from a drawn seed, times a drawn scale."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scaled: Array = rng.normal(size=shape) * draw(st.sampled_from(list(scales)))
    return scaled


@st.composite
def layers(
    draw: st.DrawFn,
    cells: Sequence[AnyCell] = CELLS,
    *,
    largest: int = 4,
    num_layers: int = 3,
    bidirectional: bool | None = None,
    dropout: bool = True,
    dtype: str = "float64",
    backend: str = "numpy",
) -> Recurrent:
    """A recurrent layer with weights, over one of ``cells``, of up to ``num_layers``, with sizes up to ``largest``.

    ``bidirectional`` None draws it; ``dropout=False`` leaves out all noise.
    """
    depth, cell = draw(st.integers(1, num_layers)), draw(st.sampled_from(list(cells)))
    zoned: list[float | tuple[float, ...]] = [0.0]  # kernels have none
    if dropout:
        zoned += [0.0, 0.0, 0.4, (0.2, 0.6)[-len(cell.state) :]]
    layer = Recurrent(
        cell,
        draw(sizes(largest)),
        draw(sizes(largest)),
        depth,
        bidirectional=draw(st.booleans()) if bidirectional is None else bidirectional,
        dropout=draw(st.sampled_from([0.0, 0.4])) if dropout and depth > 1 else 0.0,
        locked=draw(st.booleans()) if dropout and depth > 1 else False,
        weight_dropout=draw(st.sampled_from([0.0, 0.3])) if dropout and multiplies(stages_of(cell)[0]) else 0.0,
        zoneout=draw(st.sampled_from(zoned)),
        trainable_state=draw(st.booleans()),
    )
    layer.init(draw(st.integers(0, 2**32 - 1)), dtype=dtype, backend=backend)
    layer.weights *= draw(st.sampled_from([1.0, 2.0]))
    return layer


@st.composite
def lengths(draw: st.DrawFn, num_steps: int, batch_size: int) -> Array:
    """Lengths (batch_size,), each from 0 to ``num_steps``, in any order."""
    return np.array(draw(st.lists(st.integers(0, num_steps), min_size=batch_size, max_size=batch_size)), np.int64)


@st.composite
def states(draw: st.DrawFn, layer: Recurrent, batch_size: int) -> State:
    """An initial state for ``layer``."""
    drawn = tuple(draw(arrays(shape)) for shape in layer.state_shapes(batch_size))
    return drawn if len(drawn) > 1 else drawn[0]


@st.composite
def cases(
    draw: st.DrawFn,
    cells: Sequence[AnyCell] = CELLS,
    *,
    largest: int = 4,
    num_layers: int = 3,
    bidirectional: bool | None = None,
    dropout: bool = True,
    indices: bool = True,
    backend: str = "numpy",
) -> Case:
    """A layer, x (features, or one-hot indices if ``indices``), an initial state or None, and lengths or None."""
    layer = draw(
        layers(
            cells,
            largest=largest,
            num_layers=num_layers,
            bidirectional=bidirectional,
            dropout=dropout,
            backend=backend,
        )
    )
    (T, B), D = draw(shapes(largest)), layer.input_size or 1
    valid = draw(st.none() | lengths(T, B))
    state = draw(st.none() | states(layer, B))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    one_hot = draw(st.booleans()) if indices else False
    for _ in range(100):
        x = rng.integers(0, D, (T, B)) if one_hot else rng.normal(size=(T, B, D))
        if kink_distance(layer, x, state, lengths=valid) >= KINK:
            break
        layer.weights += rng.normal(0, 0.1, layer.weights.shape) * (layer.weights != 0)
    return Case(layer, x, state, valid)
