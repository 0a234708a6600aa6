"""Where the threads of one kernel meet."""

import os

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

SPINS = 2000  # looks at the counter before the processor is offered to others


@intrinsic
def barrier(typingctx, sync, phase, parts):
    """Wait until all ``parts`` threads have come here for the ``phase``-th time; returns phase + 1.

    ``sync`` points to an int64 that is 0 when the kernel starts: the arrivals so far.  If it is below 0, somebody will
    never come; what is returned then is below 0 as well.
    """

    def codegen(context, builder, sig, args):
        counter, phase, parts = args
        i64 = ir.IntType(64)
        following = builder.add(phase, ir.Constant(i64, 1))
        result = cgutils.alloca_once_value(builder, following)
        target = builder.mul(following, parts)
        with builder.if_then(builder.icmp_signed(">", parts, ir.Constant(i64, 1))):
            builder.atomic_rmw("add", counter, ir.Constant(i64, 1), "acq_rel")
            look, wait, met = (builder.append_basic_block(name) for name in ("look", "wait", "met"))
            before = builder.block
            builder.branch(look)
            builder.position_at_end(look)
            spins = builder.phi(i64)
            spins.add_incoming(ir.Constant(i64, 0), before)
            seen = builder.load_atomic(counter, "acquire", 8, typ=i64)
            stopped = builder.icmp_signed("<", seen, ir.Constant(i64, 0))
            builder.cbranch(builder.or_(stopped, builder.icmp_signed(">=", seen, target)), met, wait)
            builder.position_at_end(wait)
            if os.name == "posix":
                with builder.if_then(builder.icmp_signed(">", spins, ir.Constant(i64, SPINS))):
                    offer = ir.FunctionType(ir.IntType(32), [])
                    builder.call(cgutils.get_or_insert_function(builder.module, offer, "sched_yield"), [])
            spins.add_incoming(builder.add(spins, ir.Constant(i64, 1)), builder.block)
            builder.branch(look)
            builder.position_at_end(met)
            builder.store(builder.select(stopped, ir.Constant(i64, -1), following), result)
        return builder.load(result, typ=i64)

    return types.intp(sync, types.intp, types.intp), codegen
