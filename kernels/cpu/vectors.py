"""Vectors as wide as the machine's registers, for Numba code: a type, its constants and arithmetic.

Numba leaves it to LLVM to find vectors in scalar loops, which it does for some loops and not for others.  Here a
kernel says what it means: ``load`` (``memory.py``) takes as many neighbouring numbers as fit into one register,
``+ - * /`` work on all of them, and constants and numbers mix with vectors as scalars do with arrays in NumPy.  The
code on top is the same for float32 and float64 and for every width.

The width is what LLVM says of the processor that the code is compiled for (AVX-512, AVX2, NEON, SSE); no processor is
named.  ``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` choose another one, as they do for Numba itself.
"""

import operator

import llvmlite.binding as llvm
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.typeconv import Conversion
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, lower_cast, models, register_model

from minirnn.kernels.facts import COMPARISONS


def _features():
    """The vector extensions of the processor that Numba compiles for."""
    if config.CPU_FEATURES is not None:
        return {word[1:] for word in config.CPU_FEATURES.split(",") if word.startswith("+")}
    return {name for name, there in llvm.get_host_cpu_features().items() if there}


FEATURES = _features()
AARCH64 = llvm.get_process_triple().startswith(("aarch64", "arm64"))
VECTOR_BYTES = 64 if "avx512f" in FEATURES else 32 if "avx2" in FEATURES else 16
REGISTERS = 32 if VECTOR_BYTES == 64 or AARCH64 else 16
CONTRACT = ("contract",)  # a * b + c may be one rounding; nothing else about floats is given up, NaN least of all


class Vector(types.Type):
    """``lanes`` numbers of one dtype in a register."""

    def __init__(self, dtype):
        self.dtype, self.lanes = dtype, VECTOR_BYTES * 8 // dtype.bitwidth
        super().__init__(name=f"Vector({dtype}, {self.lanes})")

    def can_convert_from(self, typingctx, other):
        return Conversion.safe if isinstance(other, types.Number) else None


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, vector_type(fe_type.dtype))


def scalar_type(dtype):
    """LLVM's type of one number."""
    return ir.FloatType() if dtype.bitwidth == 32 else ir.DoubleType()


def vector_type(dtype):
    """LLVM's type of one vector."""
    return ir.VectorType(scalar_type(dtype), VECTOR_BYTES * 8 // dtype.bitwidth)


def called(builder, name, arguments, result, flags=()):
    """A call of one of LLVM's intrinsics."""
    signature = ir.FunctionType(result, [a.type for a in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, name), arguments, fastmath=flags)


def splat(builder, value, vec):
    """A vector of equal numbers."""
    one = builder.insert_element(ir.Constant(vec, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), vec.count), [0] * vec.count)
    return builder.shuffle_vector(one, ir.Constant(vec, ir.Undefined), zeros)


def constant(vec, value):
    """The same constant in every lane."""
    return ir.Constant(vec, [value] * vec.count)


@lower_cast(types.Number, Vector)
def _number_to_vector(context, builder, fromty, toty, value):
    return splat(builder, context.cast(builder, value, fromty, toty.dtype), vector_type(toty.dtype))


def mask(builder, vec, count):
    """Which lanes are among the first ``count``."""
    wide = ir.VectorType(ir.IntType(64), vec.count)
    numbers = ir.Constant(wide, list(range(vec.count)))
    return builder.icmp_signed("<", numbers, splat(builder, count, wide))


# ---------------------------------------------------------------------- arithmetic


def _define(function, instruction):
    @infer_global(function)
    class _Typing(AbstractTemplate):
        def generic(self, args, kws):
            vectors = [a for a in args if isinstance(a, Vector)]
            return signature(vectors[0], vectors[0], vectors[0]) if vectors and len(args) == 2 else None

    @lower_builtin(function, Vector, Vector)
    def _lowering(context, builder, sig, args):
        return getattr(builder, instruction)(*args, flags=CONTRACT)


for _function, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _define(_function, _instruction)


def _vector(*args):
    """The vector type among the types of an intrinsic's arguments; the others are converted to it."""
    return next(a for a in args if isinstance(a, Vector))


def _limiter(name, beyond, meaning):
    """An intrinsic that replaces what lies beyond a limit by the limit, and leaves NaN alone."""

    def limited(typingctx, a, limit):
        kind = _vector(a, limit)

        def codegen(context, builder, sig, args):
            a, limit = args
            return builder.select(builder.fcmp_ordered(beyond, a, limit), limit, a)

        return kind(kind, kind), codegen

    limited.__name__, limited.__doc__ = name, meaning
    return intrinsic(limited)


at_most = _limiter("at_most", ">", "min(a, limit); NaN where ``a`` is NaN.")
at_least = _limiter("at_least", "<", "max(a, limit); NaN where ``a`` is NaN.")


def _larger(builder, a, b):
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _extreme(beyond):
    """What of two is beyond the other, lane by lane; NaN where one is NaN."""

    def choose(builder, a, b):
        chosen = builder.select(builder.fcmp_ordered(beyond, a, b), a, b)
        return builder.select(builder.fcmp_unordered("uno", a, b), builder.fadd(a, b), chosen)

    return choose


def _of_two(name, choose, meaning):
    """An intrinsic of two vectors."""

    def combined(typingctx, a, b):
        def codegen(context, builder, sig, args):
            return choose(builder, *args)

        return a(a, a), codegen

    combined.__name__, combined.__doc__ = name, meaning
    return intrinsic(combined)


larger = _of_two("larger", _larger, "max(a, b), lane by lane; either where one is NaN.")
maximum = _of_two("maximum", _extreme(">"), "max(a, b), lane by lane; NaN where one is NaN.")
minimum = _of_two("minimum", _extreme("<"), "min(a, b), lane by lane; NaN where one is NaN.")


@intrinsic
def first(typingctx, a):
    """The number in the first lane."""

    def codegen(context, builder, sig, args):
        return builder.extract_element(args[0], ir.Constant(ir.IntType(32), 0))

    return a.dtype(a), codegen


@intrinsic
def first_lanes(typingctx, a, count, other):
    """``a`` if ``count`` is None, else its first ``count`` lanes, and ``other`` in those after them."""
    whole = isinstance(count, types.NoneType)

    def codegen(context, builder, sig, args):
        a, count, other = args
        return a if whole else builder.select(mask(builder, a.type, count), a, other)

    return a(a, count if whole else types.intp, a), codegen


@intrinsic
def square_root(typingctx, a):
    """√a."""

    def codegen(context, builder, sig, args):
        vec = args[0].type
        name = f"llvm.sqrt.v{vec.count}f{a.dtype.bitwidth}"
        return builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(vec, [vec]), name), args)

    return a(a), codegen


def _chooser(name, comparison):
    """An intrinsic that chooses, lane by lane, by whether a comparison holds; with NaN it does not."""

    def where(typingctx, a, b, yes, no):
        kind = _vector(a, b, yes, no)

        def codegen(context, builder, sig, args):
            a, b, yes, no = args
            return builder.select(builder.fcmp_ordered(comparison, a, b), yes, no)

        return kind(kind, kind, kind, kind), codegen

    where.__name__, where.__doc__ = f"where_{name}", f"``yes`` where a {comparison} b, else ``no``."
    return intrinsic(where)


where_less, where_less_equal, where_greater, where_greater_equal = (
    _chooser(name, comparison) for name, comparison in COMPARISONS.items()
)


@intrinsic
def round_and_power(typingctx, a):
    """(n, 2**n) for n, the integer nearest to ``a``, which must lie well within the range of exponents.

    Adding 1.5 · 2**23 (2**52 in float64) pushes the fraction of ``a`` out of the mantissa and leaves n in its lowest
    bits; moved to where the exponent stands, and 1.0 added, they are 2**n.
    """
    mantissa, integer = (23, 32) if a.dtype.bitwidth == 32 else (52, 64)

    def codegen(context, builder, sig, args):
        vec = args[0].type
        bits = ir.VectorType(ir.IntType(integer), vec.count)
        magic = constant(vec, 1.5 * 2.0**mantissa)
        moved = builder.fadd(args[0], magic)  # no flags: the order of these two is the point
        n = builder.fsub(moved, magic)
        raised = builder.shl(builder.bitcast(moved, bits), constant(bits, mantissa))
        one = builder.bitcast(constant(vec, 1.0), bits)
        return context.make_tuple(builder, sig.return_type, (n, builder.bitcast(builder.add(raised, one), vec)))

    return types.UniTuple(a, 2)(a), codegen


@intrinsic
def is_single(typingctx, a):
    """Whether a vector or pointer is of float32; known when compiling."""
    single = a.dtype.bitwidth == 32

    def codegen(context, builder, sig, args):
        return cgutils.bool_t(single)

    return types.boolean(a), codegen


def _fold(name, instruction):
    """An intrinsic that folds a vector to one number, halving it until one lane is left: a fixed order."""

    @intrinsic
    def fold(typingctx, a):
        def codegen(context, builder, sig, args):
            value = args[0]
            while value.type.count > 1:
                half = value.type.count // 2
                undef, i32 = ir.Constant(value.type, ir.Undefined), ir.IntType(32)
                parts = [
                    builder.shuffle_vector(value, undef, ir.Constant(ir.VectorType(i32, half), list(lanes)))
                    for lanes in (range(half), range(half, 2 * half))
                ]
                value = instruction(builder, *parts)
            return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

        return a.dtype(a), codegen

    fold.__name__ = name
    return fold


total = _fold("total", lambda builder, a, b: builder.fadd(a, b))
highest = _fold("highest", _larger)
topmost, lowest = _fold("topmost", _extreme(">")), _fold("lowest", _extreme("<"))
