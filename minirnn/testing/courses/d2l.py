"""The d2l chapter's networks from scratch, forward only: held against minirnn's own GRU and LSTM with the same weights.

``gru(inputs, state, params)`` and ``lstm`` with inputs (T, B, V), a state of (B, H) arrays, and 11 or 14 parameters:
W_x, W_h and b of each gate, then W_hq and b_q.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from minirnn.recurrent.networks import GRU, LSTM
from minirnn.testing.courses.exercises import ascending, copied, function_in, zeroed
from minirnn.testing.courses.findings import RETURNS, Finding, Result
from minirnn.testing.courses.outputs import Sizes, Task, judge_outputs
from minirnn.testing.functions.blame import Answer
from minirnn.testing.functions.leaves import Array

COURSE = "d2l"


class Network(NamedTuple):
    """A network: its function, that of its initial state, minirnn's layer, and its gates in the order of params."""

    name: str
    initial: str
    layer: Any
    gates: str
    ours: dict[str, str]  # the chapter's letter for a gate: minirnn's


NETWORKS = (
    Network("gru", "init_gru_state", partial(GRU, reset="before"), "zrh", {"z": "z", "r": "r", "h": "n"}),
    Network("lstm", "init_lstm_state", LSTM, "ifoc", {"i": "i", "f": "f", "o": "o", "c": "g"}),
)
ORDER = {"gru": "rzn", "lstm": "ifgo"}
USUAL = (3, 2, 3, 4)  # T, B, V, H


def graded(module: ModuleType, file: str, progress: Callable[[str], None]) -> list[Result]:
    """The results of what is there of the chapter."""
    results: list[Result] = []
    networks = [network for network in NETWORKS if function_in(module, network.name, 3) is not None]
    for network in networks:
        progress(network.name)
        if hasattr(module, network.initial):
            results.append(_state(module, network, file))
        results.append(_outputs(module, network, file))
    if networks and function_in(module, "get_params", 2) is not None:
        results.insert(0, _parameters(module, networks, file))
    return results


def shapes_of(network: Network, V: int, H: int) -> list[tuple[int, ...]]:
    """The shapes of params."""
    shapes: list[tuple[int, ...]] = [shape for _ in network.gates for shape in ((V, H), (H, H), (H,))]
    return [*shapes, (H, V), (V,)]


def drawn(network: Network, sizes: Sizes, point: int = 0) -> tuple[Any, ...]:
    """Inputs, a state and params; from the third point on there is one step, and a state or inputs are 0."""
    T, B, V, H = sizes
    if point > 1:
        T = 1
    rng = np.random.default_rng([point if point < 2 else 0, *sizes])
    state = tuple(rng.normal(size=(B, H)) for _ in range(1 if network.name == "gru" else 2))
    arguments = rng.normal(size=(T, B, V)), state, [rng.normal(size=shape) for shape in shapes_of(network, V, H)]
    zeros = {2 + k: one for k, one in enumerate([*range(1, 1 + len(state)), 0])}
    return zeroed(arguments, zeros[point]) if point in zeros else arguments


def by_minirnn(network: Network, inputs: Array, state: tuple[Any, ...], params: list[Any]) -> tuple[Array, list[Array]]:
    """Outputs (T·B, V) and the last state, by minirnn's layer with these weights."""
    V, H = params[0].shape
    layer = network.layer(V, H).init(0, dtype="float64", backend="numpy")
    place = {network.ours[gate]: 3 * k for k, gate in enumerate(network.gates)}
    order = [place[gate] for gate in ORDER[network.name]]
    values = {name: np.concatenate([params[k + n] for k in order], axis=-1) for n, name in enumerate("WUb")}
    for name, weight in layer.named_weights().items():
        weight[...] = values.get(name.rpartition(".")[2], 0.0)  # bn, a bias within the reset product, is 0
    of_one_layer = tuple(one[None] for one in state)
    y, last = layer(inputs, of_one_layer[0] if len(of_one_layer) == 1 else of_one_layer)
    last = (last,) if len(of_one_layer) == 1 else last
    return (y @ params[-2] + params[-1]).reshape(-1, V), [one[0] for one in last]


def _outputs(module: ModuleType, network: Network, file: str) -> Result:
    function, name = getattr(module, network.name), network.name

    @cache
    def right(sizes: Sizes, point: int) -> tuple[Array, list[Array]]:
        return by_minirnn(network, *drawn(network, sizes, point))

    def call(function: Callable[..., Any], sizes: Sizes, point: int) -> Any:
        return function(*copied(drawn(network, sizes, point)))

    def answers(returned: Any, sizes: Sizes, point: int) -> Sequence[Answer] | Finding:
        return _compared(network, returned, (1 if point > 1 else sizes[0], sizes[1]), *right(sizes, point))

    states = 1 if name == "gru" else 2
    task = Task(name, COURSE, file, function, call, answers, USUAL, ascending(4), _words, 4 + states)
    result, _ = judge_outputs(task)
    return replace(result, notes=("its gradient is autograd's, and is not judged",)) if result.ok else result


def _words(sizes: Sizes) -> str:
    T, B, V, H = sizes
    said = ", ".join(f"{name} {n}" for name, n in zip("TBVH", sizes, strict=True))
    return f"{said}: inputs {(T, B, V)}, state {(B, H)}"


def _compared(
    network: Network, returned: Any, steps: tuple[int, int], right: Array, states: list[Array]
) -> Sequence[Answer] | Finding:
    if not isinstance(returned, tuple) or len(returned) != 2:
        return Finding(network.name, RETURNS, "it must return the outputs and the state")
    outputs, last = returned
    if isinstance(outputs, list):
        outputs = np.concatenate(outputs, axis=0) if outputs else np.zeros((0, 0))
    array = np.asarray(outputs)
    if array.ndim == 3 and array.shape[:2] == steps:
        array = array.reshape(-1, array.shape[2])
    if not isinstance(last, (tuple, list)) or len(last) != len(states):
        return Finding("state", RETURNS, f"it must be a tuple of {len(states)}; it is {type(last).__name__}")
    pairs = zip(("H", "C"), last, states, strict=False)
    return [Answer("outputs", array, right), *(Answer(*one) for one in pairs)]


def _state(module: ModuleType, network: Network, file: str) -> Result:
    """Whether the initial state is zeros (B, H), one or two of them."""
    count = 1 if network.name == "gru" else 2
    function, name = getattr(module, network.initial), network.initial

    def answers(state: Any, sizes: Sizes, _: int) -> Sequence[Answer] | Finding:
        if not isinstance(state, (tuple, list)) or len(state) != count:
            return Finding(name, RETURNS, f"it must return a tuple of {count} arrays")
        return [Answer("state", y, np.zeros(sizes)) for y in state]

    call = lambda function, sizes, _: function(*sizes, None)  # noqa: E731
    words = partial(_sized, "batch_size")
    return judge_outputs(Task(name, COURSE, file, function, call, answers, (2, 3), ascending(2), words))[0]


def _parameters(module: ModuleType, networks: list[Network], file: str) -> Result:
    """Whether get_params returns parameters of the shapes that the network needs."""

    def answers(params: Any, sizes: Sizes, _: int) -> Sequence[Answer] | Finding:
        several = [shapes_of(network, *sizes) for network in networks]
        came = list(params) if isinstance(params, (list, tuple)) else []
        needed = next((one for one in several if len(one) == len(came)), several[0])
        number = Answer("the number of parameters", np.array(len(came)), np.array(float(len(needed))))
        return [number, *(_shaped(f"parameter {k}", came[k : k + 1], shape) for k, shape in enumerate(needed))]

    name, words, call = "get_params", partial(_sized, "vocab_size"), lambda function, sizes, _: function(*sizes)
    return judge_outputs(Task(name, COURSE, file, module.get_params, call, answers, (3, 5), ascending(2), words))[0]


def _sized(first: str, sizes: Sizes) -> str:
    return f"{first} {sizes[0]}, num_hiddens {sizes[1]}"


def _shaped(name: str, one: list[Any], shape: tuple[int, ...]) -> Answer:
    """A parameter, if there is one, beside what is right: any numbers of that shape."""
    array = np.array(one[0], dtype=float) if one else np.zeros(0)
    return Answer(name, array, array if array.shape == shape else np.zeros(shape))
