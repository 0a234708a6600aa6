"""A layer unrolled in time, drawn as SVG: a box for each step, and in it what each unit was and got.

Left in a box, unit by unit, is h after the step; right the loss's gradient with respect to it.  The bars below are the
norms of these gradients: how much of the loss's gradient arrives there.
"""

from collections.abc import Iterator
from html import escape

import numpy as np

from minirnn.core.backend import Array

MOST_STEPS, MOST_UNITS = 64, 32
ABOVE, BELOW, NOTHING = (27, 138, 75), (138, 63, 176), "#8885"  # of a number, and of one that is not finite
BOX, APART, LEFT, TOP, UNIT, BAR = 26, 12, 6, 22, 7, 44  # in pixels; a bar's height at most


def picture(words: str, h: Array, dh: Array, norms: Array, *, reverse: bool) -> str:
    """The first row of h and dh (T, B, H) and norms (T, B), or as much of it as can be seen, with words above it."""
    sizes = zip(h.shape, (MOST_STEPS, 1, MOST_UNITS), ("steps", "rows", "units"), strict=True)
    cut = [f"first {most} of {size} {what}" for size, most, what in sizes if size > most]
    said = escape(words + (f"; shown: {', '.join(cut)}" if cut else ""))
    T, H = min(h.shape[0], MOST_STEPS), min(h.shape[2], MOST_UNITS)
    h, dh, norms = (np.real(a[:T, :1]).sum(axis=1) for a in (h[..., :H], dh[..., :H], norms))  # of no rows, 0
    bottom = TOP + H * UNIT + 8
    width, height = LEFT + T * (BOX + APART), bottom + BAR + 22
    parts = [part for t in range(T) for part in _step(t, h, dh, norms, reverse=reverse)]
    return (
        f"<div>{said}</div><div>in a box h left, ∂L/∂h right: "
        f'<span style="color:rgb{ABOVE}">■</span> above 0, <span style="color:rgb{BELOW}">■</span> below; '
        f"bars: ‖∂L/∂h‖</div>"
        f'<div style="overflow-x:auto"><svg role="img" aria-label="{said}, unrolled" '
        f'width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-size="10" fill="currentColor" '
        f'text-anchor="middle">{"".join(parts)}</svg></div>'
    )


def _step(t: int, h: Array, dh: Array, norms: Array, *, reverse: bool) -> Iterator[str]:
    """A step's box, the arrow that leads from it, and the bar below it."""
    x, high = LEFT + t * (BOX + APART), h.shape[1] * UNIT
    middle, bottom = x + BOX / 2, TOP + high + 8
    size = float(np.linalg.norm(h[t]))
    yield f"<g><title>t = {t}: ‖h‖ = {size:.4g}, ‖∂L/∂h‖ = {float(norms[t]):.4g}</title>"
    yield f'<text x="{middle}" y="{TOP - 8}">{t}</text>'
    for side, values in ((x, h), (x + BOX / 2, dh)):
        most = _largest(values)
        for unit, value in enumerate(values[t]):
            place = f'x="{side}" y="{TOP + unit * UNIT}" width="{BOX / 2}" height="{UNIT}"'
            yield f'<rect {place} fill="{_colour(float(value), most)}"/>'
    yield f'<rect x="{x}" y="{TOP}" width="{BOX}" height="{high}" fill="none" stroke="currentColor"/>'
    if t + 1 < len(h):
        ahead = "‹" if reverse else "›"
        yield f'<text x="{x + BOX + APART / 2}" y="{TOP + high / 2 + 4}" font-size="14">{ahead}</text>'
    tall = BAR * float(norms[t]) / _largest(norms) if np.isfinite(norms[t]) else BAR
    yield f'<rect x="{x}" y="{bottom + BAR - tall:.1f}" width="{BOX}" height="{tall:.1f}" fill="#a84808"/>'
    yield f'<text x="{middle}" y="{bottom + BAR + 12}" font-size="8">{float(norms[t]):.1g}</text></g>'


def _largest(values: Array) -> float:
    """The largest size of a finite number, or 1 where there is none but 0."""
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max(initial=0.0)) or 1.0


def _colour(value: float, most: float) -> str:
    """The colour of a number, the fainter the smaller it is."""
    if not np.isfinite(value):
        return NOTHING
    red, green, blue = ABOVE if value > 0 else BELOW
    return f"rgba({red},{green},{blue},{abs(value) / most:.2f})"
