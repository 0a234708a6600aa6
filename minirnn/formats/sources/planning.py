"""A model becomes a ``Plan``: its layers one after another, their weights in the order in which they are read."""

import copy

import numpy as np

from minirnn.core.backend import NUMPY, Array
from minirnn.core.drawn import scattered
from minirnn.core.layer import Layer
from minirnn.core.module import brief
from minirnn.core.parameters import Parameters
from minirnn.formats.models import check_finite
from minirnn.formats.sources.layers import added, copying
from minirnn.formats.sources.plan import (
    Each,
    Plan,
    Whole,
)
from minirnn.formats.sources.planner import Planner
from minirnn.inference.blocks import BlockedMatrix
from minirnn.language.model import LanguageModel
from minirnn.layers.graph import LayerGraph

STEPS = 128  # of a call, where a model needs whole sequences and nobody says how many
MOST_STEPS = 65_536
MOST_CHECKS = 2**20  # of layers, whether they can have so many steps
SAMPLE = 5  # steps of the self-test


def planned(model: Layer | LanguageModel, *, steps: int | None = None) -> Plan:
    """The plan of a model; ValueError, before anything is written, for what cannot be carried.

    ``steps`` is how many one call computes at most, of a model that needs whole sequences.
    """
    network = model.network if isinstance(model, LanguageModel) else model
    _check(network)
    width = network.input_size
    if width is None:
        raise ValueError(
            f"a source file needs a network that knows how many features it reads; got {brief(network):.200}"
        )
    index = network.integers and (isinstance(model, LanguageModel) or not network.floats)
    least, most = _steps(network, steps)
    planner = Planner(network, index=index, steps=most)
    end = added(network, planner, planner.x)
    stepwise = all(
        (isinstance(one, Each) and not one.reverse) or (isinstance(one, Whole) and one.kind == "last")
        for one in planner.operations
    )
    if steps is not None and stepwise:
        raise ValueError("steps is for a model that needs whole sequences; this one takes any number, step by step")
    if end is planner.x or (stepwise and not isinstance(planner.operations[-1], Each)):  # something must write y
        end = planner.each(copying(planner, "layer_end", end.width), end)
    end.name = "y"
    plan = Plan(
        about=[],
        inputs=width,
        outputs=end.width,
        index=index,
        stepwise=stepwise,
        one=not network.keeps_time,
        steps=most,
        least=least,
        functions=planner.functions,
        operations=planner.operations,
        rows=[one for one in planner.rows if one is not end],
        states=planner.states,
        weights=planner.weights,
    )
    read = plan.read()
    plan.weights = [one for one in plan.weights if one.name in read]
    check_finite((f"weight {one.name}", one.values) for one in plan.weights)
    if isinstance(model, LanguageModel):
        plan.symbols, plan.task = tuple(map(ord, model.vocab.symbols)), model.task
    plan.sample = _sample(network, plan)
    return plan


def _check(network: Layer) -> None:
    """Raise ValueError for a model whose numbers cannot be carried."""
    network.check_whole("convert")
    graphs = [layer for layer in network.walk() if isinstance(layer, LayerGraph)]
    if any(not graph.one_way for graph in graphs):
        raise ValueError("a source file has one input and one output; this model has a LayerGraph of more")
    p = network.bound
    if p.backend.on_device:
        raise ValueError(
            f"a source file is made on the host; this model is on {p.backend.name}: model.to(backend='auto')"
        )
    if p.dtype != np.float32:
        raise ValueError(
            f"a source file computes in float32; this model is {p.dtype.name}: convert with --dtype float32"
        )
    if network.masks:
        raise ValueError(
            f"a source file skips no steps, and {brief(network):.200} masks some: leave the mask out, and give the "
            f"file those steps that count"
        )


def _steps(network: Layer, steps: int | None) -> tuple[int, int]:
    """The fewest steps that a call needs, and the most that it takes."""
    wanted = STEPS if steps is None else steps

    def possible(T: int) -> bool:
        try:
            network.check_steps(T)
        except ValueError:
            return False
        return True

    if steps is not None and (not 1 <= steps <= MOST_STEPS or not possible(steps)):
        network.check_steps(steps)  # which says what it needs
        raise ValueError(f"steps must be from 1 to {MOST_STEPS:,}; got {steps}")
    last = min(MOST_STEPS, wanted + MOST_CHECKS // sum(1 for _ in network.walk()))  # a file may describe many layers
    most = next((T for T in [*range(wanted, 0, -1), *range(wanted + 1, last + 1)] if possible(T)), 0)
    if not most:
        raise ValueError(
            f"{brief(network):.200} takes more than {last:,} steps at once: it cannot be written as source"
        )
    return next(T for T in range(1, most + 1) if possible(T)), most


def _sample(network: Layer, plan: Plan) -> tuple[Array, Array]:
    """A drawn input and what NumPy computes of it."""
    T = plan.least
    for more in range(plan.least, min(plan.steps, max(SAMPLE, plan.least)) + 1):
        try:
            network.check_steps(more)
        except ValueError:
            continue
        T = more
    if plan.index:
        x: Array = (np.arange(1, T + 1) ** 2 * 7 + 3) % plan.inputs
    else:
        x = (scattered(1, T, plan.inputs) / 2).astype(np.float32)
    y, _ = exact(network)(x[:, None], batch_first=False)
    y = y[None] if y.ndim == 2 else y
    if not np.isfinite(y).all():
        raise ValueError("the model makes no finite numbers of a drawn input")
    return x, y[:, 0]


def exact(network: Layer) -> Layer:
    """The model on NumPy with products that round nothing they read, as those of a file do not."""
    old = network.bound
    if not (old.compute or old.quantized):
        return network.to(backend="numpy")
    new = Parameters(network.all_specs(), NUMPY, np.dtype(np.float32))
    for name in new.slots:
        stored = old.view(old.weights, name)
        new.view(new.weights, name)[...] = stored.dense() if isinstance(stored, BlockedMatrix) else stored
    twin = copy.deepcopy(network)
    for part in twin.walk():
        part.parameters = None
    twin.bind(new)
    return twin
