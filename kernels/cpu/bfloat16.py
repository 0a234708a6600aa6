"""bfloat16: float32 rounded to 8 bits of mantissa, of which the upper half of its 32 bits is stored.

LLVM's types and instructions of it; kernels know it as a kind of entries (``entries.py``).
"""

from llvmlite import ir

from minirnn.kernels.cpu.vectors import FEATURES, VECTOR_BYTES, called

HAS_BFLOAT16 = VECTOR_BYTES == 64 and "avx512bf16" in FEATURES  # instructions for it
INSTRUCTION = (8, 16)  # lanes that LLVM has it for
HALF = 16  # bits that are stored, and those that are not


class _BFloat(ir.Type):
    """LLVM's bfloat, which llvmlite does not have."""

    def _to_string(self):
        return "bfloat"

    def __eq__(self, other):
        return isinstance(other, _BFloat)

    def __hash__(self):
        return hash("bfloat")


def integer_like(kind, bits):
    """LLVM's integers of so many bits, one or as many as ``kind`` has lanes."""
    one = ir.IntType(bits)
    return ir.VectorType(one, kind.count) if isinstance(kind, ir.VectorType) else one


def whole(kind, number):
    """An integer constant in every lane."""
    return ir.Constant(kind, [number] * kind.count if isinstance(kind, ir.VectorType) else number)


def _upper_half(builder, value):
    """The bits of float32 numbers with the lower half rounded away: to nearest, ties to even; NaN stays NaN."""
    kind = integer_like(value.type, 32)
    bits, half = builder.bitcast(value, kind), whole(kind, HALF)
    odd = builder.and_(builder.lshr(bits, half), whole(kind, 1))
    nearest = builder.add(builder.add(bits, whole(kind, 0x7FFF)), odd)
    quiet = builder.or_(bits, whole(kind, 0x400000))  # or one whose upper half has no mantissa would become infinity
    chosen = builder.select(builder.fcmp_unordered("uno", value, value), quiet, nearest)
    return builder.and_(chosen, whole(kind, 0xFFFF0000))


def rounded(builder, value):
    """float32 numbers rounded to bfloat16, as float32."""
    return builder.bitcast(_upper_half(builder, value), value.type)


def _halves(builder, value):
    """A vector of float32 numbers as a bfloat16's bits; the instruction takes 0 for those below 2**-126."""
    bits, count = integer_like(value.type, HALF), value.type.count
    if not HAS_BFLOAT16:
        wide = integer_like(value.type, 32)
        return builder.trunc(builder.lshr(_upper_half(builder, value), whole(wide, HALF)), bits)
    lanes = next(n for n in INSTRUCTION if n >= count)
    if lanes > count:
        value = _lanes(builder, value, lanes)
    name = f"llvm.x86.avx512bf16.cvtneps2bf16.{32 * lanes}"
    result = called(builder, name, [value], ir.VectorType(_BFloat(), lanes))
    halves = builder.bitcast(result, ir.VectorType(ir.IntType(HALF), lanes))
    return _lanes(builder, halves, count) if lanes > count else halves


def _lanes(builder, value, count):
    """The first ``count`` lanes of a vector; past its own anything."""
    order = [min(k, value.type.count - 1) for k in range(count)]
    return builder.shuffle_vector(value, value, ir.Constant(ir.VectorType(ir.IntType(32), count), order))


def paired(builder, one, other):
    """float32 numbers, and as many others, as pairs of bfloat16 in 32 bits: ``one`` is in the lower half."""
    kind = integer_like(one.type, 32)
    lower, upper = (builder.zext(_halves(builder, value), kind) for value in (one, other))
    return builder.or_(lower, builder.shl(upper, whole(kind, HALF)))


def neighbours_paired(builder, value):
    """A vector of float32 numbers as half as many pairs of neighbours."""
    return builder.bitcast(_halves(builder, value), ir.VectorType(ir.IntType(32), value.type.count // 2))


def member(builder, pairs, place, kind):
    """The first or second of each pair, as ``place`` is 0 or 1, in float32 of LLVM's type ``kind``."""
    if place:
        return builder.bitcast(builder.and_(pairs, whole(pairs.type, 0xFFFF0000)), kind)
    return builder.bitcast(builder.shl(pairs, whole(pairs.type, HALF)), kind)


def as_bfloat(builder, pairs):
    """Pairs as the vector of bfloat that an instruction takes."""
    return builder.bitcast(pairs, ir.VectorType(_BFloat(), 2 * pairs.type.count))
