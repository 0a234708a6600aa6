"""Several threads on one kernel: how they are called together, meet in it, and wait for the next.

A thread that has just worked looks for more for a fraction of a millisecond, in compiled code and without Python's
lock, before it sleeps: to wake it takes longer than many kernels do.  What threads look at lies in one array of int64,
each number on a cache line of its own:

    the job      addresses of the kernel and of its arguments, number of parts
    sync         arrivals at the kernel's barriers
    done         workers that have finished
    worker k     its state, and which part it does

Nobody waits for a worker that may never come: the leader calls those that are there, and a kernel gives the same bits
for any number of parts.
"""

from minirnn.kernels.cpu.atomics import add, look, show, swap, wait
from minirnn.kernels.cpu.compiling import KERNEL, caller, entry, inline
from minirnn.kernels.cpu.memory import at, get, integers, put

LINE = 8  # int64 on a cache line
FUNCTION, ARGUMENTS, PARTS = 0, 1, 2  # of the job
SYNC, DONE, WORKERS = 1 * LINE, 2 * LINE, 3 * LINE
ASLEEP, READY, CALLED, SENT = 0, 1, 2, 3  # a worker's states
IDLE = 50_000  # looks for work before a worker sleeps: a millisecond or two, longer than a call that went on without it

call = caller(lambda _: KERNEL)


@inline
def barrier(sync, phase, parts):
    """Wait until all ``parts`` threads have come here for the ``phase``-th time; returns phase + 1.

    ``sync`` is the address of a counter that was 0 when the kernel began.
    """
    if parts > 1:
        arrivals, target, waits = integers(sync), (phase + 1) * parts, 0
        add(arrivals, 1)
        while look(arrivals) < target:
            waits = wait(waits)
    return phase + 1


@entry("lead")
def lead(box, function, arguments, most, patience):
    """Run a kernel with up to ``most`` - 1 workers; returns how many threads took part.

    A worker that is not ready after ``patience`` looks is left out.
    """
    if most < 2:
        call(function, (arguments, 0, 1, 0))
        return 1
    job, waits, parts = integers(box), 0, 1
    for k in range(most - 1):
        worker = at(job, WORKERS + k * LINE)
        while waits < patience and look(worker) != READY:
            waits = wait(waits)
        if swap(worker, READY, CALLED):
            put(parts, worker, 1)
            parts += 1
    put(function, job, FUNCTION)
    put(arguments, job, ARGUMENTS)
    put(parts, job, PARTS)
    put(0, job, SYNC)
    put(0, job, DONE)
    for k in range(most - 1):
        worker = at(job, WORKERS + k * LINE)
        if look(worker) == CALLED:
            show(worker, SENT)
    call(function, (arguments, 0, parts, box + 8 * SYNC))
    waits = 0
    while look(at(job, DONE)) < parts - 1:
        waits = wait(waits)
    return parts


@entry("serve")
def serve(box, k):
    """Work for whoever leads, until there has been nothing to do for some time; then the worker is asleep."""
    job, waits = integers(box), 0
    worker = at(job, WORKERS + k * LINE)
    show(worker, READY)
    while True:
        state = look(worker)
        if state == SENT:
            call(get(job, FUNCTION), (get(job, ARGUMENTS), get(worker, 1), get(job, PARTS), box + 8 * SYNC))
            show(worker, READY)
            add(at(job, DONE), 1)
            waits = 0
        else:
            waits = wait(waits)
            if waits >= IDLE and state == READY and swap(worker, READY, ASLEEP):
                return
