"""The machine's limits: multiplications and additions a second, when nothing has to be loaded or stored.

Every library's matrix products end in one of these instructions.  Measured in the same run as the contestants, since a
processor's clock is not the same from one minute to the next.  A processor that lacks one has no such meter.
"""

import platform
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from llvmlite import binding, ir
from numba import njit
from numba import types as numba_types
from numba.core import cgutils as numba_cgutils
from numba.extending import intrinsic as numba_intrinsic
from numba.np import arrayobj

from benchmarks.cases import Case
from benchmarks.inputs import Arrays
from benchmarks.peers import BF16, F4, INT8, METERS, Job, UnsupportedError

# numba's own types say less than is true of these
types: Any = numba_types
cgutils: Any = numba_cgutils
intrinsic: Any = numba_intrinsic
make_array: Any = arrayobj.make_array

SECONDS = 0.01  # about as long as one call of the kernel takes


class BFloat(ir.Type):  # type: ignore[misc]
    """LLVM's bfloat, which llvmlite has no name for."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BFloat)

    def __hash__(self) -> int:
        return hash(BFloat)


class Instruction(NamedTuple):
    """sum + factor · factor, or several products, in each lane of 32 bits.

    ``name`` is in the processor's manual, ``feature`` and ``function`` are LLVM's.  A lane has one ``total`` and
    ``factors`` of LLVM's type ``factor``, and does so many ``operations``.
    """

    name: str
    feature: str
    function: str
    total: Any
    factor: Any
    factors: int
    operations: int


# FMA is fused where the processor can, a multiplication and an addition where it cannot: never a call to libm
INSTRUCTIONS = {
    F4: Instruction("FMA", "", "llvm.fmuladd.v{lanes}f32", ir.FloatType(), ir.FloatType(), 1, 2),
    BF16: Instruction("vdpbf16ps", "avx512bf16", "llvm.x86.avx512bf16.dpbf16ps.512", ir.FloatType(), BFloat(), 2, 4),
    # LLVM has the four bytes that a lane multiplies as one integer
    INT8: Instruction("vpdpbusd", "avx512vnni", "llvm.x86.avx512.vpdpbusd.512", ir.IntType(32), ir.IntType(32), 1, 8),
}


def vector() -> tuple[int, int]:
    """Lanes of 32 bits of the widest vector, and how many of them to keep busy at once.

    More independent sums than latency times units of any processor (10 to 16), and fewer than it has registers, since
    two more are needed.
    """
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 16, 24
    if features.get("avx2") or features.get("fma"):
        return 8, 12
    return 4, 24 if platform.machine().lower() in ("aarch64", "arm64") else 12


def compile_kernel(chosen: Instruction, lanes: int, sums: int) -> Any:
    """``kernel(data, count)``: sums[k] = sums[k] + m · a, ``count`` times, for all ``sums`` vectors of ``data``; FMA's
    are sums[k] · m + a, which tend to a limit.

    ``data`` holds them, then m and a; different values, which the compiler does not know, keep it from merging sums.
    """

    def loop(typing_context: Any, data: Any, count: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            data, count = arguments
            i64, wide = ir.IntType(64), ir.VectorType(chosen.total, lanes)
            factor = ir.VectorType(chosen.factor, lanes * chosen.factors)
            kind = ir.FunctionType(wide, [wide, factor, factor])
            name = chosen.function.format(lanes=lanes)
            multiply_add = cgutils.get_or_insert_function(builder.module, kind, name)

            def place(k: int) -> Any:
                pointer = builder.gep(data, [ir.Constant(i64, k * lanes)])
                return builder.bitcast(pointer, ir.PointerType(wide))

            def load(k: int) -> Any:
                value = builder.load(place(k))
                value.align = 4
                return value

            start = [load(k) for k in range(sums)]
            m, a = (builder.bitcast(load(k), factor) for k in (sums, sums + 1))
            before = builder.block
            body, done = builder.append_basic_block("body"), builder.append_basic_block("done")
            builder.branch(body)
            builder.position_at_end(body)
            step = builder.phi(i64)
            step.add_incoming(ir.Constant(i64, 0), before)
            accumulators = [builder.phi(wide) for _ in range(sums)]
            for phi, value in zip(accumulators, start, strict=True):
                phi.add_incoming(value, before)
            new = [builder.call(multiply_add, [phi, m, a]) for phi in accumulators]
            following = builder.add(step, ir.Constant(i64, 1))
            step.add_incoming(following, body)
            for phi, value in zip(accumulators, new, strict=True):
                phi.add_incoming(value, body)
            builder.cbranch(builder.icmp_signed("<", following, count), body, done)
            builder.position_at_end(done)
            for k, value in enumerate(new):
                builder.store(value, place(k)).align = 4
            return context.get_dummy_value()

        return types.void(types.CPointer(types.float32), types.intp), generate

    def address(typing_context: Any, array: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return make_array(signature.args[0])(context, builder, arguments[0]).data

        return types.CPointer(types.float32)(array), generate

    inner, pointer = intrinsic(loop), intrinsic(address)

    def kernel(data: Any, count: Any) -> None:
        inner(pointer(data), count)

    return njit([types.void(types.float32[::1], types.intp)], nogil=True)(kernel)


class Peak:
    """The kernel on all threads at once.  ``info``: ``operations`` of one call of all, ``bits`` of the vectors."""

    def __init__(self, chosen: Instruction, threads: int) -> None:
        if chosen.feature and not binding.get_host_cpu_features().get(chosen.feature):
            raise UnsupportedError(f"the processor has no {chosen.feature}")
        lanes, sums = vector()
        kernel = compile_kernel(chosen, lanes, sums)
        data = [np.linspace(0.0, 1.0, (sums + 2) * lanes, dtype=np.float32) for _ in range(threads)]
        for part in data:
            part[sums * lanes :] = 0.5  # FMA's sums tend to 1, far from what is slow to compute with
        pool = ThreadPoolExecutor(threads)
        kernel(data[0], 1000)
        start = time.perf_counter()
        kernel(data[0], 100_000)
        count = max(1, round(SECONDS / (time.perf_counter() - start) * 100_000))
        operations = float(chosen.operations * lanes * sums * count * threads)
        self.info: dict[str, str | float] = {"operations": operations, "bits": 32 * lanes, "instruction": chosen.name}
        self.call = lambda: list(pool.map(lambda part: kernel(part, count), data))

    def prepare(self, case: Case, arrays: Arrays) -> Job:
        """The same for every case."""
        return Job(self.call, dict)


def build(name: str, threads: int) -> Peak:
    """The meter called ``name``, for ``threads`` threads."""
    (kind,) = (kind for kind, meter in METERS.items() if meter == name)
    return Peak(INSTRUCTIONS[kind], threads)
