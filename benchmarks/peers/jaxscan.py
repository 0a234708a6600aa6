"""JAX: the equations written out by hand, ``jax.jit`` over ``jax.lax.scan``, gradients by ``jax.vjp``."""

from collections.abc import Callable
from itertools import cycle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cases import Case
from benchmarks.inputs import STREAM, Arrays
from benchmarks.peers import Job, UnsupportedError


def rnn(p: Any, state: Any, weights: Any) -> Any:
    """One step from the input's product ``p`` (B, G·H), bias included."""
    (h,) = state
    return (jnp.tanh(p + h @ weights["U"]),)


def gru(p: Any, state: Any, weights: Any) -> Any:
    """The same; gates r z n, reset applied after the product."""
    (h,) = state
    p_r, p_z, p_n = jnp.split(p, 3, axis=-1)
    q_r, q_z, q_n = jnp.split(h @ weights["U"], 3, axis=-1)
    r, z = jax.nn.sigmoid(p_r + q_r), jax.nn.sigmoid(p_z + q_z)
    n = jnp.tanh(p_n + r * (q_n + weights["bn"]))
    return ((1 - z) * n + z * h,)


def lstm(p: Any, state: Any, weights: Any) -> Any:
    """The same; gates i f g o."""
    h, c = state
    i, f, g, o = jnp.split(p + h @ weights["U"], 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


CELLS: dict[str, Callable[[Any, Any, Any], Any]] = {"rnn": rnn, "gru": gru, "lstm": lstm}


finished: Any = jax.block_until_ready


class Jax:
    """JAX on the CPU.  Its threads follow the cores that the process may use."""

    def __init__(self) -> None:
        self.info: dict[str, str | float] = {"jax": jax.__version__}

    def prepare(self, case: Case, arrays: Arrays) -> Job:
        if case.kind == "chapter":
            raise UnsupportedError("no optimiser is part of JAX")
        if case.layers > 1 or case.bidirectional:
            raise UnsupportedError("written out for one layer in one direction")
        on_device = {name: jnp.asarray(a) for name, a in arrays.items()}
        weights = {name.removeprefix("0."): a for name, a in on_device.items() if name.startswith("0.")}
        cell, width = CELLS[case.cell], 2 if case.cell == "lstm" else 1
        zeros = tuple(jnp.zeros((case.B, case.H), jnp.float32) for _ in range(width))

        def scan(weights: Any, x: Any, initial: Any) -> tuple[Any, Any]:
            def step(state: Any, p: Any) -> tuple[Any, Any]:
                state = cell(p, state, weights)
                return state, state[0]

            final, y = jax.lax.scan(step, initial, x @ weights["W"] + weights["b"])
            return y, final

        x = on_device["x"]
        if case.kind == "training":
            return training(scan, weights, x, zeros, on_device["dy"])
        forward: Any = jax.jit(scan)
        if case.kind == "stream":
            return stream(forward, weights, x, zeros)

        def call() -> Any:
            return finished(forward(weights, x, zeros))

        def outputs() -> Arrays:
            y, state = call()
            return {"y": np.asarray(y)} | by_name(state)

        return Job(call, outputs)


def training(scan: Any, weights: Any, x: Any, zeros: Any, dy: Any) -> Job:
    """Forward and backward in one compiled function."""

    def both(weights: Any, x: Any, dy: Any) -> Any:
        y, pull, state = jax.vjp(lambda weights, x: scan(weights, x, zeros), weights, x, has_aux=True)
        return y, state, pull(dy)

    compiled: Any = jax.jit(both)

    def call() -> Any:
        return finished(compiled(weights, x, dy))

    def outputs() -> Arrays:
        y, state, (dweights, dx) = call()
        grads = {f"d0.{name}": np.asarray(gradient) for name, gradient in dweights.items()}
        return {"y": np.asarray(y), "dx": np.asarray(dx)} | by_name(state) | grads

    return Job(call, outputs)


def stream(forward: Any, weights: Any, x: Any, state: Any) -> Job:
    """One compiled step, the state carried on."""
    xs = cycle(list(x))

    def call() -> Any:
        nonlocal state
        y, state = finished(forward(weights, next(xs), state))
        return y

    def outputs() -> Arrays:
        y = np.concatenate([np.asarray(call()) for _ in range(STREAM)])
        return {"y": y} | by_name(state)

    return Job(call, outputs)


def by_name(state: Any) -> Arrays:
    """The state as ``h``, and ``c`` where there is one, each (1, B, H)."""
    return {name: np.asarray(part)[None] for name, part in zip("hc", state, strict=False)}


def build(name: str, threads: int) -> Jax:
    """JAX; the parent's environment and the process's cores say how many threads it has."""
    return Jax()
