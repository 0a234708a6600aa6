"""Vectors of every width that a processor may have: the same results from narrower ones, and code for NEON."""

import platform
import re
from importlib import import_module
from typing import Any

import llvmlite.binding as llvm
import pytest
from interpreters import python
from places import TESTS

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
# registers as wide as this processor's, and none of its instructions for pairs of bfloat16 and fours of int8
PLAIN: dict[str, Any] = {
    "NUMBA_CPU_NAME": "skylake-avx512",
    "NUMBA_CPU_FEATURES": "+avx512f,+avx512bw,+avx512cd,+avx512dq,+avx512vl,+f16c,+bmi2,+bmi,"
    + HASWELL["NUMBA_CPU_FEATURES"],
}
NARROW = {"avx512bf16", "avx512vnni"}
ALL_WIDTHS = [one[2] for one in WIDTHS] + ([PLAIN] if {"avx512f", "avx512bw", "avx512vl"} <= HOST else [])
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
    assert errors["int8"] < 2.0**-6  # what is rounded to int8 may fall to either side, too


SAME_BITS = """
import json
from hashlib import sha256
import numpy as np
from minirnn import GRU, LSTM, RNN, Linear, Sequential
from minirnn.core.backend import get_backend
from minirnn.inference.blocks import BlockedMatrix
from minirnn.kernels.cpu import bfloat16, multiplying, runtime, vectors

rng, found = np.random.default_rng(0), {}

def drawn(*shape):
    return rng.normal(size=shape).astype("f4")

def keep(name, *arrays):
    assert all(np.isfinite(a).all() for a in arrays)
    found[name] = sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()
"""
PRODUCTS = """
import json, sys
import numpy as np
from minirnn.core.backend import get_backend
from minirnn.inference.blocks import BlockedMatrix
from minirnn.kernels.cpu import bfloat16, multiplying, runtime, vectors
sys.path.append(sys.argv[1])
from entry_models import fours, pairs

rng, wrong, count = np.random.default_rng(0), [], 0

def drawn(*shape):
    return rng.normal(size=shape).astype("f4")

def compare(name, found, wanted):
    global count
    count += 1
    if not np.array_equal(found, wanted):
        wrong.append(name)

for rows, K, N in ((1, 3, 5), (2, 33, 70), (4, 64, 64), (13, 45, 31), (70, 130, 97)):
    x, W, V, b, dy = drawn(rows, K), drawn(K, N), drawn(N, K).T, drawn(N), drawn(rows, N)
    for name, w in (("W", W), ("transposed W", V)):
        dW = np.zeros_like(w)
        compare(f"linear {rows} {name}", runtime.linear(x, w, b, "bf16"), pairs(b, x, w))
        dx = runtime.linear_backward(x, w, dy, dW, np.zeros(N, "f4"), "bf16")
        compare(f"dx {rows} {name}", dx, pairs(0.0, dy, w.T))
        compare(f"dW {rows} {name}", dW, pairs(0.0, x.T, dy))
    for kind, model in (("bf16", pairs), ("int8", fours)):
        M = BlockedMatrix.of(W, kind, backend=get_backend("numba"))
        compare(f"{kind} {rows}", x @ M, model(0.0, x, W))
print(json.dumps([vectors.VECTOR_BYTES, bfloat16.HAS_BFLOAT16, multiplying.HAS_QUADS, count, wrong]))
"""
LAYERS = (
    SAME_BITS
    + """
MODELS = {
    "rnn": lambda: RNN(33, 41, bidirectional=True),
    "gru": lambda: GRU(17, 50, 2),
    "before": lambda: GRU(17, 33, reset="before"),
    "lstm": lambda: LSTM(20, 35, proj_size=18),
}
for name, make in MODELS.items():
    model = make().init(0, backend="numba")
    D = model.input_size
    trained = model.to(compute="bfloat16")
    for T, B in ((1, 1), (3, 2), (5, 13)):
        x, indices = drawn(T, B, D), rng.integers(0, D, (T, B))
        trained.zero_grads()
        y, _, backward = trained.forward(x)
        keep(f"{name} {T} training", y, backward(drawn(*y.shape))[0], trained.grads)
        keep(f"{name} {T} indices", trained(indices)[0])
        for kind in ("bf16", "int8"):
            small = model.quantize(kind)
            keep(f"{name} {T} {kind}", small(x)[0], small(indices)[0])
            if name != "rnn":
                top = Linear(model.output_size, 7).init(1, backend="numba")
                stream = Sequential(small, top.quantize(kind)).stream(B)
                keep(f"{name} {T} {kind} stream", *[np.array(stream(x_t)) for x_t in (*x, *indices)])
print(json.dumps([vectors.VECTOR_BYTES, bfloat16.HAS_BFLOAT16, multiplying.HAS_QUADS, found]))
"""
)


@pytest.mark.parametrize("environment", ALL_WIDTHS, ids=[one["NUMBA_CPU_NAME"] for one in ALL_WIDTHS])
@pytest.mark.slow
def test_every_width_gives_the_bits_of_the_models(environment: dict[str, Any]) -> None:
    """Pairs are added in one order, and their products are exact without a fused multiply-add; integers always are."""
    _, pairs, quads, count, wrong = python(PRODUCTS, str(TESTS / "support"), **environment)
    assert not pairs
    assert not quads
    assert count == 40
    assert wrong == []


@pytest.mark.skipif(not HOST >= NARROW, reason="has no instructions for narrow entries that could differ")
@pytest.mark.slow
def test_instructions_for_narrow_entries_give_the_bits_of_widened_numbers() -> None:
    """Outputs, gradients and streams, with the same vectors: nothing but what multiplies entries differs."""
    *with_them, wanted = python(LAYERS)
    *without, found = python(LAYERS, **PLAIN)
    assert with_them == [64, True, True]
    assert without == [64, False, False]
    assert len(wanted) == 4 * 3 * 4 + 3 * 3 * 2
    assert {name for name in wanted if found[name] != wanted[name]} == set()


NEON = """
import json, sys
import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core.registry import cpu_target
from minirnn.kernels.cpu import entries, multiplying, tiles, vectors

bits, kind, rows, panels = int(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:])
multiplying.AARCH64, multiplying.HAS_SHORTS = True, False
like = types.float32 if bits == 32 else types.float64
pointer, i = types.CPointer(like), types.intp
left, packed = entries.left_of(kind, like), entries.pointer_to(kind, like)
kinds = (left, i, types.none, packed, i, i, i, pointer, i, pointer, i, i)  # as tile's arguments
sig, codegen = tiles.make_tile(rows, panels)._defn(None, *kinds)
module = ir.Module("tile")
module.triple = "aarch64-linux-gnu"
context = cpu_target.target_context
parameters = [ir.IntType(64) if k in (i, types.none) else context.get_value_type(k) for k in kinds]
f = ir.Function(module, ir.FunctionType(ir.VoidType(), parameters), "tile")
builder = ir.IRBuilder(f.append_basic_block())
codegen(context, builder, sig, f.args)
builder.ret_void()
llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()
machine = llvm.Target.from_triple(module.triple).create_target_machine(cpu="generic", opt=3)
print(json.dumps([vectors.VECTOR_BYTES, machine.emit_assembly(llvm.parse_assembly(str(module)))]))
"""


@pytest.mark.skipif(not X86, reason="where NEON is at home, all other tests run on it")
@pytest.mark.parametrize(
    ("bits", "kind", "rows", "instruction", "each"),
    [
        pytest.param(32, "full", 8, r"fmla\s+v\d+\.4s", 1, id="float32"),
        pytest.param(64, "full", 8, r"fmla\s+v\d+\.2d", 1, id="float64"),
        pytest.param(32, "f16", 8, r"fmla\s+v\d+\.4s", 1, id="f16"),
        pytest.param(32, "bf16", 4, r"fmla\s+v\d+\.4s", 2, id="bf16"),
        pytest.param(32, "int8", 4, r"smlal2?\s+v\d+\.4s", 4, id="int8"),
    ],
)
def test_the_tile_compiles_to_fused_multiply_adds_of_neon(
    bits: int, kind: str, rows: int, instruction: str, each: int
) -> None:
    """One instruction for each number of an entry, of the tile's sums and steps of k; no sum leaves its register."""
    panels = 1
    width, assembly = python(NEON, str(bits), kind, str(rows), str(panels), **OLD)
    assert width == 16
    instructions = re.findall(rf"^\s*{instruction}", assembly, re.MULTILINE)
    sums = rows * 2 * panels
    assert len(instructions) == sums * each * (tiles.UNROLL + 1)  # the round of the loop, and the rest of k
    assert len(re.findall(r"^\s*fadd\s", assembly, re.MULTILINE)) == (sums if kind == "int8" else 0)  # at the end
    loop = max(re.findall(r"^\.LBB\w+:(.*?)b\.\w+\s+\.LBB", assembly, re.MULTILINE | re.DOTALL), key=len)
    assert re.search(rf"^\s*{instruction}", loop, re.MULTILINE)
    assert "[sp" not in loop
