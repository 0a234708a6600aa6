"""Vectors of every width that a processor may have: the same results from narrower ones, and code for NEON."""

import platform
import re
from importlib import import_module
from typing import Any

import llvmlite.binding as llvm
import pytest
from interpreters import python

# modules of kernels/cpu, whose functions have no types
leases, tiles, vectors = (import_module(f"minirnn.kernels.cpu.{name}") for name in ("leases", "tiles", "vectors"))

CONFORMANCE = """
import json
import numpy as np
from minirnn import GRU, LSTM
from minirnn.kernels.cpu import vectors, tiles

errors = []
for layer, dtype in ((GRU(17, 33, bidirectional=True), "float32"), (LSTM(16, 40, 2), "float64")):
    model = layer.init(0, backend="numba", dtype=dtype)
    plain = model.to(backend="numpy", dtype="float64")
    rng = np.random.default_rng(0)
    for T, B in ((1, 1), (3, 2), (5, 13)):
        x = rng.normal(size=(T, B, model.input_size)).astype(dtype)
        y, _, backward = model.forward(x)
        z, _, other = plain.forward(x)
        dy = rng.normal(size=y.shape).astype(dtype)
        pairs = [(y, z), (model(x)[0], z), (backward(dy)[0], other(dy)[0])]
        pairs += zip(model.named_grads().values(), plain.named_grads().values())
        errors += [float(np.abs(a - b).max() / max(1, np.abs(b).max()) / np.finfo(dtype).eps) for a, b in pairs]
print(json.dumps([vectors.VECTOR_BYTES, vectors.REGISTERS, max(errors)]))
"""
OLD: dict[str, Any] = {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse2"}
HASWELL: dict[str, Any] = {
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+avx2,+fma,+avx,+sse4.2,+sse4.1,+ssse3,+sse3,+sse2",
}
HOST = {name for name, there in llvm.get_host_cpu_features().items() if there}
X86 = platform.machine().lower() in ("x86_64", "amd64")
WIDTHS = [(16, 16, OLD), (32, 16, HASWELL)][: 0 if not X86 else 2 if {"avx2", "fma"} <= HOST else 1]
every_width = pytest.mark.parametrize(
    ("width", "registers", "environment"),
    [  # a processor without wider ones runs all other tests with those of 32 bytes
        pytest.param(*one, id=f"{one[0]} bytes", marks=[] if one[0] == 16 or "avx512f" in HOST else pytest.mark.long)
        for one in WIDTHS
    ],
)


def test_vectors_are_as_wide_as_this_processor_has_them() -> None:
    widest = 64 if "avx512f" in HOST else 32 if "avx2" in HOST else 16
    assert widest == vectors.VECTOR_BYTES
    assert leases.ALIGNMENT % widest == 0
    assert bool(WIDTHS) == X86


@every_width
@pytest.mark.slow  # every width is compiled anew
def test_narrower_vectors_give_the_same_results(width: int, registers: int, environment: dict[str, Any]) -> None:
    report = python(CONFORMANCE, **environment)
    assert report[:2] == [width, registers]
    assert report[2] <= 200  # eps


BFLOAT16 = """
import json
import numpy as np
from minirnn import RNN
from minirnn.kernels.cpu import vectors

differences = []
layer = RNN(17, 41, nonlinearity="relu").init(0, backend="numba", compute="bfloat16")
rng = np.random.default_rng(0)
for name, w in layer.named_weights().items():  # whole numbers: their sums are exact in any order
    w[...] = 0 if name.endswith("U") else rng.integers(-300, 301, w.shape)
plain = layer.to(backend="numpy")
for T, B in ((1, 1), (3, 2), (5, 13)):
    x, h = rng.integers(-300, 301, (T, B, 17)).astype("f4"), rng.integers(-300, 301, (1, B, 41)).astype("f4")
    results = []
    for model in (layer, plain):
        model.zero_grads()
        y, _, backward = model.forward(x, h)
        results.append([y, *backward(np.sign(np.sin(np.arange(y.size, dtype="f4"))).reshape(y.shape)), model.grads])
    differences += [float(np.abs(a - b).max()) for a, b in zip(*results)]
print(json.dumps([vectors.VECTOR_BYTES, max(differences), float(np.abs(layer.grads).max())]))
"""


@every_width
@pytest.mark.slow
def test_narrower_vectors_round_to_bfloat16_alike(width: int, registers: int, environment: dict[str, Any]) -> None:
    used, difference, largest = python(BFLOAT16, **environment)
    assert used == width
    assert 0 < largest < 2**24
    assert difference == 0


STREAMS = """
import json
import numpy as np
from minirnn import LSTM, Linear, Sequential
from minirnn.kernels.cpu import vectors

errors = {}
plain = Sequential(LSTM(17, 41), Linear(41, 5)).init(0, backend="numpy")
for kind in ("full", "f16", "bf16", "int8"):
    wanted = plain if kind == "full" else plain.quantize(kind)
    model, rng, worst = wanted.to(backend="numba"), np.random.default_rng(0), 0.0
    for B in (1, 2, 3, 7):
        stream, x = model.stream(B), rng.normal(size=(6, B, 17)).astype("float32")
        y, _ = wanted(x)
        worst = max(worst, *(float(np.abs(stream(x_t) - y_t).max()) for x_t, y_t in zip(x, y)))
        if kind != "full":
            worst = max(worst, float(np.abs(model(x)[0] - y).max()))
    errors[kind] = worst
print(json.dumps([vectors.VECTOR_BYTES, errors]))
"""


@every_width
@pytest.mark.slow
def test_narrower_vectors_give_the_same_streams(width: int, registers: int, environment: dict[str, Any]) -> None:
    used, errors = python(STREAMS, **environment)
    assert used == width
    assert errors["full"] < 1e-6
    assert errors["f16"] < 1e-6
    assert errors["bf16"] < 1e-3  # a number in the middle between two may fall to either side
    assert errors["int8"] < 1e-4  # rows are int16 there


NEON = """
import json, sys
import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core.registry import cpu_target
from minirnn.kernels.cpu import tiles, vectors

bits, stored, rows, panels = map(int, sys.argv[1:])
like = types.float32 if bits == 32 else types.float64
number, i64 = ir.FloatType() if bits == 32 else ir.DoubleType(), ir.IntType(64)
pointer, i = types.CPointer(like), types.intp
packed = types.CPointer(types.int16) if stored == 16 else pointer
kinds = (pointer, i, types.none, packed, i, i, i, pointer, i, pointer, i, i)  # as tile's arguments
sig, codegen = tiles.make_tile(rows, panels)._defn(None, *kinds)
module = ir.Module("tile")
module.triple = "aarch64-linux-gnu"
lines = ir.IntType(16).as_pointer() if stored == 16 else number.as_pointer()
parameters = [lines if n == 3 else number.as_pointer() if k is pointer else i64 for n, k in enumerate(kinds)]
f = ir.Function(module, ir.FunctionType(ir.VoidType(), parameters), "tile")
builder = ir.IRBuilder(f.append_basic_block())
codegen(cpu_target.target_context, builder, sig, f.args)
builder.ret_void()
llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()
machine = llvm.Target.from_triple(module.triple).create_target_machine(cpu="generic", opt=3)
print(json.dumps([vectors.VECTOR_BYTES, machine.emit_assembly(llvm.parse_assembly(str(module)))]))
"""


@pytest.mark.skipif(not X86, reason="where NEON is at home, all other tests run on it")
@pytest.mark.parametrize(("bits", "stored", "lanes"), [(32, 32, "4s"), (64, 64, "2d"), (32, 16, "4s")])
def test_the_tile_compiles_to_fused_multiply_adds_of_neon(bits: int, stored: int, lanes: str) -> None:
    """One instruction for each of the tile's sums at each step of k, and no sum leaves its register."""
    rows, panels = 8, 1
    width, assembly = python(NEON, str(bits), str(stored), str(rows), str(panels), **OLD)
    assert width == 16
    instructions = re.findall(rf"^\s*fmla\s+v\d+\.{lanes}", assembly, re.MULTILINE)
    assert len(instructions) == rows * 2 * panels * (tiles.UNROLL + 1)  # the round of the loop, and the rest of k
    assert not re.search(rf"^\s*fadd\s+v\d+\.{lanes}", assembly, re.MULTILINE)
    loop = max(re.findall(r"^\.LBB\w+:(.*?)b\.\w+\s+\.LBB", assembly, re.MULTILINE | re.DOTALL), key=len)
    assert "fmla" in loop
    assert "[sp" not in loop
