"""The base of everything else: arrays and backends, weights, the base of all layers.

    layer.py       the base of all layers: input is checked, a forward pass returns its backward pass
    module.py      the half of it that owns weights: names, copies, freezing, what ``repr`` shows
    run.py         what layers hand to one another inside a model
    backward.py    the backward pass, as the caller holds it
    unchanged.py   whether x and the weights are still those of the forward pass
    edge.py        arrays from outside: conversion, order of axes
    lengths.py     rows of several lengths in one array
    stream.py      single steps, with a state of their own
    noise.py       dropout's masks, from a counter-based generator
    parameters.py  the flat vectors of weights and gradients
    arrays.py      what an array is, to a type checker
    lazy.py        names of a package that are imported when they are first asked for
    backend.py     numpy, numba, cupy, cuda: where numbers live and what computes them
    bfloat16.py    numbers rounded to it, and matrices that round in products
    protocol.py    what a cell is
    tracing.py     what a cell does to one unit, for kernels
    zones.py       zoneout around it
    drawn.py       what was traced, held against the cell
    graph.py       operations that were done to symbols
    symbolic.py    arrays of symbols, which a cell is run on
    tree.py        states as nested tuples of arrays
    files.py       model files: the error for a bad one, warnings, written whole or not at all
    display.py     HTML for a notebook's outputs
    interrupts.py  Ctrl-C on the command line
    version.py     the version's number

Nothing here imports what stands on it, but for ``Layer.stream`` and ``quantize``, when they are called.
"""
