"""Recurrent nodes of ONNX drawn at random, with every attribute, and models of one node around them."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_oracle
from numpy.typing import NDArray
from onnx_oracle import ACTIVATIONS, DEFAULTS

Array = NDArray[Any]
OPERATORS = ("RNN", "GRU", "LSTM")
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
OUTPUTS = {"RNN": ("Y", "Y_h"), "GRU": ("Y", "Y_h"), "LSTM": ("Y", "Y_h", "Y_c")}
TAME = 8.0  # no number of a case is larger: beyond, rounding is all there is to compare


@dataclass(eq=False)
class Case:
    """A node: operator, attributes, inputs and outputs by name, operator set, and whether weights are in the file."""

    op: str
    attributes: dict[str, Any]
    given: dict[str, Array]
    outputs: tuple[str, ...]
    opset: int
    stored: bool

    def __str__(self) -> str:
        shapes = {name: a.shape for name, a in self.given.items()}
        return f"{self.op} {self.attributes} {shapes} -> {self.outputs}, opset {self.opset}"

    @property
    def weights(self) -> dict[str, Array]:
        """What is in the file."""
        return {name: a for name, a in self.given.items() if name in ("W", "R", "B", "P") and self.stored}

    @property
    def feed(self) -> dict[str, Array]:
        """What is given at each run."""
        return {name: a for name, a in self.given.items() if name not in self.weights}

    def expected(self, reading: onnx_oracle.Reading = onnx_oracle.STANDARD) -> dict[str, Array]:
        return onnx_oracle.run(self.op, self.attributes, self.given, reading)

    @property
    def lacks_constants(self) -> bool:
        """Whether a function of those that onnxruntime has other defaults for is without a constant."""
        names = self.attributes.get("activations", [])
        short = any(
            len(self.attributes.get(f"activation_{word}", [])) < sum(len(ACTIVATIONS[name][1]) > k for name in names)
            for k, word in enumerate(("alpha", "beta"))
        )
        return short and any(name in onnx_oracle.ONNXRUNTIME.zeroed for name in names)

    @property
    def departures(self) -> set[str]:
        """Where onnxruntime takes the case otherwise than the standard; see ``onnx_oracle``."""
        lens, found = self.given.get("sequence_lens"), set()
        if self.lacks_constants:
            found.add("defaults of constants")
        if self.op == "LSTM" and "clip" in self.attributes:
            found.add("h is not clipped")
        if lens is not None and not lens.all() and set(self.outputs) != {"Y"}:
            found.add("empty rows")
        return found

    @property
    def features(self) -> dict[str, Any]:
        """What is chosen, for counting pairs."""
        attributes, given = self.attributes, self.given
        lens, T = given.get("sequence_lens"), given["X"].shape[attributes.get("layout", 0)]
        found: dict[str, Any] = {
            "direction": attributes.get("direction", "forward"),
            "activations": "activations" in attributes,
            "clip": "clip" in attributes,
            "layout": attributes.get("layout", 0),
            "lens": "none" if lens is None else "full" if (lens == T).all() else "some",
            "B": "B" in given,
            "initial_h": "initial_h" in given,
            "stored": self.stored,
        }
        if self.op == "GRU":
            found["linear_before_reset"] = attributes.get("linear_before_reset", 0)
        if self.op == "LSTM":
            found |= {"input_forget": attributes.get("input_forget", 0), "P": "P" in given}
            found["initial_c"] = "initial_c" in given
        return found


def draw(op: str, seed: int, dtype: str = "float32") -> Case:
    """One case, a function of its arguments: the first that stays tame, whatever its functions do."""
    for attempt in itertools.count():
        case = drawn(op, seed, np.random.default_rng([seed, attempt, OPERATORS.index(op)]), dtype)
        if all(np.abs(y).max(initial=0) < TAME for y in case.expected().values()):
            return case
    raise AssertionError


def drawn(op: str, seed: int, rng: np.random.Generator, dtype: str) -> Case:
    def chance(p: float) -> bool:
        return bool(rng.random() < p)

    T, B, D, H = (int(rng.integers(1, n + 1)) for n in (7, 4, 4, 5))
    direction = str(rng.choice(["forward", "reverse", "bidirectional"]))
    n, gates = 2 if direction == "bidirectional" else 1, GATES[op]
    attributes: dict[str, Any] = {"hidden_size": H}
    if direction != "forward" or chance(0.5):
        attributes["direction"] = direction
    if seed % 2:  # in turn, each function in each place: those that are seldom tame too
        first, place = list(ACTIVATIONS)[seed // 2 % len(ACTIVATIONS)], seed // 22 % (n * len(DEFAULTS[op]))
        names = rng.permutation([name for name in ACTIVATIONS if name != first]).tolist()[: n * len(DEFAULTS[op])]
        names[place] = first
        attributes["activations"] = names
        for k, word in enumerate(("alpha", "beta")):
            takers = sum(len(ACTIVATIONS[name][1]) > k for name in names)
            count = int(rng.choice(np.array([0, takers, takers, rng.integers(0, takers + 1)])))
            if count:
                attributes[f"activation_{word}"] = rng.uniform(0.1, 0.9, count).astype(np.float32).tolist()
    if chance(0.3):
        attributes["clip"] = float(np.float32(rng.uniform(0.1, 1.5)))
    opset = int(rng.choice([7, 14, 22, 28]))
    layout = int(opset >= 14 and chance(0.25))
    if layout or (opset >= 14 and chance(0.3)):
        attributes["layout"] = layout
    if op == "GRU" and chance(0.7):
        attributes["linear_before_reset"] = int(chance(0.7))
    if op == "LSTM" and chance(0.5):
        attributes["input_forget"] = int(chance(0.75))

    calm = 0.6 if "activations" in attributes else 1.0  # unbounded ones make a state run away

    def normal(*shape: int, scale: float = 1.0) -> Array:
        return (rng.normal(size=shape) * scale).astype(dtype)

    given = {"X": normal(T, B, D), "W": normal(n, gates * H, D, scale=calm)}
    given["R"] = normal(n, gates * H, H, scale=calm * H**-0.5)
    if chance(0.75):
        given["B"] = normal(n, 2 * gates * H)
    if chance(0.5):
        given["sequence_lens"] = (np.full(B, T) if chance(0.25) else rng.integers(0, T + 1, B)).astype(np.int32)
    if chance(0.5):
        given["initial_h"] = normal(n, B, H)
    if op == "LSTM" and chance(0.5):
        given["initial_c"] = normal(n, B, H)
    if op == "LSTM" and chance(0.4):
        given["P"] = normal(n, 3 * H)
    if layout:
        for name in {"X", "initial_h", "initial_c"} & given.keys():
            given[name] = np.ascontiguousarray(given[name].swapaxes(0, 1))
    some = [c for k in range(1, len(OUTPUTS[op])) for c in itertools.combinations(OUTPUTS[op], k)]
    outputs = OUTPUTS[op] if chance(0.5) else some[int(rng.integers(len(some)))]
    return Case(op, attributes, given, outputs, opset, chance(0.5))


def places(names: tuple[str, ...], there: Any) -> list[str]:
    """The names that are there in their places, those that are not as "", none of those at the end."""
    last = max(k for k, name in enumerate(names) if name in there)
    return [name if name in there else "" for name in names[: last + 1]]


def model_of(case: Case) -> Any:
    """An onnx.ModelProto of that one node."""
    from onnx import helper, numpy_helper

    def info(name: str, dtype: np.dtype[Any], shape: Any) -> Any:
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), shape)

    inputs, outputs = places(INPUTS, case.given), places(OUTPUTS[case.op], case.outputs)
    node = helper.make_node(case.op, inputs, outputs, **case.attributes)
    graph = helper.make_graph(
        [node],
        "one node",
        [info(name, a.dtype, a.shape) for name, a in case.feed.items()],
        [info(name, case.given["X"].dtype, None) for name in case.outputs],
        [numpy_helper.from_array(a, name) for name, a in case.weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", case.opset)], ir_version=10)
