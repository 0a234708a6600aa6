"""Kernels for processors, compiled by Numba when they are first needed.

    compiling.py    inline, long, shared, kernel, entry; routines
    cache.py        compiled kernels on disk

    vectors.py      registers as a type: constants, arithmetic
    memory.py       addresses, pointers, vectors loaded and stored
    activations.py  tanh, exp
    bfloat16.py     numbers rounded to it, two by two
    entries.py      what packed matrices hold: float32 or float64, float16, pairs of bfloat16, fours of int8
    multiplying.py  how such entries are multiplied
    packing.py      matrices laid out for the tiles
    tiles.py        matrix products on register tiles
    copies.py       products through a copy of rows, for a cache or to round them
    rows.py         rows, and each thread's share of them

    emitting.py     a cell's equations on vectors, from its operations (``kernels/facts.py``)
    stages.py       those equations on a thread's rows, or its units: a cell's routines, which kernels call by address
    forward.py      a layer's forward pass
    backward.py     its backward pass
    streams.py      one step of a whole network
    products.py     Linear
    losses.py       cross-entropy
    noise.py        masks of dropout and zoneout
    updates.py      clipping, SGD, Adam

    passes.py       kernel arguments, by name
    leases.py       memory on loan
    threads.py      how many threads kernels may use
    atomics.py      what one thread may do to a number that others look at
    team.py         several threads on one kernel, in compiled code
    pool.py         the same threads, from Python
    dispatch.py     the threads for one call, and the call
    stepping.py     the kernels of streams, called once a step
    runtime.py      what the rest of minirnn calls

A compiled kernel takes its arguments as one block (``passes.py``).  The functions that kernels are made of are compiled
into them and take as many arguments as they need, by position: a block would be built and read at every step.  So do
``forward.short`` and the tiles.  Nothing here imports the rest of minirnn; a cell comes as
``CellFacts``.
"""
