"""Kernels for processors, compiled by Numba when they are first needed.

    vectors.py      registers as a type: arithmetic, loads and stores     compiling.py   decorators, the cache on disk
    activations.py  tanh, sigmoid, exp                                    threads.py     how many threads
    tiles.py        matrix products on register tiles                     pool.py        the threads, from Python
    steps.py        the cells' equations on vectors                       team.py        the same in compiled code
    rows.py         rows, and threads' shares of them                     atomics.py     what team.py is made of
    scans.py        a layer's pass forward and backward                   leases.py      memory on loan
    products.py     Linear                                                passes.py      what a pass is told
    losses.py       cross-entropy                                         runtime.py     what the rest of minirnn calls
    updates.py      clipping, SGD, Adam

None of it knows anything of minirnn but the names of cells.
"""
