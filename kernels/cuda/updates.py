"""The optimisers' updates of the flat vectors, decided on the device: see ``updates.cu``."""

from collections.abc import Sequence

import cupy

from minirnn.kernels.cuda.launch import FOLDER, Array, Source, launch, types_of

THREADS = 256  # of a block, as in updates.cu
MOST = 256  # blocks that add up squares
SOURCE = Source.of("updates", (FOLDER / "updates.cu").read_text())


def blocks(n: int) -> int:
    """Blocks for n numbers, one a thread."""
    return -(-n // THREADS)


def decide(parts: Sequence[Array], clip: float, step: int, first: Array) -> tuple[Array, Array]:
    """(norm, scale) of gradients: see ``minirnn.optim.on_device.decide``."""
    parts = [g for g in parts if g.size]
    counts = [min(MOST, blocks(g.size)) for g in parts]
    sums, norm, scale = cupy.empty(sum(counts)), cupy.empty(()), cupy.empty(())
    begin = 0
    for g, count in zip(parts, counts, strict=True):
        launch(
            cupy, SOURCE, "squares", types_of(g.dtype), count, THREADS, g=g, n=g.size, sums=sums[begin : begin + count]
        )
        begin += count
    arguments = {"sums": sums, "n": sums.size, "clip": clip, "step": step}
    launch(cupy, SOURCE, "verdict", {}, 1, THREADS, **arguments, norm=norm, scale=scale, first=first)
    return norm, scale


def descend(w: Array, g: Array, rate: float, scale: Array) -> None:
    """w -= rate · scale · g, if ``scale`` is not below 0;  g = 0."""
    launch(
        cupy, SOURCE, "descend", types_of(w.dtype), blocks(w.size), THREADS, w=w, g=g, n=w.size, rate=rate, scale=scale
    )


def adam(w: Array, g: Array, m: Array, v: Array, *, scale: Array, **numbers: float) -> None:
    """Adam's step, if ``scale`` is not below 0, and g = 0; the numbers are those of ``updates.cu``."""
    arrays = {"w": w, "g": g, "m": m, "v": v, "scale": scale}
    launch(cupy, SOURCE, "adam", types_of(w.dtype), blocks(w.size), THREADS, n=w.size, **arrays, **numbers)
