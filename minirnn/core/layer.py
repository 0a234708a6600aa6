"""The base of all layers: a forward pass returns its backward pass, and input is checked at the edge.

    y, state, backward = layer.forward(x, state)  # training
    dx, dstate = backward(dy, dstate)  # adds to the gradients of the weights

``backward`` holds what forward saved, so any number may be pending, and composition is calling one after another
(``layers/compose.py``).  ``y, state = layer(x, state)`` is inference: nothing is saved, dropout is off.

Bad input is refused here, at the edge, before anything is computed.  Padding stops here too: with ``lengths``, ``x``
and ``dy`` past a row's end are replaced by 0 on the way in, and ``y`` and ``dx`` are 0 there on the way out.  Inside,
only the scan (``scan.py``) has to know that a row has ended.
"""

from collections.abc import Callable
from math import isqrt
from numbers import Integral
from typing import Any

import numpy as np

from minirnn.core.backend import Array, check_indices, converted, on_host
from minirnn.core.backward import Backward
from minirnn.core.edge import as_array, as_floats, exchanged, of_order
from minirnn.core.lengths import check_lengths, ends
from minirnn.core.module import Weighted, brief
from minirnn.core.run import Later, Reader, Result, Run, Saved, State
from minirnn.core.run import Pull as Pull  # ``minirnn.base``, the former name of this module, had this and ``joined``
from minirnn.core.run import joined as joined
from minirnn.core.stream import Stream
from minirnn.core.unchanged import Inputs

SQRT = 4  # times √T steps between stored states: fewer would take less memory, but weights are packed for each stretch


class Layer(Weighted):
    """The base of all layers: weights (``Weighted``), the passes, and the edge where input is checked.

    A layer of your own overrides ``specs`` and ``apply``, and of the rest what it needs.
    """

    input_size: int | None = None  # features expected in x; None takes any
    output_size: int | None = None  # features of y; None: as many as x has
    integers: bool = False  # takes integers (indices) in place of features
    floats: bool = True  # takes features
    keeps_time: bool = True  # y has x's steps; False: y is (B, ...)
    timeless: bool = False  # takes (B, features) as well as (T, B, features)

    def apply(self, x: Array, state: State, run: Run) -> Result:
        """The layer's own pass, on input that was checked; composite layers call it of their parts."""
        raise NotImplementedError(f"{type(self).__name__} does not define apply")

    @property
    def reads_ahead(self) -> bool:
        """Whether y at one step depends on later ones."""
        return any(child.reads_ahead for child in self.children().values())

    @property
    def masks(self) -> bool:
        """Whether some layer decides by its input which steps are skipped."""
        return any(child.masks for child in self.children().values())

    @property
    def changes_steps(self) -> bool:
        """Whether y may have another number of steps than x."""
        return any(child.changes_steps for child in self.children().values())

    @property
    def skips(self) -> bool:
        """Whether the layer, after one that masks steps, knows what to do without them."""
        return all(child.skips for child in self.children().values())

    @property
    def takes_lengths(self) -> bool:
        """Whether rows may have several lengths."""
        return all(child.takes_lengths for child in self.children().values())

    def output_lengths(self, lengths: Any) -> Any:
        """How many steps y has of a row of so many: ``lengths`` is a number, or an array of them.

        With ``lengths``, a loss takes ``length_mask(model.output_lengths(lengths), len(y))``.  Most layers keep the
        number of steps; ``Conv1d``, ``MaxPool1d`` and ``AvgPool1d`` say what they make of it.
        """
        return lengths

    def check_steps(self, T: int) -> int:
        """How many steps y has where x has ``T``; ValueError where a layer needs more, or another number."""
        return T

    def state_shapes(self, batch: int) -> list[tuple[int, int, int]]:
        """The shape (places, B, width) of each array of a state of ``batch`` rows; a layer of another kind has none."""
        return []

    def check_state(self, state: State, batch: int, *, cotangent: bool = False) -> State:
        """``state`` with its arrays admitted and its shapes checked against ``batch`` rows.

        In a ``cotangent`` any array of a tuple may be None, for 0.
        """
        if state is not None:
            raise ValueError(f"{type(self).__name__} has no state: expected None, got {type(state).__name__}")
        return None

    def stream(self, batch_size: int = 1) -> Stream:
        """The model as a stream of single steps, with a state of its own for each of ``batch_size`` rows.

        It keeps the weights as they are now.  ValueError for a network that reads in both directions.
        """
        from minirnn.inference.streams import stream_of  # streams stand above layers

        return stream_of(self, check_size("batch_size", batch_size))

    @property
    def batch_first(self) -> bool:
        """Whether calls have the batch first that do not say: set by ``load(..., batch_first=True)``, or by assignment.

        It belongs to a whole model that has weights, and is not saved with it.
        """
        return self.bound.batch_first

    @batch_first.setter
    def batch_first(self, value: bool) -> None:
        if self.prefix:
            raise ValueError(f"batch_first is set for a whole model; {brief(self)} is part of a larger one")
        self.bound.batch_first = bool(value)
        for layer in self.walk():
            layer._prepared_for = None  # noqa: SLF001 - a layer of this model

    # ------------------------------------------------------------------ the edge

    def forward(
        self,
        x: Any,
        state: State = None,
        *,
        lengths: Any = None,
        checkpoint_every: int | str | None = None,
        first_row: int = 0,
        batch_first: bool | None = None,
    ) -> tuple[Array, State, Backward]:
        """The forward pass of training: ``y``, the final state, and the backward pass.

        ``x`` is (T, B, features), floats of any width, which become the model's dtype, or integers (T, B) where the
        first layer takes indices (an Embedding, or any recurrent layer: a one-hot input is its index).  With
        ``batch_first`` x is (B, T, features) or (B, T), and so are y, and backward's dy and dx; states and ``lengths``
        are as without.  None is the model's own ``batch_first``, False where nobody has set it.

        ``state`` is None (zeros, or the layer's trainable initial state) or what an earlier pass returned.  ``lengths``
        (B,) says how many steps of each row are valid, in any order of rows, 0 allowed; what is past them is never
        used.  On a GPU, arrays of NumPy's are copied there; indices that are there already are not checked.  Where
        ``x`` is some of a batch's rows, ``first_row`` says which of them comes first: dropout's masks are those of the
        batch.

        ``checkpoint_every`` turns on gradient checkpointing: recurrent layers store every n-th state only (``"sqrt"``:
        every 4 √T), and backward recomputes the rest.  Gradients are the same but for rounding.  A recurrent layer that
        reads forward recomputes what lies between its layers too; one in both directions stores the y of each.

        ``backward`` reads ``x`` and the weights again: leave them as they are until then (``Backward``).  A ``y`` that
        backward needs cannot be written.
        """
        check_size("first_row", first_row, 0)
        first = self.bound.batch_first if batch_first is None else batch_first
        x, state, run = self._admit(
            x,
            state,
            lengths,
            training=True,
            checkpoint_every=checkpoint_every,
            batch_first=first,
            first_row=first_row,
        )
        inputs = Inputs(self, x)
        y, final, pull, saved, after = self.apply(x, state, run)
        batch, past, xp = _rows(x), run.past, self.bound.backend.xp
        past_y = (after or run).past if self.keeps_time else None
        swapped = first and y.ndim > 2 and self.keeps_time
        y_shape = exchanged(y.shape) if swapped else y.shape

        def edge(dy: Array | None, dstate: State) -> tuple[Array | None, State]:
            if dy is not None:
                dy = as_floats(self.bound.backend, self.bound.dtype, "dy", dy)
                if dy.shape != y_shape:
                    also = ": time and batch are exchanged" if dy.shape == exchanged(y_shape) else ""
                    raise ValueError(f"dy must have the shape of y, {y_shape}; got {dy.shape}{also}")
                if swapped:
                    dy = dy.swapaxes(0, 1)
                if past_y is not None:
                    dy = blank(dy, past_y)
                dy = self._in_dtype("dy", dy)
            dx, dstate = pull(dy, self.check_state(dstate, batch, cotangent=True))
            if dx is None and x.dtype.kind in "fc":  # nothing flowed back to x
                dx = xp.zeros(x.shape, x.dtype)
            if dx is not None and past is not None:
                dx = blank(dx, past)
            dx = dx.copy() if dx is dy and dx is not None else dx
            return (dx.swapaxes(0, 1) if first and dx is not None and dx.ndim > 2 else dx), dstate

        y = y if past_y is None else blank(y, past_y)
        if past is not None:
            saved = each_step(saved, past.shape, lambda a: blank(a, past))
        y = y.copy() if y is x else y
        return (y.swapaxes(0, 1) if swapped else y), final, Backward(edge, saved, inputs)

    def __call__(
        self, x: Any, state: State = None, *, lengths: Any = None, batch_first: bool | None = None
    ) -> tuple[Array, State]:
        """Inference: ``y`` and the final state.  Dropout is off and nothing is saved; arguments as in ``forward``."""
        first = self.bound.batch_first if batch_first is None else batch_first
        x, state, run = self._admit(x, state, lengths, training=False, batch_first=first)
        y, final, _, _, after = self.apply(x, state, run)
        past = (after or run).past if self.keeps_time else None
        y = y if past is None else blank(y, past)
        y = y.copy() if y is x else y
        return (y.swapaxes(0, 1) if first and y.ndim > 2 and self.keeps_time else y), final

    def _admit(
        self,
        x: Any,
        state: State,
        lengths: Any,
        *,
        training: bool,
        checkpoint_every: int | str | None = None,
        batch_first: bool = False,
        first_row: int = 0,
    ) -> tuple[Array, State, Run]:
        parameters, value = self.bound, x
        x = self._admit_input(value, batch_first=batch_first)
        every = 0 if checkpoint_every is None else check_every(checkpoint_every, len(x))
        if training and parameters.dtype.itemsize == 2:
            raise ValueError(
                "float16 is for inference, model(x); a training forward takes float32 or float64: model.to(dtype=...)"
            )
        if training and parameters.quantized:
            raise ValueError(
                f"a model quantised to {parameters.quantized} is for inference, model(x); train the original"
            )
        if training and parameters.inference_only:
            for prefix, why in parameters.inference_only.items():
                if prefix.startswith(self.prefix):
                    raise ValueError(why)
        past = flipped = None
        if x.ndim > 2 or not self.timeless:
            self.check_steps(len(x))
        if lengths is not None:
            if x.ndim < 3 and self.timeless:
                raise ValueError(f"lengths need x of shape (T, B, features); got shape {x.shape}")
            if not self.takes_lengths:
                raise ValueError(f"{brief(self)} takes rows of one length, without lengths")
            try:
                lengths, asarray = check_lengths(lengths, *x.shape[:2]), parameters.backend.xp.asarray
            except ValueError as error:
                likely = np.shape(lengths) == x.shape[:1]
                raise of_order(error, len(x), _rows(x), batch_first=batch_first, likely=likely) from None
            ended, order = ends(lengths, x.shape[0])
            past, flipped = asarray(ended), asarray(order)
            x = blank(x, past)
        if x.dtype.kind in "iu" and on_host(value):  # to look at those on a device would be to wait for it
            index = np.asarray(value)
            index = index.swapaxes(0, 1) if batch_first else index
            check_indices("indices", index if lengths is None else index[~ended], self.input_size or 0)
        elif x.dtype is not parameters.dtype and x.dtype.kind not in "iu":
            x = self._in_dtype("x", x)
        try:
            state = self.check_state(state, _rows(x))
        except ValueError as error:
            likely = self._has_rows(state, len(x))
            raise of_order(error, len(x), _rows(x), batch_first=batch_first, likely=likely) from None
        call = parameters.next_call() if training else 0
        return x, state, Run(parameters, training, call, past, flipped, None, every, first_row)

    def _has_rows(self, state: State, batch: int) -> bool:
        """Whether a state is one of ``batch`` rows."""
        try:
            self.check_state(state, batch)
        except ValueError:
            return False
        return True

    def _admit_input(self, x: object, *, batch_first: bool) -> Array:
        """``x`` with its shape checked and time first; floats are those that came, not yet in the model's dtype."""
        name, axes = type(self).__name__, "B, T" if batch_first else "T, B"
        backend = self.bound.backend
        array = as_array(backend, "x", x)
        listed = not hasattr(x, "dtype") and self.floats and (array.ndim != 2 or not self.integers)
        if array.dtype.kind in "iu" and self.integers and not listed:
            if array.ndim != 2:
                also = f", or floats ({axes}, {self.input_size})" if self.floats else ""
                raise ValueError(
                    f"{name} expects integers of shape ({axes}){also}; got shape {array.shape} of integers"
                )
        elif not self.floats:
            raise ValueError(f"{name} expects integers of shape ({axes}); got {array.dtype} of shape {array.shape}")
        else:
            array = as_floats(backend, self.bound.dtype, "x", x)
            features = "features" if self.input_size is None else str(self.input_size)
            steps = (2, 3) if self.timeless else (3,)
            if array.ndim not in steps or self.input_size not in (None, array.shape[-1]):
                also = " or (B, features)" if self.timeless else f" or integers ({axes})" if self.integers else ""
                order = "" if batch_first else f" (time first; batch_first=True takes (B, T, {features}))"
                raise ValueError(
                    f"{name} expects x of shape ({axes}, {features}){also}; got shape {array.shape}{order}"
                )
        if batch_first and (array.ndim == 3 or array.dtype.kind in "iu"):
            array = array.swapaxes(0, 1)
        if array.shape[0] == 0 and not (self.timeless and array.ndim == 2):
            raise ValueError(f"{name} expects at least one step; got x of shape {array.shape}")
        return array

    def _in_dtype(self, what: str, array: Array) -> Array:
        """Floats in the model's dtype."""
        return array if array.dtype is self.bound.dtype else converted(what, array, self.bound.dtype)

    def _admit_floats(self, what: str, value: object) -> Array:
        """``value`` as an array of the model's dtype."""
        return self._in_dtype(what, as_floats(self.bound.backend, self.bound.dtype, what, value))


def check_every(every: int | str, T: int) -> int:
    """Steps between stored states; ValueError for what is neither a number of steps nor ``"sqrt"``."""
    if isinstance(every, str) and every == "sqrt":
        return SQRT * (isqrt(max(0, T - 1)) + 1)
    if isinstance(every, bool) or not isinstance(every, Integral) or every < 1:
        raise ValueError(f"checkpoint_every must be a number of steps, or 'sqrt'; got {every!r:.60}")
    return int(every)


def _rows(x: Array) -> int:
    """B, for x of shape (T, B, features), (T, B) of integers, or (B, features)."""
    return int(x.shape[-1] if x.dtype.kind in "iu" else x.shape[-2])


def blank(a: Array, past: Array) -> Array:
    """``a`` (T, B, ...) with 0 where ``past`` (T, B) is True; selected, not multiplied, since padding may hold NaN."""
    marks = past.reshape(past.shape + (1,) * (a.ndim - 2))
    out: Array = np.where(marks, a.dtype.type(0), a)
    return out


def over_time(a: Array, shape: tuple[int, ...]) -> bool:
    """Whether a saved quantity has an entry for each of (T, B) steps and rows, and is not (B, features)."""
    return a.shape[:2] == shape and (a.ndim > 2 or a.dtype.kind in "iu")


def each_step(saved: Saved, shape: tuple[int, ...], change: Callable[[Array], Array]) -> Saved:
    """The same readers; what they read for each of (T, B) = ``shape`` steps and rows goes through ``change``."""

    def changed(read: Reader) -> Reader:
        def whole() -> Array:
            a = read()
            return change(a) if over_time(a, shape) else a

        return whole

    return Later(lambda: {name: changed(read) for name, read in saved.items()})


def after_steps(run: Run, lengths: Callable[[Any], Any], T: int) -> Run:
    """``run`` for the layers after one that makes T steps, and ``lengths(n)`` of a row's n, of what it reads."""
    if run.past is None:
        return run
    xp = run.parameters.backend.xp
    past, flipped = ends(lengths((~run.past).sum(axis=0)), T, xp)
    return run._replace(past=past, flipped=flipped)


def check_size(what: str, size: int, least: int = 1) -> int:
    """``size`` as an int of at least ``least``."""
    if isinstance(size, bool) or not isinstance(size, Integral) or size < least:
        raise ValueError(f"{what} must be an integer of at least {least}; got {size!r}")
    return int(size)
