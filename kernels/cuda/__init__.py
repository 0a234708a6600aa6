"""Kernels for NVIDIA's GPUs, compiled by CuPy when they are first needed.

    cells.cuh    the cells' equations on one unit of one row
    scan.cu      one step of a layer, forward and backward
    updates.cu   clipping, SGD, Adam: decided on the device
    updates.py   the same from Python
    launch.py    what is compiled, and how arguments are packed

The sources are plain C++ but for a few words, which a header can give a meaning on a processor.  None of it knows
anything of minirnn but the names of cells.
"""
