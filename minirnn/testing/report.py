"""The report of a check of gradients: rows of numbers, a table of them, and the error that carries it."""

from dataclasses import dataclass

import numpy as np

from minirnn.core.arrays import Array

HEAD = ("gradient of", "shape", "through", "method", "largest error", "largest derivative")
WORST = 3  # arrays, and entries of each, that a failing report spells out


class GradientError(AssertionError):
    """A gradient differs from the derivative; the message is the report."""


class NotFiniteError(ValueError):
    """The forward pass or its derivative overflows, so there is no derivative to compare a gradient with."""


@dataclass(frozen=True)
class Row:
    """One array's gradient against one method: the largest error, the largest |derivative|, and the worst entries.

    Where all arrays were moved at once, along one random direction, ``error`` is that of the derivative along it, the
    same for all of them, and ``scale`` is the largest |gradient|; ``worst`` is then empty.
    """

    name: str
    shape: tuple[int, ...]
    cotangents: str  # which outputs f depends on: "y", "state" or "y + state"
    method: str  # "complex step" or "difference"
    error: float
    scale: float
    tolerance: float
    worst: tuple[tuple[tuple[int, ...], float, float], ...]  # index, gradient, derivative

    @property
    def ok(self) -> bool:
        """|g - derivative| <= tolerance · max(1, |derivative|), by largest entries; NaN is not."""
        return self.error <= self.tolerance * max(1.0, self.scale)

    @property
    def cells(self) -> tuple[str, ...]:
        """What a table shows of it, under ``HEAD``."""
        return self.name, str(self.shape), self.cotangents, self.method, f"{self.error:.1e}", f"{self.scale:.1e}"


@dataclass(frozen=True, repr=False)
class Report:
    """All rows of a check.  ``str(report)`` is a table, followed by the worst entries of each row that failed.

    ``holomorphic`` is False where differences contradicted the complex step, and were believed instead of it.
    """

    rows: tuple[Row, ...]
    holomorphic: bool = True

    @property
    def ok(self) -> bool:
        """True if every gradient agrees."""
        return all(row.ok for row in self.rows)

    def __repr__(self) -> str:
        wrong = [row.name for row in self.rows if not row.ok]
        said = f"wrong: {', '.join(dict.fromkeys(wrong))}" if wrong else "ok" if self.ok else "not ok"
        return f"<{type(self).__name__}: {len(self.rows)} rows, {said}>"

    def _repr_html_(self) -> str:
        """A table, for a notebook."""
        from minirnn.core.display import table  # what is imported for a notebook only

        return table(
            (*HEAD, "verdict"), [(*r.cells, "right" if r.ok else "WRONG") for r in self.rows], below=self.words
        )

    @property
    def words(self) -> tuple[str, ...]:
        """What is said below the table."""
        return ()

    def error(self, method: str) -> float:
        """The largest error by ``method``, each relative to max(1, |derivative|)."""
        return max((row.error / max(1.0, row.scale) for row in self.rows if row.method == method), default=0.0)

    def __str__(self) -> str:
        head = (*HEAD, "")
        rows = [head, *((*r.cells, "" if r.ok else "WRONG") for r in self.rows)]
        widths = [max(len(line[k]) for line in rows) for k in range(len(head))]
        lines = ["  ".join(word.ljust(w) for word, w in zip(line, widths, strict=True)).rstrip() for line in rows]
        wrong = sorted((r for r in self.rows if not r.ok), key=lambda r: -r.error / max(1.0, r.scale))
        for r in wrong[:WORST]:
            lines.append(f"{r.name} through {r.cotangents} by {r.method}, worst entries (allowed {r.tolerance:.0e}):")
            lines += [f"  {list(index)}: gradient {g:+.6e}, derivative {d:+.6e}" for index, g, d in r.worst]
        return "\n".join(lines)


def row_of(
    name: str,
    shape: tuple[int, ...],
    through: str,
    method: str,
    *,
    picked: Array,
    g: Array,
    d: Array,
    off: Array,
    tolerance: float,
) -> Row:
    """The row of an array of which the ``picked`` entries have gradients g and derivatives d, ``off`` apart."""
    scale = float(np.abs(d).max(initial=0.0))
    bound = tolerance * max(1.0, scale)
    order = [k for k in np.argsort(-np.nan_to_num(off, nan=np.inf))[:WORST] if not off[k] <= bound]
    index = [tuple(int(n) for n in np.unravel_index(picked[k], shape)) for k in order]
    return Row(
        name=name,
        shape=shape,
        cotangents=through,
        method=method,
        error=float(off.max(initial=0.0)),
        scale=scale,
        tolerance=tolerance,
        worst=tuple((at, float(g[k]), float(d[k])) for at, k in zip(index, order, strict=True)),
    )
