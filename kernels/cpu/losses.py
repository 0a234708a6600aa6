"""The twin of ``minirnn.layers.losses.cross_entropy``: softmax, loss and gradient, row by row."""

from math import log
from typing import NamedTuple

from minirnn.kernels.cpu.activations import exp
from minirnn.kernels.cpu.compiling import inline, kernel
from minirnn.kernels.cpu.memory import at, get, integers, lanes, load, numbers, put, reader, real, store
from minirnn.kernels.cpu.rows import begin
from minirnn.kernels.cpu.vectors import highest, larger, total


class Rows(NamedTuple):
    """Sizes and addresses."""

    rows: int
    V: int
    logits: int  # (rows, V)
    targets: int  # (rows) int64
    losses: int  # (rows) to fill
    dlogits: int  # (rows, V) to fill
    scale: int  # as float64, its bits


read = reader(Rows)


@inline
def largest_of(row, V):
    """The largest number of a row; any of them if one is NaN."""
    width = lanes(row)
    if width > V:
        largest, first = get(row, 0), 1
    else:
        best = load(row, 0, None)
        for j in range(width, V - width + 1, width):
            best = larger(best, load(row, j, None))
        largest, first = highest(best), V // width * width
    for j in range(first, V):
        a = get(row, j)
        largest = a if a > largest else largest  # noqa: FURB136 - max of Numba's would look for NaN
    return largest


@kernel("cross-entropy")
def cross_entropy(like, arguments, part, parts, sync):
    """losses = log Σ exp(logits) - logits[target];  dlogits = (softmax(logits) - onehot(target)) · scale."""
    a = read(arguments)
    V, scale = a.V, real(a.scale, like)
    for r in range(begin(a.rows, part, parts), begin(a.rows, part + 1, parts)):
        row, out = at(numbers(a.logits, like), r * V), at(numbers(a.dlogits, like), r * V)
        width = lanes(row)
        whole, largest, summed = V // width * width, largest_of(row, V), load(row, 0, 0)  # no lanes: zeros
        for j in range(0, whole, width):
            e = exp(load(row, j, None) - largest)
            store(e, out, j, None)
            summed = summed + e
        if whole < V:
            store(exp(load(row, whole, V - whole) - largest), out, whole, V - whole)
            summed = summed + load(out, whole, V - whole)  # lanes past the row's end are 0 again
        sum_of_row = total(summed)
        target = get(integers(a.targets), r)
        put(log(sum_of_row) + (largest - get(row, target)), numbers(a.losses, like), r)
        by = scale / sum_of_row
        for j in range(0, whole, width):
            store(load(out, j, None) * by, out, j, None)
        for j in range(whole, V):
            put(get(out, j) * by, out, j)
        put(get(out, target) - scale, out, target)
