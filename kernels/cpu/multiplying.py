"""How a tile multiplies entries, of every kind (``entries.py``): by an instruction where a processor has one for it."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minirnn.kernels.cpu.bfloat16 import HAS_BFLOAT16, as_bfloat, integer_like, member, whole
from minirnn.kernels.cpu.entries import COPIED_LEFT, DEPTHS, ENTRY_BYTES, kind_of
from minirnn.kernels.cpu.memory import load_vector
from minirnn.kernels.cpu.vectors import (
    AARCH64,
    CONTRACT,
    FEATURES,
    VECTOR_BYTES,
    Vector,
    called,
    scalar_type,
    splat,
    vector_type,
)

HAS_QUADS = VECTOR_BYTES == 64 and "avx512vnni" in FEATURES
QUADS = "llvm.x86.avx512.vpdpbusd.512"
# int16: a[2 n] b[2 n] + a[2 n + 1] b[2 n + 1]
SHORTS = {64: "llvm.x86.avx512.pmaddw.d.512", 32: "llvm.x86.avx2.pmadd.wd", 16: "llvm.x86.sse2.pmadd.wd"}
HAS_SHORTS = not AARCH64 and (VECTOR_BYTES < 64 or "avx512bw" in FEATURES)
PAIRS = "llvm.x86.avx512bf16.dpbf16ps.512"


def load_right(builder, place, vec, kind):
    """A vector of entries of the right-hand matrix, from a line of its; of float16 they are widened."""
    if kind == "full":
        return load_vector(builder, place, vec)
    entries = ir.VectorType(ir.IntType(8 * ENTRY_BYTES[kind]), vec.count)
    value = builder.load(builder.bitcast(place, entries.as_pointer()), typ=entries)
    value.align = ENTRY_BYTES[kind]
    return _widened(builder, value, vec) if kind == "f16" else value


def load_left(builder, place, vec, kind):
    """One entry of a row of the left-hand matrix, in every lane."""
    if kind not in COPIED_LEFT:
        return splat(builder, builder.load(place, typ=vec.element), vec)
    entries = ir.VectorType(ir.IntType(32), vec.count)
    return splat(builder, builder.load(place, typ=entries.element), entries)


def multiply_add(builder, left, right, total, kind):
    """total + left · right, of entries' numbers one after the other."""
    if kind == "int8":
        return _add_quads(builder, left, right, total)
    vec = total.type
    if kind == "bf16" and HAS_BFLOAT16:
        pairs = [as_bfloat(builder, entries) for entries in (left, right)]
        return called(builder, PAIRS, [total, *pairs], vec)
    both = [(left, right)]
    if kind == "bf16":
        both = [tuple(member(builder, entries, place, vec) for entries in (left, right)) for place in (1, 0)]
    for one, other in both:
        name = f"llvm.fmuladd.v{vec.count}f{32 if isinstance(vec.element, ir.FloatType) else 64}"
        total = called(builder, name, [one, other, total], vec, CONTRACT)
    return total


def begin_sums(builder, initial, end, kind):
    """What a tile's sum begins with: the vector ``initial()``; of int8 what stands in the line after ``end``."""
    return (
        load_right(builder, end(1), ir.VectorType(ir.FloatType(), VECTOR_BYTES // 4), kind)
        if kind == "int8"
        else initial()
    )


def end_sums(builder, total, initial, end, factor, kind):
    """A tile's result from its sum: of int8 in the column's and the row's units; ``factor`` is where that lies."""
    if kind != "int8":
        return total
    first = initial()
    scale = load_vector(builder, builder.bitcast(end(0), first.type.element.as_pointer()), first.type)
    place = builder.bitcast(factor, first.type.element.as_pointer())
    unit = builder.fmul(scale, splat(builder, builder.load(place, typ=first.type.element), first.type))
    return builder.fadd(first, builder.fmul(builder.sitofp(total, first.type), unit))


def _widened(builder, halves, vec):
    """A float16's bits as float32; without an instruction for it in integers, which does for every finite number."""
    if AARCH64 or "f16c" in FEATURES:
        return builder.fpext(builder.bitcast(halves, ir.VectorType(ir.HalfType(), vec.count)), vec)
    i32 = integer_like(vec, 32)
    bits = builder.zext(halves, i32)
    sign = builder.shl(builder.and_(bits, whole(i32, 0x8000)), whole(i32, 16))
    rest = builder.shl(builder.and_(bits, whole(i32, 0x7FFF)), whole(i32, 13))
    size = builder.fmul(builder.bitcast(rest, vec), whole(vec, 2.0**112))
    return builder.bitcast(builder.or_(builder.bitcast(size, i32), sign), vec)


def _add_quads(builder, left, right, total):
    """total + the sum of four products of uint8 and int8, as int32."""
    if HAS_QUADS:
        return called(builder, QUADS, [total, left, right], total.type)
    shorts, count = ir.VectorType(ir.IntType(16), 2 * total.type.count), total.type.count
    left, right, eight = builder.bitcast(left, shorts), builder.bitcast(right, shorts), whole(shorts, 8)
    even = builder.and_(left, whole(shorts, 255)), builder.ashr(builder.shl(right, eight), eight)
    odd = builder.lshr(left, eight), builder.ashr(right, eight)
    for one, other in (even, odd):
        if HAS_SHORTS:
            total = builder.add(total, called(builder, SHORTS[VECTOR_BYTES], [one, other], total.type))
            continue
        for k in (0, 1):
            order = ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(k, 2 * count, 2)))
            a, b = (builder.sext(builder.shuffle_vector(v, v, order), total.type) for v in (one, other))
            total = builder.add(total, builder.mul(a, b))
    return total


def _number(builder, entries, place, kind, vec):
    """Numbers from entries: of those with several the one with the number ``place``."""
    if kind == "full":
        return entries
    if kind == "f16":
        return entries  # widened when they were loaded
    bits = ir.Constant(place.type, 32 // DEPTHS[kind])
    down = builder.sub(ir.Constant(place.type, 32), builder.mul(builder.add(place, ir.Constant(place.type, 1)), bits))
    i32 = integer_like(vec, 32)
    down = builder.trunc(down, ir.IntType(32))
    down = splat(builder, down, i32) if isinstance(vec, ir.VectorType) else down
    upper = builder.shl(entries, down)  # the number's bits, and those before it
    if kind == "bf16":
        return builder.bitcast(builder.and_(upper, whole(i32, 0xFFFF0000)), vec)
    return builder.sitofp(builder.ashr(upper, whole(i32, 24)), vec)


@intrinsic
def row_vector(typingctx, panel, shift, place, end, like):
    """A vector of one row of a matrix, as numbers: from entry ``shift`` of a panel on, of an entry's numbers ``place``.

    ``end`` is the place of the same columns in the line behind the matrix, where int8 has scales.
    """
    kind = kind_of(panel)

    def codegen(context, builder, sig, args):
        panel, shift, place, end, _ = args
        vec = vector_type(like)
        value = _number(builder, load_right(builder, builder.gep(panel, [shift]), vec, kind), place, kind, vec)
        if kind == "int8":
            scale = builder.bitcast(builder.gep(panel, [end]), vec.element.as_pointer())
            value = builder.fmul(value, load_vector(builder, scale, vec))
        return value

    return Vector(like)(panel, types.intp, types.intp, types.intp, like), codegen


@intrinsic
def number_at(typingctx, panel, shift, place, end, like):
    """The same of one number."""
    kind = kind_of(panel)

    def codegen(context, builder, sig, args):
        panel, shift, place, end, _ = args
        one, where = scalar_type(like), builder.gep(panel, [shift])
        if kind == "full":
            return builder.load(where, typ=one)
        value = builder.load(where, typ=ir.IntType(8 * ENTRY_BYTES[kind]))
        if kind == "f16":  # as a vector, since LLVM may widen a single one by a call
            pair = builder.insert_element(whole(ir.VectorType(value.type, 2), 0), value, ir.Constant(ir.IntType(32), 0))
            wide = _widened(builder, pair, ir.VectorType(one, 2))
            return builder.extract_element(wide, ir.Constant(ir.IntType(32), 0))
        value = _number(builder, value, place, kind, one)
        if kind == "int8":
            scale = builder.bitcast(builder.gep(panel, [end]), one.as_pointer())
            value = builder.fmul(value, builder.load(scale, typ=one))
        return value

    return like(panel, types.intp, types.intp, types.intp, like), codegen
