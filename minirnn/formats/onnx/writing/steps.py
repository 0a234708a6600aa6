"""The numbers of steps and rows in a graph, neither of which is known when it is written."""

import copy
from functools import cached_property
from typing import Self

import numpy as np
from onnx import TensorProto

from minirnn.formats.onnx.writing.emitter import Emitter


class Steps:
    """The T steps and B rows of ``x`` (T, B, ...), and which steps of a row are valid.

    ``lengths`` is None or the name of an int32 (B,); ``skip`` None or of a bool (T, B), True where a mask, or a row's
    end, has a step skipped.  What follows from them is emitted when it is first asked for.
    """

    skip: str | None = None

    def __init__(self, e: Emitter, x: str, lengths: str | None) -> None:
        self.e, self.x, self.lengths = e, x, lengths

    def shortened(self, lengths: str) -> Self:
        """The same steps and rows, with other lengths and no mask."""
        other = type(self)(self.e, self.x, lengths)
        other.shape, other.count, other.rows, other.times = self.shape, self.count, self.rows, self.times
        return other

    # ------------------------------------------------------------------ what follows from x and lengths

    @cached_property
    def shape(self) -> str:
        """x's shape."""
        with self.e.within(""):
            return self.e("Shape", self.x)

    @cached_property
    def count(self) -> str:
        """T, as a list of one."""
        with self.e.within(""):
            return self.e("Gather", self.shape, self.e.integers(0))

    @cached_property
    def rows(self) -> str:
        """B, as a list of one."""
        with self.e.within(""):
            return self.e("Gather", self.shape, self.e.integers(1))

    @cached_property
    def times(self) -> str:
        """(T, 1), the number of each step."""
        with self.e.within(""):
            return self.e("Unsqueeze", self.upto(self.count), self.e.integers(1))

    @cached_property
    def ends(self) -> str:
        """``lengths`` in int64, which most operators take."""
        assert self.lengths
        with self.e.within(""):
            return self.e("Cast", self.lengths, to=TensorProto.INT64)

    @cached_property
    def empty(self) -> str:
        """(B, 1), True where a row has no steps."""
        with self.e.within(""):
            none = self.e("Equal", self.ends, self.e.constant(0, np.int64))
            return self.e("Unsqueeze", none, self.e.integers(1))

    @cached_property
    def turning(self) -> str:
        """How many steps of a row change places: one stays where it is, and onnxruntime does not write rows of none."""
        with self.e.within(""):
            return self.e("Max", self.ends, self.e.integers(1))

    @cached_property
    def past(self) -> str:
        """(T, B), True where t >= lengths[b]."""
        with self.e.within(""):
            return self.e("GreaterOrEqual", self.times, self.ends)

    @cached_property
    def past_features(self) -> str:
        """``past`` as (T, B, 1)."""
        with self.e.within(""):
            return self.e("Unsqueeze", self.past, self.e.integers(2))

    # ------------------------------------------------------------------ what is done with it

    def upto(self, count: str) -> str:
        """0, 1 ... up to a list of one number."""
        e = self.e
        return e("Range", e.constant(0, np.int64), e("Squeeze", count), e.constant(1, np.int64))

    def blank(self, a: str) -> str:
        """``a`` (T, B, features) or indices (T, B), 0 past the rows' ends; selected, since padding may hold NaN."""
        if a in self.e.indices:
            return self.e.index("Where", self.past, self.e.constant(0, np.int64), a)
        return self.e("Where", self.past_features, self.e.number(0), a)

    def hidden(self, a: str) -> str:
        """``a`` (T, B, features), 0 at the steps that are skipped, if there is a mask."""
        if not self.skip:
            return a
        return self.e("Where", self.e("Unsqueeze", self.skip, self.e.integers(2)), self.e.number(0), a)

    def skipping(self, skip: str) -> Self:
        """The same with the steps of a mask (T, B) skipped, beside those that are already."""
        known = self.skip or (self.past if self.lengths else None)
        return self._with(self.e("Or", skip, known) if known else skip)

    def reversed(self) -> Self:
        """The same for rows that were flipped."""
        return self._with(self.flip(self.skip)) if self.skip else self

    def _with(self, skip: str) -> Self:
        other = copy.copy(self)
        other.skip = skip
        other.__dict__.pop("gaps", None)
        return other

    @cached_property
    def gaps(self) -> "GapFreeSteps | None":
        """How to do without the steps that a mask skips; None where there is no mask."""
        return GapFreeSteps(self.e, self) if self.skip else None

    def flip(self, a: str) -> str:
        """``a`` (T, B, ...) with each row's steps reversed within its length."""
        e = self.e
        emit = e.index if a in e.indices else e
        if self.lengths:
            return emit("ReverseSequence", a, self.turning, time_axis=0, batch_axis=1)
        last, before = e.integers(-1), e.integers(np.iinfo(np.int64).min)
        return emit("Slice", a, last, before, e.integers(0), last)

    def picked(self, a: str, *, first: bool = False) -> str:
        """The last step of ``a`` (T, B, features) that counts, or the ``first`` one: (B, features)."""
        e = self.e
        if self.skip:
            if first:
                t = e("ReduceMin", e("Where", self.skip, self.count, self.times), axes=[0], keepdims=0)
                t = e("Min", t, e("Sub", self.count, e.integers(1)))
            else:
                t = e("ReduceMax", e("Where", self.skip, e.constant(0, np.int64), self.times), axes=[0], keepdims=0)
        elif self.lengths and not first:
            t = e("Max", e("Sub", self.ends, e.integers(1)), e.integers(0))
        else:
            return e("Gather", a, e.constant(0 if first else -1, np.int64), axis=0)
        b = self.upto(self.rows)
        return e("GatherND", a, e("Concat", *(e("Unsqueeze", k, e.integers(1)) for k in (t, b)), axis=1))

    def shown(self, a: str) -> str:
        """``a`` (B, features), 0 for a row of which no step counts."""
        e = self.e
        if self.skip:
            some = e("ReduceMax", e("Cast", e("Not", self.skip), to=TensorProto.INT32), axes=[0], keepdims=0)
            return e("Where", e("Unsqueeze", e("Cast", some, to=TensorProto.BOOL), e.integers(1)), a, e.number(0))
        return e("Where", self.empty, e.number(0), a) if self.lengths else a


class GapFreeSteps:
    """Rows without their skipped steps: the valid ones gathered to the front, and spread out again.

    ``steps`` are those of the gathered rows: each row's length is the number of its valid steps.
    """

    def __init__(self, e: Emitter, steps: Steps) -> None:
        assert steps.skip
        self.e = e
        valid, skipped = (e("Cast", mask, to=TensorProto.INT64) for mask in (e("Not", steps.skip), steps.skip))
        places = e("Add", steps.times, e("Mul", skipped, steps.count))  # valid steps first; no two are alike
        self.order = e.many("TopK", [places, steps.count], 2, axis=0, largest=0, sorted=1)[1]
        count = e("CumSum", valid, e.constant(0, np.int64))  # of valid steps up to each
        self.before = e("Equal", count, e.constant(0, np.int64))
        self.place = e("Max", e("Sub", count, e.integers(1)), e.integers(0))
        total = e("ReduceSum", valid, e.integers(0), keepdims=0)
        self.steps = steps.shortened(e("Cast", total, to=TensorProto.INT32))

    def gathered(self, a: str) -> str:
        """Each row's valid steps first, in their order."""
        return self._taken(a, self.order)

    def repeated(self, a: str) -> str:
        """Each step's own entry of a gathered ``a``, at a skipped step the one before, at first 0."""
        before = self.e("Unsqueeze", self.before, self.e.integers(2))
        return self.e("Where", before, self.e.number(0), self._taken(a, self.place))

    def _taken(self, a: str, index: str) -> str:
        e = self.e
        if a in e.indices:
            return e.index("GatherElements", a, index, axis=0)
        return e("GatherElements", a, e("Expand", e("Unsqueeze", index, e.integers(2)), e("Shape", a)), axis=0)
