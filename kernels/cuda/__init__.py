"""Kernels for NVIDIA's GPUs, compiled by CuPy when they are first needed.

    emitting.py  a cell's equations on one unit of one row, from its operations (``kernels/facts.py``)
    scan.cu      one step of a stage of a layer, forward and backward
    updates.cu   clipping, SGD, Adam: decided on the device
    updates.py   the same from Python
    launch.py    what is compiled, and how arguments are packed

The sources are plain C++ but for a few words, which a header can give a meaning on a processor.  Nothing here imports
the rest of minirnn; a cell comes as ``CellFacts``.
"""
