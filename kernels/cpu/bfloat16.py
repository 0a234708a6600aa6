"""bfloat16 in kernels: float32 rounded to 8 bits of mantissa, stored as the upper half of its 32 bits.

A kernel made with ``bf16=True`` multiplies such numbers and adds in float32.  The right-hand matrices of its products
are packed as int16 with a bfloat16's bits, which a tile widens by a shift; of the left-hand ones it rounds a copy.  How
they are stored is in the types of pointers: a packed matrix behind one to int16 is bfloat16, others are as they were.

A product of two bfloat16 is exact in float32.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minirnn.kernels.cpu.memory import load_vector, store_vector
from minirnn.kernels.cpu.vectors import Vector

HALF = 16  # bits that are stored, and those that are not
BF16 = "-bf16"  # in names of kernels


def is_bf16(pointer):
    """Whether Numba's type of a pointer says that it is to bfloat16."""
    return pointer.dtype == types.int16


def _integer(like, bits):
    """LLVM's integers of so many bits, one or as many as ``like`` has lanes."""
    one = ir.IntType(bits)
    return ir.VectorType(one, like.count) if isinstance(like, ir.VectorType) else one


def _whole(kind, number):
    """An integer constant in every lane."""
    return ir.Constant(kind, [number] * kind.count if isinstance(kind, ir.VectorType) else number)


def _upper_half(builder, value):
    """The bits of float32 numbers with the lower half rounded away: to nearest, ties to even; NaN stays NaN."""
    kind = _integer(value.type, 32)
    bits, half = builder.bitcast(value, kind), _whole(kind, HALF)
    odd = builder.and_(builder.lshr(bits, half), _whole(kind, 1))
    nearest = builder.add(builder.add(bits, _whole(kind, 0x7FFF)), odd)
    quiet = builder.or_(bits, _whole(kind, 0x400000))  # or one whose upper half has no mantissa would become infinity
    chosen = builder.select(builder.fcmp_unordered("uno", value, value), quiet, nearest)
    return builder.and_(chosen, _whole(kind, 0xFFFF0000))


def rounded(builder, value):
    """float32 numbers rounded to bfloat16, as float32."""
    return builder.bitcast(_upper_half(builder, value), value.type)


def narrowed(builder, value):
    """float32 numbers as a bfloat16's bits."""
    kind = _integer(value.type, HALF)
    wide = _integer(value.type, 32)
    return builder.trunc(builder.lshr(_upper_half(builder, value), _whole(wide, HALF)), kind)


def widened(builder, bits, kind):
    """A bfloat16's bits as float32 numbers of LLVM's type ``kind``."""
    wide = _integer(bits.type, 32)
    return builder.bitcast(builder.shl(builder.zext(bits, wide), _whole(wide, HALF)), kind)


def load_stored(builder, pointer, vec, kind):
    """A vector of numbers from memory; ``kind`` is Numba's type of a pointer, which says how they are stored there."""
    if not is_bf16(kind):
        return load_vector(builder, pointer, vec)
    bits = _integer(vec, HALF)
    value = builder.load(builder.bitcast(pointer, ir.PointerType(bits)), typ=bits)
    value.align = 2
    return widened(builder, value, vec)


def store_stored(builder, value, pointer, kind, written=None):
    """The counterpart of load_stored: all lanes, or none where ``written``, which is their number or 0, is 0."""
    if not is_bf16(kind):
        store_vector(builder, value, pointer, written)
        return
    if written is not None:
        with builder.if_then(builder.icmp_signed("!=", written, ir.Constant(written.type, 0))):
            store_stored(builder, value, pointer, kind)
        return
    bits = narrowed(builder, value)
    builder.store(bits, builder.bitcast(pointer, ir.PointerType(bits.type))).align = 2


@intrinsic
def in_bfloat16(typingctx, pointer):
    """Whether a pointer is to bfloat16; known when compiling."""
    answer = is_bf16(pointer)

    def codegen(context, builder, sig, args):
        return ir.Constant(ir.IntType(1), int(answer))

    return types.boolean(pointer), codegen


@intrinsic
def bits_at(typingctx, address, like):
    """Pointer to bfloat16 numbers, from an address; ``like`` is a number, as ``memory.numbers`` has it."""

    def codegen(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(sig.return_type))

    return types.CPointer(types.int16)(types.intp, like), codegen


@intrinsic
def bfloat16_at(typingctx, address, i, like):
    """The i-th bfloat16 from an address on, in the dtype of ``like``."""

    def codegen(context, builder, sig, args):
        place = builder.gep(builder.inttoptr(args[0], ir.PointerType(ir.IntType(HALF))), [args[1]])
        value = widened(builder, builder.load(place, typ=ir.IntType(HALF)), ir.FloatType())
        return value if like.bitwidth == 32 else builder.fpext(value, ir.DoubleType())

    return like(types.intp, types.intp, like), codegen


@intrinsic
def recast(typingctx, pointer, other):
    """``pointer`` as one to what ``other`` points to."""

    def codegen(context, builder, sig, args):
        return builder.bitcast(args[0], context.get_value_type(sig.return_type))

    return other(pointer, other), codegen


@intrinsic
def as_stored(typingctx, value, pointer):
    """A number or a vector, rounded to what ``pointer`` points to."""
    rounds = is_bf16(pointer)

    def codegen(context, builder, sig, args):
        value = args[0]
        return rounded(builder, value) if rounds else value

    return value(value, pointer), codegen


@intrinsic
def store_packed(typingctx, value, pointer, i):
    """Write a vector to ``pointer[i:]`` as what it points to."""
    kind = Vector(types.float32) if is_bf16(pointer) else Vector(pointer.dtype)

    def codegen(context, builder, sig, args):
        value, place, i = args
        store_stored(builder, value, builder.gep(place, [i]), pointer)
        return context.get_dummy_value()

    return types.void(kind, pointer, types.intp), codegen
