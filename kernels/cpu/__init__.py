"""Kernels for processors, compiled by Numba when they are first needed.

    vectors.py      registers as a type: arithmetic, loads and stores     compiling.py   decorators, the cache on disk
    activations.py  tanh, sigmoid, exp                                    threads.py     the pool of threads
    tiles.py        matrix products on register tiles                     barriers.py    where threads meet
    steps.py        the cells' equations on vectors                       leases.py      memory on loan
    rows.py         rows, and threads' shares of them                     passes.py      what a pass is told
    scans.py        a layer's pass forward and backward                   runtime.py     what the rest of minirnn calls
    products.py     Linear
    losses.py       cross-entropy
    updates.py      clipping, SGD, Adam

None of it knows anything of minirnn but the names of cells.
"""
