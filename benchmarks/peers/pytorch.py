"""PyTorch: ``torch.nn``'s recurrent layers as they come, and in the ways in which torch multiplies in fewer bits.

torch-bf16      the module and its inputs are bfloat16
torch-autocast  the module is float32; ``torch.autocast`` casts what products take
torch-int8      the module is quantised by ``quantize_dynamic``: inputs and states are quantised as they come
"""

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np
import torch

from benchmarks.cases import GATES, Case
from benchmarks.inputs import LOSSES, STREAM, Arrays, directions
from benchmarks.peers import Job, UnsupportedError

Context = Callable[[], AbstractContextManager[Any]]
AUTOCAST: Context = partial(torch.autocast, "cpu", dtype=torch.bfloat16)


class Torch:
    """torch on the CPU, as the contestant called ``name``."""

    def __init__(self, name: str, threads: int) -> None:
        self.name = name
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        self.info: dict[str, str | float] = {"torch": str(torch.__version__)}

    def prepare(self, case: Case, arrays: Arrays) -> Job:
        if case.kind == "chapter":
            return chapter(case, arrays)
        context = AUTOCAST if self.name == "torch-autocast" else nullcontext
        if case.kind == "training":
            return training(case, arrays, context)
        module, x = layer_of(case, arrays).eval(), torch.from_numpy(arrays["x"])
        if self.name == "torch-bf16":
            module, x = module.bfloat16(), x.bfloat16()
        elif self.name == "torch-int8":
            module = quantised(module)
        return (stream if case.kind == "stream" else inference)(module, x, context)


def layer_of(case: Case, arrays: Arrays) -> Any:
    """The recurrent layer.  torch has two biases where one is enough: minirnn's b is the input's, bn stands in the
    other's block n, and the rest of that is 0.
    """
    kind: Any = getattr(torch.nn, case.cell.upper())
    module = kind(case.D, case.H, case.layers, bidirectional=case.bidirectional)
    with torch.no_grad():
        for prefix, _ in directions(case):
            recurrent_bias = np.zeros(GATES[case.cell] * case.H, np.float32)
            if case.cell == "gru":
                recurrent_bias[2 * case.H :] = arrays[f"{prefix}.bn"]
            suffix = f"l{prefix.replace('.', '_')}"
            for name, value in [
                ("weight_ih", arrays[f"{prefix}.W"].T),
                ("weight_hh", arrays[f"{prefix}.U"].T),
                ("bias_ih", arrays[f"{prefix}.b"]),
                ("bias_hh", recurrent_bias),
            ]:
                getattr(module, f"{name}_{suffix}").copy_(torch.from_numpy(np.ascontiguousarray(value)))
    return module


def quantised(module: Any) -> Any:
    """The same layer with weights of 8 bits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated; its successor, another package, has no recurrent layers
        quantize: Any = torch.ao.quantization.quantize_dynamic
        (narrow,) = quantize(torch.nn.Sequential(module), dtype=torch.qint8)  # it changes what a module holds
    if isinstance(narrow, type(module)):
        raise UnsupportedError(f"quantize_dynamic leaves {type(module).__name__} as it is")
    return narrow


def training(case: Case, arrays: Arrays, context: Context = nullcontext) -> Job:
    """Forward and backward by autograd; gradients are None before, as after an optimiser's ``zero_grad``."""
    module = layer_of(case, arrays)
    x, dy = torch.from_numpy(arrays["x"]).requires_grad_(), torch.from_numpy(arrays["dy"])

    def call() -> tuple[Any, Any]:
        module.zero_grad(set_to_none=True)
        x.grad = None
        with context():
            y, state = module(x)
        y.backward(dy)
        return y, state

    def outputs() -> Arrays:
        y, state = call()
        assert x.grad is not None
        return {"y": host(y), "dx": host(x.grad)} | by_name(state) | gradients(module, case)

    return Job(call, outputs)


def gradients(module: Any, case: Case) -> Arrays:
    """Those of the layer's weights, by minirnn's names."""
    found: Arrays = {}
    for prefix, _ in directions(case):
        suffix = f"l{prefix.replace('.', '_')}"
        ours = {"W": "weight_ih", "U": "weight_hh", "b": "bias_ih"} | ({"bn": "bias_hh"} if case.cell == "gru" else {})
        for name, theirs in ours.items():
            gradient = getattr(module, f"{theirs}_{suffix}").grad.cpu().numpy().T
            found[f"d{prefix}.{name}"] = gradient[2 * case.H :] if name == "bn" else gradient
    return found


def inference(module: Any, x: Any, context: Context) -> Job:
    """Forward in inference mode."""

    def call() -> tuple[Any, Any]:
        with torch.inference_mode(), context():
            y, state = module(x)
        return y, state

    def outputs() -> Arrays:
        y, state = call()
        return {"y": host(y)} | by_name(state)

    return Job(call, outputs)


def stream(module: Any, x: Any, context: Context) -> Job:
    """One step in inference mode, the state carried on."""
    xs, state = cycle(x), None

    def call() -> Any:
        nonlocal state
        with torch.inference_mode(), context():
            y, state = module(next(xs), state)
        return y

    def outputs() -> Arrays:
        y = np.concatenate([host(call()) for _ in range(STREAM)])
        return {"y": y} | by_name(state)

    return Job(call, outputs)


def chapter(case: Case, arrays: Arrays) -> Job:
    """A training step as the chapter's concise implementation has it."""
    V, E, H = case.vocab or 0, case.embedding, case.H
    recurrent, linear = layer_of(case, arrays), torch.nn.Linear(H, V)
    embedding = torch.nn.Embedding(V, E) if E else None
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(np.ascontiguousarray(arrays["linear.W"].T)))
        linear.bias.copy_(torch.from_numpy(arrays["linear.b"]))
        if embedding is not None:
            embedding.weight.copy_(torch.from_numpy(arrays["embedding.W"]))
    modules = [m for m in (embedding, recurrent, linear) if m is not None]
    parameters = [p for m in modules for p in m.parameters()]
    sgd = torch.optim.SGD(parameters, lr=1.0)
    batches = cycle(zip(torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["targets"]), strict=True))

    def step(*, one_bias: bool) -> float:
        tokens, targets = next(batches)
        x = torch.nn.functional.one_hot(tokens, V).float() if embedding is None else embedding(tokens)
        y, _ = recurrent(x)
        loss: Any = torch.nn.functional.cross_entropy(linear(y).reshape(-1, V), targets.reshape(-1))
        sgd.zero_grad()
        loss.backward()
        if one_bias:
            surplus = recurrent.bias_hh_l0.grad
            surplus[: 2 * H if case.cell == "gru" else None] = 0
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        sgd.step()
        return float(loss.detach())

    # trained, torch's second bias takes part in the norm and doubles the update: so it is in what is timed, as users
    # have it, and it is held still where losses are compared with those of a network that has one bias
    return Job(lambda: step(one_bias=False), lambda: {"losses": np.array([step(one_bias=True) for _ in range(LOSSES)])})


def by_name(state: Any) -> Arrays:
    """A recurrent layer's state as ``h``, and ``c`` where it has one."""
    parts = state if isinstance(state, tuple) else (state,)
    return {name: host(part) for name, part in zip("hc", parts, strict=False)}


def host(tensor: Any) -> Any:
    """A tensor as an array; NumPy has no bfloat16, whose numbers float32 has too."""
    return tensor.detach().float().numpy()


def build(name: str, threads: int) -> Torch:
    """torch with ``threads`` threads."""
    return Torch(name, threads)
