"""What a layer is: a pass forward that returns its pass backward, and an edge where input is checked.

A layer's pass forward returns its pass backward::

    y, state, backward = layer.forward(x, state)  # training
    dx, dstate = backward(dy, dstate)  # adds to the gradients of the weights

``backward`` holds what forward saved, so any number may be pending, and composition is calling one after another
(``compose.py``).  ``y, state = layer(x, state)`` is inference: nothing is saved, dropout is off.

Bad input is turned away here, at the edge, before anything is computed; so is padding: with ``lengths``, whatever
stands in ``x`` and ``dy`` past a row's end is replaced by 0 on the way in, and ``y`` and ``dx`` are 0 there on the way
out.  Inside, only the scan (``scan.py``) has to know that a row has ended.
"""

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np

from minirnn.backend import Array, get_backend, get_dtype
from minirnn.padding import check_lengths
from minirnn.parameters import Parameters, Scheme, Spec

State: TypeAlias = Any  # an array, a tuple of arrays, None, or a tuple of those: each layer documents its own
Pull: TypeAlias = Callable[[Array | None, State], tuple[Array | None, State]]
Reader: TypeAlias = Callable[[], Array]  # computes a saved quantity for all steps when someone asks
Saved: TypeAlias = Mapping[str, Reader]


@dataclass(frozen=True)
class Run:
    """What every layer of a model is told about one pass."""

    parameters: Parameters
    training: bool
    call: int  # number of this training pass, for dropout
    past: Array | None = None  # (T, B) True where t >= lengths[b]; None without lengths
    flipped: Array | None = None  # (T, B) the step that a reverse direction reads at t; None without lengths


class Result(NamedTuple):
    """What a layer hands to whoever composes it: ``pull`` is its transpose, ``saved`` names what pull will use."""

    y: Array
    state: State
    pull: Pull
    saved: Saved


class Backward:
    """The pass backward of one forward: ``dx, dstate = backward(dy, dstate)``.

    ``dy`` has y's shape, ``dstate`` the final state's structure; either may be None where the loss does not depend on
    it.  ``dx`` is None for integer input.  Gradients of weights are added to ``model.grads``.  What forward saved is
    released on return; a second call is an error unless the first said ``keep=True``, and then adds a second time.
    """

    def __init__(self, pull: Pull, saved: Saved, parameters: Parameters) -> None:
        self._pull: Pull | None = pull
        self._saved: Saved = saved
        self._parameters = parameters
        self._updates = parameters.updates

    def __call__(
        self, dy: Array | None = None, dstate: State = None, *, keep: bool = False
    ) -> tuple[Array | None, State]:
        pull = self._live()
        if self._updates != self._parameters.updates:
            raise RuntimeError(
                "the optimiser changed the weights after this forward: call backward before step, "
                "or forward again to get gradients at the new weights"
            )
        result = pull(dy, dstate)
        if not keep:
            self._pull, self._saved = None, {}
        return result

    @property
    def saved(self) -> dict[str, Array]:
        """What forward saved, by name (``"1.0.z"``), each for all steps: (T, B, ...)."""
        self._live()
        return {name: read() for name, read in self._saved.items()}

    def _live(self) -> Pull:
        if self._pull is None:
            raise RuntimeError(
                "this backward has run and released what forward saved; the first call may say keep=True"
            )
        return self._pull


class Layer:
    """The base of all layers: parameters, copies, and the edge where input is checked.

    A layer of your own overrides ``specs`` and ``apply``, and of the rest what it needs.
    """

    parameters: Parameters | None = None
    prefix: str = ""
    input_size: int | None = None  # features expected in x; None takes any
    output_size: int | None = None  # features of y; None: as many as x has
    integers: bool = False  # takes integers (indices) in place of features
    floats: bool = True  # takes features
    keeps_time: bool = True  # y has x's steps; False: y is (B, ...)
    timeless: bool = False  # takes (B, features) as well as (T, B, features)

    # ------------------------------------------------------------------ what a layer of its own kind defines

    def specs(self) -> dict[str, Spec]:
        """The layer's own weights by local name."""
        return {}

    def children(self) -> dict[str, "Layer"]:
        """The layers this one is made of, by the name they have in dotted weight names."""
        return {}

    def partners(self) -> tuple["Layer", ...]:
        """Layers elsewhere in the model whose weights this one uses."""
        return ()

    def config(self) -> dict[str, Any]:
        """The constructor's arguments that build this layer again."""
        return {}

    def check_state(self, state: State, batch: int) -> State:
        """``state`` with its arrays admitted and its shapes checked against ``batch`` rows."""
        if state is not None:
            raise ValueError(f"{type(self).__name__} has no state: expected None, got {type(state).__name__}")
        return None

    def apply(self, x: Array, state: State, run: Run) -> Result:
        raise NotImplementedError(f"{type(self).__name__} does not define apply")

    # ------------------------------------------------------------------ parameters

    def init(self, seed: int = 0, *, scheme: Scheme = "uniform", backend: str = "auto", dtype: Any = "float32") -> Self:
        """Allocate the weights of this layer and all in it, draw them from ``seed``, and return the layer.

        ``scheme`` is ``"uniform"`` (torch's), ``"normal"`` (the chapter's: deviation 0.01, biases 0) or
        ``"orthogonal"``; see ``minirnn.parameters.initial``.  The same seed gives the same weights in
        every dtype, to rounding, and on every backend.
        """
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64:
            raise ValueError(f"seed must be an integer from 0 to 2**64 - 1; got {seed!r}")
        inside = list(self.walk())
        for layer in inside:
            for other in layer.partners():
                if not any(other is one for one in inside):
                    raise ValueError(f"{layer.describe()} needs {other.describe()} to be part of the same model")
        chosen = get_backend(backend)
        parameters = Parameters(self.all_specs(), chosen, get_dtype(chosen, dtype), seed)
        parameters.fill(scheme)
        self.bind(parameters)
        return self

    def walk(self) -> Iterator["Layer"]:
        """The layer and all in it, depth first."""
        yield self
        for child in self.children().values():
            yield from child.walk()

    def all_specs(self, prefix: str = "") -> dict[str, Spec]:
        """What this layer and all in it ask for, by dotted name."""
        specs = {prefix + name: spec for name, spec in self.specs().items()}
        for name, child in self.children().items():
            specs |= child.all_specs(f"{prefix}{name}.")
        return specs

    def bind(self, parameters: Parameters, prefix: str = "") -> None:
        """Give this layer, and all in it, the parameters laid out for it."""
        self.parameters, self.prefix = parameters, prefix
        for name, child in self.children().items():
            child.bind(parameters, f"{prefix}{name}.")

    @property
    def bound(self) -> Parameters:
        """The parameters, or an error that says how to get some."""
        if self.parameters is None:
            raise RuntimeError(f"{type(self).__name__} has no weights yet: call init() on the whole model first")
        return self.parameters

    def weight(self, name: str) -> Array:
        return self.bound.view(self.bound.weights, self.prefix + name)

    def grad(self, name: str) -> Array:
        return self.bound.view(self.bound.grads, self.prefix + name)

    def _extent(self) -> slice:
        own = [slot for name, slot in self.bound.slots.items() if name.startswith(self.prefix)]
        return slice(own[0].offset, own[-1].extent.stop) if own else slice(0, 0)

    @property
    def weights(self) -> Array:
        """All weights as one flat vector, written in place: ``model.weights[...] = vector``."""
        return self.bound.weights if self.prefix == "" else self.bound.weights[self._extent()]

    @weights.setter
    def weights(self, value: Array) -> None:
        self.weights[...] = value

    @property
    def grads(self) -> Array:
        """All gradients as one flat vector, laid out as ``weights``."""
        return self.bound.grads if self.prefix == "" else self.bound.grads[self._extent()]

    @grads.setter
    def grads(self, value: Array) -> None:
        self.grads[...] = value

    def named_weights(self, *, gates: bool = False) -> dict[str, Array]:
        """Views of ``weights`` by dotted name: ``"1.0.W"``.

        With ``gates=True`` fused weights come gate by gate under the chapter's names: ``"1.0.W_xz"``, ``"1.0.W_hz"``,
        ``"1.0.b_z"``.  Writing into a view writes the weight: ``model.named_weights()["1.0.b"][...] = 0``.
        """
        return self.bound.named(self.bound.weights, self.prefix, gates=gates)

    def named_grads(self, *, gates: bool = False) -> dict[str, Array]:
        """Views of ``grads`` under the names of ``named_weights``."""
        return self.bound.named(self.bound.grads, self.prefix, gates=gates)

    def zero_grads(self) -> None:
        """Set all gradients to 0."""
        self.grads[...] = 0

    def freeze(self, *names: str) -> Self:
        """Take weights out of training: of the clipping norm, weight decay and updates.

        Each name is a weight (``"1.0.bn"``) or a layer (``"1"``: all of its weights).
        """
        self.bound.freeze([self.prefix + name for name in names], frozen=True)
        return self

    def unfreeze(self, *names: str) -> Self:
        """Undo ``freeze``."""
        self.bound.freeze([self.prefix + name for name in names], frozen=False)
        return self

    def to(self, *, backend: str | None = None, dtype: Any = None) -> Self:
        """A copy of the model, weights included and gradients zero, on another backend or in another dtype."""
        old = self.bound
        if self.prefix:
            raise RuntimeError(f"{type(self).__name__} is part of a larger model: call to() on the whole model")
        chosen = get_backend(backend or old.backend.name)
        new = Parameters(
            {name: slot.spec for name, slot in old.slots.items()},
            chosen,
            get_dtype(chosen, old.dtype if dtype is None else dtype),
            old.seed,
        )
        values = old.weights
        if values.dtype.kind == "c" and new.dtype.kind != "c":
            if values.imag.any():
                raise ValueError(f"weights with imaginary parts do not fit {new.dtype.name}")
            values = values.real
        with old.backend.xp.errstate(over="ignore"):  # looked for below
            new.weights[...] = values.astype(new.dtype)
        if bool(chosen.xp.isinf(new.weights).any()) > bool(chosen.xp.isinf(values).any()):
            raise ValueError(f"a weight is too large for {new.dtype.name}")
        new.frozen, new.calls = set(old.frozen), old.calls
        model = copy.deepcopy(self, {id(old): None})
        model.bind(new)
        return model

    # ------------------------------------------------------------------ the edge

    def forward(self, x: Any, state: State = None, *, lengths: Any = None) -> tuple[Array, State, Backward]:
        """The pass forward of training: ``y``, the final state, and the pass backward.

        ``x`` is (T, B, features) in the model's dtype, or integers (T, B) where the first layer takes indices (an
        Embedding, or any recurrent layer: a one-hot input is its index).  ``state`` is None (zeros, or the layer's
        trainable initial state) or what an earlier pass returned.  ``lengths`` (B,) says how many steps of each row are
        valid, in any order of rows, 0 allowed; what is past them is never used.
        """
        x, state, run = self._admit(x, state, lengths, training=True)
        y, final, pull, saved = self.apply(x, state, run)
        y_shape, batch, past = y.shape, _rows(x), run.past
        xp = self.bound.backend.xp

        def edge(dy: Array | None, dstate: State) -> tuple[Array | None, State]:
            if dy is not None:
                dy = self._admit_floats("dy", dy)
                if dy.shape != y_shape:
                    raise ValueError(f"dy must have the shape of y, {y_shape}; got {dy.shape}")
                if past is not None and self.keeps_time:
                    dy = blank(dy, past)
            dx, dstate = pull(dy, self.check_state(dstate, batch))
            if dx is None and x.dtype.kind in "fc":  # nothing flowed back to x
                dx = xp.zeros(x.shape, x.dtype)
            if dx is not None and past is not None:
                dx = blank(dx, past)
            return dx, dstate

        if past is not None and self.keeps_time:
            y = blank(y, past)
        return y, final, Backward(edge, saved, self.bound)

    def __call__(self, x: Any, state: State = None, *, lengths: Any = None) -> tuple[Array, State]:
        """Inference: ``y`` and the final state.  Dropout is off and nothing is saved; arguments as in ``forward``."""
        x, state, run = self._admit(x, state, lengths, training=False)
        y, final, _, _ = self.apply(x, state, run)
        if run.past is not None and self.keeps_time:
            y = blank(y, run.past)
        return y, final

    def _admit(self, x: Any, state: State, lengths: Any, *, training: bool) -> tuple[Array, State, Run]:
        parameters = self.bound
        x = self._admit_input(x)
        call = parameters.calls
        run = Run(parameters, training, call)
        if lengths is not None:
            if x.ndim < 3 and self.timeless:
                raise ValueError(f"lengths need x of shape (T, B, features); got shape {x.shape}")
            lengths = check_lengths(lengths, *x.shape[:2])
            xp = parameters.backend.xp
            t = xp.arange(x.shape[0])[:, None]
            past = t >= lengths
            run = replace(run, past=past, flipped=xp.where(past, t, lengths - 1 - t))
            x = blank(x, past)
        if x.dtype.kind in "iu" and x.size:
            low, high = int(x.min()), int(x.max())
            if low < 0 or high >= (self.input_size or 0):
                wrong = low if low < 0 else high
                raise ValueError(f"indices must be from 0 to {(self.input_size or 0) - 1}; got {wrong}")
        state = self.check_state(state, _rows(x))
        if training:
            parameters.calls += 1
        return x, state, run

    def _admit_input(self, x: Any) -> Array:
        name = type(self).__name__
        array = self._as_array("x", x)
        if array.dtype.kind in "iu" and self.integers:
            if array.ndim != 2:
                raise ValueError(f"{name} expects integers of shape (T, B); got shape {array.shape}")
        elif not self.floats:
            raise ValueError(f"{name} expects integers of shape (T, B); got {array.dtype} of shape {array.shape}")
        else:
            array = self._admit_floats("x", array)
            features = "features" if self.input_size is None else str(self.input_size)
            steps = (2, 3) if self.timeless else (3,)
            if array.ndim not in steps or self.input_size not in (None, array.shape[-1]):
                also = " or (B, features)" if self.timeless else " or integers (T, B)" if self.integers else ""
                raise ValueError(f"{name} expects x of shape (T, B, {features}){also}; got shape {array.shape}")
        if array.shape[0] == 0 and not (self.timeless and array.ndim == 2):
            raise ValueError(f"{name} expects at least one step; got x of shape {array.shape}")
        return array

    def _as_array(self, what: str, value: Any) -> Array:
        try:
            array: Array = self.bound.backend.xp.asarray(value)
        except ValueError as error:
            raise ValueError(f"{what} must be one rectangular array; got ragged nested lists ({error})") from None
        return array

    def _admit_floats(self, what: str, value: Any) -> Array:
        """``value`` as an array of the model's dtype; only casts that lose nothing are made."""
        array = self._as_array(what, value)
        wanted = self.bound.dtype
        if array.dtype.kind not in "fc" or not np.can_cast(array.dtype, wanted, "safe"):
            raise ValueError(
                f"{what} must be {wanted.name}, the model's dtype; got {array.dtype} "
                f"(convert it with astype, or the model with model.to(dtype=...))"
            )
        return array.astype(wanted, copy=False)

    # ------------------------------------------------------------------ what a reader sees

    def describe(self) -> str:
        """The layer as its constructor call, arguments at their defaults left out."""

        def word(value: Any) -> str:
            if isinstance(value, Layer):
                return value.describe()
            return value.__name__ if isinstance(value, type) else repr(value)

        defaults = {name: p.default for name, p in inspect.signature(type(self)).parameters.items()}
        words = [
            word(value) if defaults[name] is inspect.Parameter.empty else f"{name}={word(value)}"
            for name, value in self.config().items()
            if value != defaults[name]
        ]
        return f"{type(self).__name__}({', '.join(words)})"

    def __repr__(self) -> str:
        """The constructor call, and below it each weight's name, shape and size once there are any."""
        if self.parameters is None:
            return self.describe()
        p = self.parameters
        rows = [(name, str(w.shape), f"{w.size:,}") for name, w in self.named_weights().items()]
        widths = [max((len(row[k]) for row in rows), default=0) for k in range(3)]
        table = [f"  {n:{widths[0]}}  {shape:{widths[1]}}  {size:>{widths[2]}}" for n, shape, size in rows]
        count = sum(w.size for w in self.named_weights().values())
        return "\n".join([self.describe(), *table, f"  {count:,} parameters, {p.dtype.name}, backend {p.backend.name}"])


def _rows(x: Array) -> int:
    """B, for x of shape (T, B, features), (T, B) of integers, or (B, features)."""
    return int(x.shape[-1] if x.dtype.kind in "iu" else x.shape[-2])


def blank(a: Array, past: Array) -> Array:
    """``a`` (T, B, ...) with 0 where ``past`` (T, B) is True; selected, not multiplied, since padding may hold NaN."""
    marks = past.reshape(past.shape + (1,) * (a.ndim - 2))
    out: Array = np.where(marks, a.dtype.type(0), a)
    return out


def check_size(what: str, size: int) -> int:
    """``size`` as an int of at least 1."""
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
        raise ValueError(f"{what} must be an integer of at least 1; got {size!r}")
    return int(size)
