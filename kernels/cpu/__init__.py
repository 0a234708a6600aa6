"""Kernels for processors, compiled by Numba when they are first needed.

    vectors.py      registers as a type: arithmetic, loads and stores     compiling.py   decorators
    activations.py  tanh, sigmoid, exp                                    threads.py     how many threads
    packing.py      matrices laid out for the tiles                       pool.py        the threads, from Python
    tiles.py        matrix products on register tiles                     team.py        the same in compiled code
    steps.py        the cells' equations on vectors                       atomics.py     what team.py is made of
    rows.py         rows, and threads' shares of them                     leases.py      memory on loan
    scans.py        a layer's pass forward and backward                   passes.py      what a pass is told
    products.py     Linear                                                runtime.py     what the rest of minirnn calls
    losses.py       cross-entropy                                         cache.py       compiled kernels on disk
    updates.py      clipping, SGD, Adam

None of it knows anything of minirnn but the names of cells.
"""
