"""Entries of packed matrices: what stands at one place of a line, and how a tile multiplies it.

    full   a number of the dtype that a kernel computes in
    f16    a float16, widened in a register
    bf16   two bfloat16 in 32 bits, neighbours in k
    int8   four int8 in 32 bits, neighbours in k

What a matrix has is in the type of pointers to it, so that one text of a kernel does for every kind: the functions here
look at that type when they are compiled.  A (k, n) matrix has ``lines_of(k)`` lines, one for each entry's depth of k;
past k stand zeros.  A row on the left of a product has entries, too, side by side: of bf16 the same, of int8 four
uint8, else numbers.

bf16: a pair's products are added one after the other, its second first.  So does ``vdpbf16ps``, and where a processor
lacks it, two multiply-adds of widened numbers give the same bits (but of numbers and sums below 2**-126, for which the
instruction takes 0).

int8: a row's numbers are divided by its factor, the largest of them over 127, rounded, and 128 is added.  Products are
summed in int32, modulo 2**32, from -128 times the sum of the column on: their sum cannot leave it.  It is multiplied by
the column's scale and the row's factor.  A panel has two more lines for it, the scales (float32) and what sums begin
with (int32), and a row one more entry, its factor.  Without ``vpdpbusd`` the same integers are added
(``multiplying.py``).
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minirnn.kernels.cpu.bfloat16 import rounded
from minirnn.kernels.cpu.memory import numbers

# Numba's type of what pointers are to; those of "full" are to numbers
ENTRIES = {"f16": types.uint16, "bf16": types.int32, "int8": types.uint32}
DEPTHS = {"full": 1, "f16": 1, "bf16": 2, "int8": 4}  # numbers, neighbours in k, in one entry
PACKED = ("full", "bf16")  # kinds that kernels pack weights to; all are kinds of weights that are stored as they are
COPIED_LEFT = ("bf16", "int8")  # whose rows on the left are copies, in entries of their own
ENDS = {"int8": 2}  # more lines at the end of a panel
ENTRY_BYTES = {"f16": 2, "bf16": 4, "int8": 4}
OFFSET, LARGEST, INT32 = 128, 127, 2**31 - 1  # of int8: what is added to it on the left; the largest; of their sums
SMALLEST = 2.0**-100  # a row with no larger number is one of zeros


def kind_of(pointer):
    """The kind of the entries that Numba's type of a pointer says it is to."""
    return next((kind for kind, entry in ENTRIES.items() if entry == pointer.dtype), "full")


def pointer_to(kind, numbers):
    """Numba's type of pointers to entries of a kind; ``numbers`` is that of the numbers computed in."""
    return types.CPointer(ENTRIES.get(kind, numbers))


def left_of(kind, numbers):
    """Numba's type of pointers to entries of a row on the left of those of a kind."""
    return pointer_to(kind if kind in COPIED_LEFT else "full", numbers)


def entries_at(kind):
    """An intrinsic like ``memory.numbers``, for entries of a kind: a pointer to them, from an address."""
    if kind == "full":
        return numbers

    @intrinsic
    def pointer(typingctx, address, like):
        def codegen(context, builder, sig, args):
            return builder.inttoptr(args[0], context.get_value_type(sig.return_type))

        return pointer_to(kind, like)(types.intp, like), codegen

    return pointer


@intrinsic
def pointer_like(typingctx, address, pointer):
    """An address as a pointer to what another one points to."""

    def codegen(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(sig.return_type))

    return pointer(types.intp, pointer), codegen


@intrinsic
def depth(typingctx, pointer):
    """How many numbers an entry has; known when compiling."""
    count = DEPTHS[kind_of(pointer)]

    def codegen(context, builder, sig, args):
        return ir.Constant(ir.IntType(64), count)

    return types.intp(pointer), codegen


@intrinsic
def ends(typingctx, pointer):
    """How many lines a panel has behind those of the matrix; known when compiling."""
    count = ENDS.get(kind_of(pointer), 0)

    def codegen(context, builder, sig, args):
        return ir.Constant(ir.IntType(64), count)

    return types.intp(pointer), codegen


@intrinsic
def copied_left(typingctx, pointer):
    """Whether rows multiplied with such entries are copies, in entries of their own; known when compiling."""
    answer = kind_of(pointer) in COPIED_LEFT

    def codegen(context, builder, sig, args):
        return ir.Constant(ir.IntType(1), int(answer))

    return types.boolean(pointer), codegen


@intrinsic
def recast(typingctx, pointer, other):
    """``pointer`` as one to what ``other`` points to."""

    def codegen(context, builder, sig, args):
        return builder.bitcast(args[0], context.get_value_type(sig.return_type))

    return other(pointer, other), codegen


@intrinsic
def as_left(typingctx, pointer, other):
    """``pointer`` as one to the entries of rows that are multiplied with those that ``other`` points to."""
    numbers = pointer.dtype if isinstance(pointer.dtype, types.Float) else types.float32

    def codegen(context, builder, sig, args):
        return builder.bitcast(args[0], context.get_value_type(sig.return_type))

    return left_of(kind_of(other), numbers)(pointer, other), codegen


@intrinsic
def as_stored(typingctx, value, pointer):
    """A number or a vector, rounded as it is where it becomes part of what ``pointer`` points to."""
    rounds = kind_of(pointer) == "bf16"

    def codegen(context, builder, sig, args):
        return rounded(builder, args[0]) if rounds else args[0]

    return value(value, pointer), codegen
