"""Memory for kernels: addresses, pointers, and vectors loaded from memory and stored to it.

Kernel arguments are int64 addresses (``passes.py``).  ``reader`` reads a block of them as a NamedTuple, ``numbers`` and
its kin make pointers of them, ``load`` and ``store`` move as many neighbouring numbers as fit into one register.
"""

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from minirnn.kernels.cpu.vectors import VECTOR_BYTES, Vector, constant, mask, scalar_type, splat, vector_type

_LAYOUT = llvm.create_target_data("")


@intrinsic
def address(typingctx, array):
    """Where an array's first entry lies in memory."""

    def codegen(context, builder, sig, args):
        data = make_array(sig.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, ir.IntType(64))

    return types.intp(array), codegen


@intrinsic
def numbers(typingctx, address, like):
    """Pointer to numbers of the dtype of ``like``, from an address."""

    def codegen(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(sig.return_type))

    return types.CPointer(like)(types.intp, like), codegen


@intrinsic
def integers(typingctx, address):
    """Pointer to int64 numbers, from an address."""

    def codegen(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(sig.return_type))

    return types.CPointer(types.int64)(types.intp), codegen


@intrinsic
def bytes_at(typingctx, address):
    """Pointer to int8 numbers, from an address."""

    def codegen(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(sig.return_type))

    return types.CPointer(types.int8)(types.intp), codegen


def reader(kind):
    """An intrinsic that reads a NamedTuple of int64 from an address."""

    @intrinsic
    def read(typingctx, address):
        block = types.NamedUniTuple(types.int64, len(kind._fields), kind)

        def codegen(context, builder, sig, args):
            pointer = builder.inttoptr(args[0], ir.PointerType(ir.IntType(64)))
            places = [builder.gep(pointer, [ir.Constant(ir.IntType(64), k)]) for k in range(len(block))]
            return context.make_tuple(builder, block, [builder.load(p, typ=ir.IntType(64)) for p in places])

        return block(types.intp), codegen

    return read


@intrinsic
def real(typingctx, bits, like):
    """A float64 from its bits, rounded to the dtype of ``like``."""

    def codegen(context, builder, sig, args):
        value = builder.bitcast(args[0], ir.DoubleType())
        return builder.fptrunc(value, ir.FloatType()) if like.bitwidth == 32 else value

    return like(types.int64, like), codegen


@intrinsic
def lanes(typingctx, pointer):
    """Numbers in one vector of what ``pointer`` points to, at most as float32 has them; known when compiling."""
    n = VECTOR_BYTES * 8 // max(32, pointer.dtype.bitwidth)

    def codegen(context, builder, sig, args):
        return ir.Constant(ir.IntType(64), n)

    return types.intp(pointer), codegen


@intrinsic
def at(typingctx, pointer, i):
    """``pointer`` moved on by ``i`` entries."""

    def codegen(context, builder, sig, args):
        return builder.gep(args[0], [args[1]])

    return pointer(pointer, types.intp), codegen


def _masked(builder, name, vec, signature):
    ending = f"v{vec.count}f{32 if isinstance(vec.element, ir.FloatType) else 64}.p0"
    return cgutils.get_or_insert_function(builder.module, signature, f"llvm.masked.{name}.{ending}")


def load_vector(builder, pointer, vec, count=None):
    """A vector from memory that need not be aligned: all lanes, or the first ``count`` and 0 in the others."""
    here, size = builder.bitcast(pointer, ir.PointerType(vec)), vec.element.get_abi_size(_LAYOUT)
    if count is None:
        value = builder.load(here, typ=vec)
        value.align = size
        return value
    lanes, align = mask(builder, vec, count), ir.Constant(ir.IntType(32), size)
    function = _masked(builder, "load", vec, ir.FunctionType(vec, [here.type, align.type, lanes.type, vec]))
    return builder.call(function, [here, align, lanes, constant(vec, 0.0)])


def store_vector(builder, value, pointer, count=None):
    """The counterpart of load_vector; memory behind the other lanes is left alone."""
    vec = value.type
    here, size = builder.bitcast(pointer, ir.PointerType(vec)), vec.element.get_abi_size(_LAYOUT)
    if count is None:
        builder.store(value, here).align = size
        return
    lanes, align = mask(builder, vec, count), ir.Constant(ir.IntType(32), size)
    void = ir.FunctionType(ir.VoidType(), [vec, here.type, align.type, lanes.type])
    builder.call(_masked(builder, "store", vec, void), [value, here, align, lanes])


@intrinsic
def load(typingctx, pointer, i, count):
    """A vector from ``pointer[i:]``: all lanes if ``count`` is None, else the first ``count``, and 0 in the others."""
    kind, whole = Vector(pointer.dtype), isinstance(count, types.NoneType)

    def codegen(context, builder, sig, args):
        pointer, i, count = args
        return load_vector(builder, builder.gep(pointer, [i]), vector_type(kind.dtype), None if whole else count)

    return kind(pointer, types.intp, count if whole else types.intp), codegen


@intrinsic
def store(typingctx, value, pointer, i, count):
    """Write a vector to ``pointer[i:]``: all lanes if ``count`` is None, else the first ``count``."""
    kind, whole = Vector(pointer.dtype), isinstance(count, types.NoneType)

    def codegen(context, builder, sig, args):
        value, pointer, i, count = args
        store_vector(builder, value, builder.gep(pointer, [i]), None if whole else count)
        return context.get_dummy_value()

    return types.void(kind, pointer, types.intp, count if whole else types.intp), codegen


@intrinsic
def spread(typingctx, pointer, value):
    """A vector of equal numbers, of the dtype that ``pointer`` points to."""
    kind = Vector(pointer.dtype)

    def codegen(context, builder, sig, args):
        return splat(builder, args[1], vector_type(kind.dtype))

    return kind(pointer, pointer.dtype), codegen


@intrinsic
def fetch(typingctx, pointer, i):
    """Have the line of memory around ``pointer[i]`` brought into the second cache: it will soon be used."""

    def codegen(context, builder, sig, args):
        i32, place = ir.IntType(32), builder.gep(args[0], [args[1]])
        kind = ir.FunctionType(ir.VoidType(), [place.type, i32, i32, i32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [place, *(ir.Constant(i32, n) for n in (0, 2, 1))])  # to read, second cache, data
        return context.get_dummy_value()

    return types.void(pointer, types.intp), codegen


@intrinsic
def get(typingctx, pointer, i):
    """``pointer[i]``, one number."""

    def codegen(context, builder, sig, args):
        return builder.load(builder.gep(args[0], [args[1]]), typ=context.get_value_type(pointer.dtype))

    return pointer.dtype(pointer, types.intp), codegen


@intrinsic
def put(typingctx, value, pointer, i):
    """``pointer[i] = value``, one number."""

    def codegen(context, builder, sig, args):
        value, pointer, i = args
        builder.store(value, builder.gep(pointer, [i]))
        return context.get_dummy_value()

    return types.void(pointer.dtype, pointer, types.intp), codegen


@intrinsic
def zero(typingctx, pointer):
    """0 in the dtype of what ``pointer`` points to."""

    def codegen(context, builder, sig, args):
        return ir.Constant(scalar_type(pointer.dtype), 0.0)

    return pointer.dtype(pointer), codegen
