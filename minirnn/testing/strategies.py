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
from minirnn.core.layer import Layer
from minirnn.core.protocol import multiplies, stages_of
from minirnn.core.run import State
from minirnn.layers.compose import Sequential
from minirnn.layers.convolution import Conv1d
from minirnn.layers.feedforward import Activation, Linear, PReLU
from minirnn.layers.normalisation import LayerNorm
from minirnn.layers.pooling import AvgPool1d, GlobalAvgPool1d, GlobalMaxPool1d, MaxPool1d
from minirnn.layers.windows import Padding
from minirnn.more_cells import NAMED
from minirnn.recurrent.networks import Recurrent
from minirnn.testing.functions.shapes import axes_of, check_words, drawn_arrays
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


@st.composite
def arguments(draw: st.DrawFn, /, *, largest: int = 4, **axes: str) -> dict[str, Array]:
    """Arguments of a function, by name, for ``minirnn.testing.check``: each is described by its axes.

    ``arguments(x="B D", w="D H", b="H", index="B < H")`` are float64 arrays, and integers of shape (B,) below H.  Axes
    of one name have one length, from 1 to ``largest``.  ::

        @given(arguments(x="B D", w="D H"))
        def test_product(arrays):
            check(product, product_backward, *arrays.values())
    """
    check_words(axes)
    lengths = {axis: draw(st.integers(1, largest), label=axis) for axis in axes_of(axes)}
    return drawn_arrays(axes, lengths, np.random.default_rng(draw(st.integers(0, 2**32 - 1))))


@dataclass(frozen=True)
class Case:
    """A layer with something to run it on: float64, ``lengths`` None or (B,), ``state`` None or as the layer's."""

    model: Recurrent
    x: Array
    state: State
    lengths: Array | None


@dataclass(frozen=True)
class Chain:
    """As ``Case``, of layers around a recurrence."""

    model: Sequential
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
    input_size: int | None = None,
) -> Recurrent:
    """A recurrent layer with weights, over one of ``cells``, of up to ``num_layers``, with sizes up to ``largest``.

    ``bidirectional`` and ``input_size`` None draw them; ``dropout=False`` leaves out all noise.
    """
    depth, cell = draw(st.integers(1, num_layers)), draw(st.sampled_from(list(cells)))
    zoned: list[float | tuple[float, ...]] = [0.0]
    if dropout:
        zoned += [0.0, 0.0, 0.4, (0.2, 0.6)[-len(cell.state) :]]
    layer = Recurrent(
        cell,
        draw(sizes(largest)) if input_size is None else input_size,
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
    for name, spec in layer.all_specs().items():
        if spec.start is not None:  # at 1, a factor that is missing would not show
            layer.named_weights()[name] += draw(arrays(spec.shape))
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


# ---------------------------------------------------------------------- layers around a recurrence


@st.composite
def neighbours(draw: st.DrawFn, features: int, *, causal: bool = False) -> Layer:
    """A layer that stands before or after a recurrence, for so many features; ``causal``: none that reads ahead."""
    step = LayerNorm(features, gain=draw(st.booleans()), bias=draw(st.booleans()))
    each: list[Layer] = [step, PReLU(draw(st.sampled_from([1, features]))), Activation("gelu"), Linear(features, 2)]
    kernel, stride = draw(st.integers(1, 3)), 1 if causal else draw(st.integers(1, 2))
    dilation, groups = draw(st.integers(1, 2)), draw(st.sampled_from([1, features]))
    reach = dilation * (kernel - 1)
    paddings: list[Padding] = ["causal"] if causal else ["causal", 0, draw(_sides(reach))]
    each.append(
        Conv1d(
            *(features, groups * draw(sizes(2)), kernel, stride),
            padding=draw(st.sampled_from(paddings if causal or stride > 1 else [*paddings, "same"])),
            dilation=dilation,
            groups=groups,
            bias=draw(st.booleans()),
        )
    )
    if not causal:
        each.append(MaxPool1d(kernel, stride, draw(_sides(kernel - 1))))
        each.append(AvgPool1d(kernel, stride, draw(_sides(kernel - 1)), count_padding=draw(st.booleans())))
    return draw(st.sampled_from(each))


def _sides(reach: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(0, reach), st.integers(0, reach))


@st.composite
def chains(
    draw: st.DrawFn,
    cells: Sequence[AnyCell] = CELLS,
    *,
    largest: int = 4,
    causal: bool = False,
    dropout: bool = True,
    backend: str = "numpy",
) -> Chain:
    """A Sequential of a recurrent layer and its ``neighbours``, x with steps enough for them, states and lengths.

    ``causal``: every layer's y[t] reads x up to t, so that a sequence may come in chunks.
    """
    width = draw(sizes(largest))
    parts: list[Layer] = []
    place, count = draw(st.integers(0, 2)), draw(st.integers(1, 4))
    for k in range(count):
        if k == min(place, count - 1):
            parts.append(
                draw(
                    layers(
                        cells,
                        largest=largest,
                        num_layers=1,
                        bidirectional=False if causal else None,
                        dropout=dropout,
                        backend=backend,
                        input_size=width,
                    )
                )
            )
        else:
            parts.append(draw(neighbours(width, causal=causal)))
        width = parts[-1].output_size or width
    if not causal:
        parts += draw(st.sampled_from([[], [GlobalMaxPool1d()], [GlobalAvgPool1d(), Linear(width, 2)]]))
    model = Sequential(*parts)
    model.init(draw(st.integers(0, 2**32 - 1)), dtype="float64", backend=backend, overwrite=True)
    T, B = draw(shapes(largest))
    while True:
        try:
            model.check_steps(T)
            break
        except ValueError:  # the windows need more
            T += 1
    valid = draw(st.none() | lengths(T, B))
    state = draw(st.none() | st.tuples(*(_state_of(layer, B) for layer in model.layers)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    for _ in range(100):
        x = rng.normal(size=(T, B, model.input_size or 1))
        if kink_distance(model, x, state, lengths=valid) >= KINK:
            break
        model.weights += rng.normal(0, 0.1, model.weights.shape) * (model.weights != 0)
    return Chain(model, x, state, valid)


def _state_of(layer: Layer, batch_size: int) -> st.SearchStrategy[State]:
    if isinstance(layer, Recurrent):
        return states(layer, batch_size)
    if isinstance(layer, Conv1d) and layer.remembered:
        return arrays((layer.remembered, batch_size, layer.in_channels))
    return st.none()
