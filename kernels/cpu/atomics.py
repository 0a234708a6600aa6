"""Operations on a number that other threads look at, and how a thread waits."""

import os
import platform

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

I64 = ir.IntType(64)
# what tells a processor that it waits for another; it saves energy, and time for a sibling on the same core
RELAX = {"x86_64": "llvm.x86.sse2.pause", "amd64": "llvm.x86.sse2.pause"}.get(platform.machine().lower())
LOOKS = 64  # between two offers of the processor to whoever else wants it


@intrinsic
def look(typingctx, pointer):
    """The number there, with everything that was written before it was."""

    def codegen(context, builder, sig, args):
        return builder.load_atomic(args[0], "acquire", 8, typ=I64)

    return types.int64(pointer), codegen


@intrinsic
def show(typingctx, pointer, value):
    """Write a number; whoever looks at it sees what was written before, too."""

    def codegen(context, builder, sig, args):
        builder.store_atomic(args[1], args[0], "release", 8)
        return context.get_dummy_value()

    return types.void(pointer, types.int64), codegen


@intrinsic
def add(typingctx, pointer, value):
    """Add to a number."""

    def codegen(context, builder, sig, args):
        builder.atomic_rmw("add", args[0], args[1], "acq_rel")
        return context.get_dummy_value()

    return types.void(pointer, types.int64), codegen


@intrinsic
def swap(typingctx, pointer, old, new):
    """Replace ``old`` by ``new``; whether it was ``old``."""

    def codegen(context, builder, sig, args):
        return builder.extract_value(builder.cmpxchg(*args, "acq_rel", "acquire"), 1)

    return types.boolean(pointer, types.int64, types.int64), codegen


@intrinsic
def wait(typingctx, waits):
    """Wait for a few nanoseconds, now and then for whoever else wants the processor; returns ``waits`` + 1."""

    def codegen(context, builder, sig, args):
        if RELAX:
            relax = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, relax, RELAX), [])
        following = builder.add(args[0], ir.Constant(I64, 1))
        if os.name == "posix":
            with builder.if_then(
                builder.icmp_signed("==", builder.urem(following, ir.Constant(I64, LOOKS)), ir.Constant(I64, 0))
            ):
                offer = ir.FunctionType(ir.IntType(32), [])
                builder.call(cgutils.get_or_insert_function(builder.module, offer, "sched_yield"), [])
        return following

    return types.int64(types.int64), codegen
