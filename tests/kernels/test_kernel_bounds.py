"""Kernels read and write nothing beside their arrays: an unmapped page lies on either side of each."""

import signal
import subprocess
import sys

import pytest
from interpreters import python

GUARDED = """
import ctypes, json, mmap, sys
from math import prod
import numpy as np

PAGE, libc, maps, end = mmap.PAGESIZE, ctypes.CDLL(None, use_errno=True), [], sys.argv[1] == "end"

def guarded(shape, dtype):
    "Full of NaN, with a page before or after it that cannot be touched."
    shape, dtype = (shape,) if isinstance(shape, int) else shape, np.dtype(dtype)
    size = prod(shape) * dtype.itemsize
    pages = max(1, -(-size // PAGE))
    space = mmap.mmap(-1, (pages + 2) * PAGE)
    maps.append(space)
    start = np.frombuffer(space, np.uint8).ctypes.data
    for page in (start, start + (pages + 1) * PAGE):
        assert libc.mprotect(ctypes.c_void_p(page), PAGE, 0) == 0
    offset = (pages + 1) * PAGE - size if end else PAGE
    a = np.frombuffer(space, dtype, prod(shape), offset).reshape(shape)
    a[...] = np.nan if dtype.kind == "f" else 0
    return a

class Room:
    "A guarded vector in the place of a lease."
    def __init__(self, size, dtype):
        self.vector = guarded((size,), dtype)
        self.start = self.vector.ctypes.data
    def array(self, shape, dtype):
        return self.vector.reshape(shape)

def copied(a):
    b = guarded(a.shape, a.dtype)
    b[...] = a
    return b
"""

CONTROL = """
a = guarded((10,), "f4")
a, step = (a, 4) if end else (a[::-1], -4)
reach = np.lib.stride_tricks.as_strided(a, (12,), (step,))
reach.sum()
"""

PASSES = """
from minirnn import GRU, LSTM, RNN, Linear, SGD, Adam, Sequential
from minirnn.core import backend
from minirnn.core.backend import get_backend
from minirnn.inference import blocks
from minirnn.inference.blocks import BlockedMatrix
from minirnn.recurrent import fast_call as shortcall
from minirnn.kernels.cpu import runtime

class Guarding:
    def __getattr__(self, name):
        return guarded if name == "empty" else getattr(np, name)

SHAPES = (1, 1, 1, 1, 0), (16, 32, 1, 3, 1), (7, 17, 2, 5, 1), (33, 15, 5, 5, 0), (3, 100, 9, 2, 0), (7, 256, 5, 2, 1)

def narrow(rng, keep):
    "Products, layers and streams in entries of fewer bits."
    results = []
    for K, N, rows in ((1, 1, 1), (3, 5, 2), (6, 32, 4), (33, 31, 19), (65, 70, 65)):
        x, W, dy = (keep(rng.normal(size=shape).astype("f4")) for shape in ((rows, K), (K, N), (rows, N)))
        dW, db = keep(np.zeros((K, N), "f4")), keep(np.zeros(N, "f4"))
        results += [runtime.linear(x, W, None, "bf16"), runtime.linear_backward(x, W, dy, dW, db, "bf16"), dW, db]
        V = keep(np.zeros((N, K), "f4")).T
        results += [runtime.linear(x, V, db, "bf16"), runtime.linear_backward(x, W, dy, V, db, "bf16"), V]
        for kind in ("f16", "bf16", "int8"):
            M = BlockedMatrix.of(W, kind, backend=get_backend("numba"))
            results += [x @ M, x @ M[:, N // 2 :]]
    for make in (GRU, lambda *a, **k: LSTM(*a, proj_size=3, **k)):
        for D, H, B, T, both in SHAPES[:4]:
            H = max(H, 4)
            model = make(D, H, bidirectional=bool(both)).init(0, backend="numba")
            x, indices = keep(rng.normal(size=(T, B, D)).astype("f4")), keep(rng.integers(0, D, (T, B)))
            dy = keep(rng.normal(size=(T, B, model.output_size)).astype("f4"))
            y, _, back = model.to(compute="bfloat16").forward(x)
            results += [y, back(dy)[0]]
            for kind in ("f16", "bf16", "int8"):
                small = model.quantize(kind)
                results += [small(x)[0], small(indices)[0]]
                if not both:
                    stream = Sequential(small, Linear(model.output_size, 5).init(0, backend="numba").quantize(kind))
                    stream = stream.stream(B)
                    results += [np.array(stream(x_t)) for x_t in (*x, *indices)]
    return results

def run(guard, dtype):
    rng, results = np.random.default_rng(0), []
    keep = guard or (lambda a: a)
    for make in (RNN, lambda *a, **k: RNN(*a, nonlinearity="relu", **k), GRU, LSTM):
        for D, H, B, T, both in SHAPES:
            model = make(D, H, bidirectional=bool(both)).init(0, backend="numba", dtype=dtype)
            for x in (rng.normal(size=(T, B, D)).astype(dtype), rng.integers(0, D, (T, B))):
                x = keep(x)
                dy = keep(rng.normal(size=(T, B, model.output_size)).astype(dtype))
                y, _, back = model.forward(x)
                results += [y, back(dy)[0], *model.named_grads().values(), model(x)[0]]
                for optimiser in (SGD(model, 0.1), Adam(model, 0.1)):
                    model.grads[...] = 1
                    optimiser.step()
                results += list(model.named_weights().values())
    for K, N, rows in ((1, 1, 1), (5, 32, 4), (32, 16, 3), (33, 31, 19)):
        model = Linear(K, N).init(0, backend="numba", dtype=dtype)
        x, dy = (keep(rng.normal(size=(rows, n)).astype(dtype)) for n in (K, N))
        y, _, back = model.forward(x)
        results += [y, back(dy)[0], *model.named_grads().values()]
        results += runtime.cross_entropy(dy, keep(rng.integers(0, N, rows)), 1.0)
    if dtype == "float32":
        results += narrow(rng, keep)
    return [np.zeros(0) if a is None else np.array(a) for a in results]

plain = [run(None, dtype) for dtype in ("float32", "float64")]
runtime.LEASES.empty = guarded
runtime.LEASES.room = Room
shortcall.np = Guarding()
backend.Backend.zeros = lambda self, size, dtype: copied(np.zeros(size, dtype))
blocks.aligned = lambda shape, dtype: copied(np.zeros(shape, dtype))
inside = [run(copied, dtype) for dtype in ("float32", "float64")]
same = all(np.array_equal(a, b) for p, q in zip(plain, inside) for a, b in zip(p, q, strict=True))
print(json.dumps([same, len(maps) > 500]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="protects pages of memory as Linux does")
@pytest.mark.parametrize("side", ["start", "end"])
def test_kernels_read_and_write_nothing_beside_their_arrays(side: str) -> None:
    """Every array lies at the border of a page that cannot be touched; a program that does ends there."""
    assert python(GUARDED + PASSES, side) == [True, True]
    done = subprocess.run([sys.executable, "-c", GUARDED + CONTROL, side], capture_output=True, check=False)
    assert done.returncode == -signal.SIGSEGV  # it does end
