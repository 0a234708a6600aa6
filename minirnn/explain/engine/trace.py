"""``trace``: a forward and a backward pass of a model, every quantity by name and time."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from minirnn.core.backend import Array, Dtype
from minirnn.core.layer import Layer
from minirnn.core.protocol import matrix_of, name_of, recurrent_bias_of, units_of
from minirnn.core.run import Reader, State
from minirnn.explain.engine.equations import Equation, equations_of
from minirnn.explain.engine.recording import Event, TracedDirection, TracedPass
from minirnn.recurrent.direction import Direction
from minirnn.recurrent.networks import Recurrent


def trace(
    model: Layer,
    x: ArrayLike,
    dy: ArrayLike | None = None,
    state: State = None,
    dstate: State = None,
    *,
    lengths: ArrayLike | None = None,
    dtype: DTypeLike = "float64",
) -> "Trace":
    """Run ``model`` forward on ``x`` and backward from ``dy`` and ``dstate``, and keep every quantity of both.

    Arguments are those of ``model.forward`` and of the backward pass that it returns; ``dy`` None is 0, as ``dstate``
    is.  It runs on a copy on the numpy backend, in ``dtype``: the model and its gradients are left alone.  As in any
    training forward noise is on: masks of dropout are those that the model's next forward will have.

    ValueError where the model has no recurrent layer, or an argument does not fit.
    """
    copied = model.to(backend="numpy", dtype=dtype, compute=np.dtype(dtype).name)
    kind, directions = copied.bound.dtype, list[TracedDirection]()
    for layer in copied.walk():
        if isinstance(layer, Recurrent):
            traced = [TracedDirection(one) for one in layer.directions]
            layer.directions[:] = traced
            directions += traced
    if not directions:
        raise ValueError(f"there is no recurrent layer to trace in {model.describe()}")
    y, final, backward = copied.forward(_cast(x, kind), _cast(state, kind), lengths=lengths, batch_first=False)
    dy = np.zeros(y.shape, kind) if dy is None else _cast(dy, kind)  # with None for both no layer would be gone through
    dx, dinitial = backward(dy, _cast(dstate, kind), keep=True)
    walks = {
        direction.prefix.rstrip("."): Walk(direction, direction.passes[-1], dict(backward.readers))
        for direction in directions
        if direction.passes
    }
    return Trace(y, final, dx, dinitial, dict(copied.named_grads()), walks)


def _cast(value: Any, dtype: Dtype) -> Any:
    """Floating-point arrays in the trace's dtype; all else, and the structure of a state, as it is."""
    if isinstance(value, tuple):
        return tuple(_cast(one, dtype) for one in value)
    return value.astype(dtype) if hasattr(value, "astype") and value.dtype.kind in "fc" else value


class Trace:
    """All that a forward and a backward pass computed.

    ``y``, ``state``, ``dx`` and ``dstate`` are what the two passes returned, ``grads`` the gradients of all weights by
    name, and ``walks`` has the walk through time of each recurrent layer in each direction, by its name in the model:
    ``trace["1.0.reverse"]`` of a ``Sequential``, ``trace["0"]`` of a layer by itself.
    """

    def __init__(
        self, y: Array, state: State, dx: Array | None, dstate: State, grads: dict[str, Array], walks: "dict[str, Walk]"
    ) -> None:
        self.y, self.state, self.dx, self.dstate, self.grads, self.walks = y, state, dx, dstate, grads, walks

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {', '.join(f'{name!r} {walk.words}' for name, walk in self.walks.items())}>"

    def _repr_html_(self) -> str:
        """Every layer, unrolled, for a notebook."""
        return "".join(walk._repr_html_() for walk in self.walks.values())

    def __getitem__(self, name: str) -> "Walk":
        try:
            return self.walks[name]
        except KeyError:
            raise KeyError(
                f"no recurrent layer is called {name!r}; there are {', '.join(map(repr, self.walks))}"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.walks)

    def __len__(self) -> int:
        return len(self.walks)


class Walk:
    """One layer in one direction, through all steps.  ``walk[name]`` is a quantity at every step of x: (T, B, ...).

    Forward, in the names of ``cells.py``: ``x`` the layer's input; ``p`` and ``q`` the products, also gate by
    gate (``p_z``, ``q_z``); ``h`` (and ``c``) the state before the step and ``h1`` (``c1``) after it; and whatever
    the cell's ``step`` assigns: ``r``, ``z``, ``n``, ``m`` ...

    Backward: ``dh1`` and ``dh``, the loss's whole gradient with respect to the state after and before the step, by all
    paths that lead to the loss (``dc1``, ``dc`` likewise; ``direct.h`` is what of ``dh`` came by no product, ``dy``
    what of ``dh1`` came from the layers above); ``dp``, ``dq``, ``dp_z`` ...; and whatever ``unstep`` assigns:
    ``dn``, ``dz``, ``da_n`` ...  Of a name that is assigned twice it is the last value; ``line`` has each.

    A quantity is computed when it is first read, and cached.  Past a row's length all are 0.
    """

    def __init__(self, direction: Direction, passed: TracedPass, readers: dict[str, Reader]) -> None:
        self._direction, self._pass, prefix = direction, passed, direction.prefix
        self._readers = {name.removeprefix(prefix): read for name, read in readers.items() if name.startswith(prefix)}
        self._known: dict[str, Array] = {}
        self.name, self.cell, self.reverse = prefix.rstrip("."), direction.cell, direction.reverse
        self.T, self.B = passed.x.shape[:2]
        self.events: tuple[Event, ...] = tuple(passed.events())
        self.equations: tuple[Equation, ...] = equations_of(self.cell) or self._from_source()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.name!r} {self.words}>"

    def _repr_html_(self) -> str:
        """The layer, unrolled, for a notebook."""
        from minirnn.explain.engine.unrolled import picture  # what is imported for a notebook only

        said = f"{self.name!r} {self.words}"
        return picture(said, self["h1"], self["dh1"], self.norms, reverse=self.reverse)

    @property
    def words(self) -> str:
        """The cell, its size, and what it went through."""
        steps, rows = f"{self.T} step{'s' * (self.T != 1)}", f"{self.B} row{'s' * (self.B != 1)}"
        backwards = ", in reverse" if self.reverse else ""
        return f"{name_of(self.cell)} {self._direction.hidden_size}, {steps} of {rows}{backwards}"

    @property
    def names(self) -> tuple[str, ...]:
        """Of all quantities."""
        return tuple(name for name in self._readers if not name.startswith(("line.", "input.", "output.", "back.")))

    def __getitem__(self, name: str) -> Array:
        if name not in self._known:
            if name not in self._readers:
                raise KeyError(f"{self.name!r} has no {name!r}; it has {', '.join(self.names)}")
            self._known[name] = self._readers[name]()
        return self._known[name]

    def __contains__(self, name: object) -> bool:
        return name in self._readers

    def at(self, t: int, row: int = 0) -> dict[str, Array]:
        """All quantities of one step and row that are as wide as a state or a gate."""
        quantities = {name: self[name] for name in self.names if name != "jacobian"}
        return {name: a[t, row] for name, a in quantities.items() if a.shape[:2] == (self.T, self.B)}

    # ------------------------------------------------------------------ equations

    def line(self, equation: Equation) -> dict[str, Array]:
        """The values of one line of the derivation at every step, by the names on its left: (T, B, ...) each.

        Empty where the code has no such name on a line with that number.
        """
        values: dict[str, Array] = {}
        here = [
            (i, event)
            for i, event in enumerate(self.events)
            if event.backward == equation.backward and set(event.numbers) & set(equation.numbers)
        ]
        alike = [e for e in self.equations if (e.backward, e.numbers) == (equation.backward, equation.numbers)]
        for name in equation.names:
            assigned = [i for i, event in here if event.name == name]
            if assigned:  # by as many lines as there are equations of this number for it, in their order
                nth = [e for e in alike if name in e.names].index(equation)
                values[name] = self[f"line.{assigned[min(nth, len(assigned) - 1)]}"]
            elif name in self._readers:
                values[name] = self[name]
            elif len(here) == 1 and here[0][1].numbers == equation.numbers:  # under another name in the code
                values[name] = self[f"line.{here[0][0]}"]
        return values

    def _from_source(self) -> tuple[Equation, ...]:
        """The lines of a cell whose docstring numbers none: those of its code."""
        return tuple(Equation(e.source, e.numbers, (e.name,), e.backward) for e in self.events)

    # ------------------------------------------------------------------ over time

    @property
    def order(self) -> range:
        """The steps of x in the order in which the backward pass comes to them."""
        return range(self.T) if self.reverse else range(self.T - 1, -1, -1)

    @property
    def norms(self) -> Array:
        """‖∂L/∂h‖ after each step, (T, B): how much of the loss's gradient arrives there."""
        norms: Array = np.sqrt((np.abs(self["dh1"]) ** 2).sum(-1))
        return norms

    @property
    def singular_values(self) -> Array:
        """Of the Jacobian of each step, ∂(h', c')/∂(h, c), (T, B, n), the largest first."""
        if "singular values" not in self._known:
            self._known["singular values"] = np.linalg.svd(self["jacobian"], compute_uv=False)
        return self._known["singular values"]

    @property
    def weights(self) -> tuple[str, ...]:
        """Of this layer, ``"W"``, ``"U"``, ``"b"`` ...: those to whose gradients every step adds."""
        return tuple(name for name, spec in self._direction.specs().items() if spec.role != "state")

    def parts(self, weight: str) -> Array:
        """Each step's contribution to the gradient of a weight of this layer: (T, ...)."""
        D = self._direction
        if weight not in self.weights:
            raise KeyError(f"{self.name!r} has no weight {weight!r}; it has {', '.join(self.weights)}")
        if weight == "b":
            return np.asarray(self["dp"].sum(1))
        if weight == "W":
            x, dp = self["x"], self["dp"]
            if x.dtype.kind in "iu":
                x = np.eye(D.input_size or 0, dtype=dp.dtype)[x]
            return products(x, dp)
        for k, stage in enumerate(self._pass.stages):
            if matrix_of(stage) == weight:
                return products(self[f"input.{k}"], self[f"output.{k}"])
            if weight in units_of(stage):
                return np.asarray(self[f"d{weight}"].sum(1))
            for gate in recurrent_bias_of(stage):
                if weight == f"b{gate}":
                    return np.asarray(self[f"dq_{gate}"].sum(1))
        columns = [
            products(self[f"input.{k}"], self[f"output.{k}"])
            for k, stage in enumerate(self._pass.stages)
            if not matrix_of(stage)
        ]
        dU: Array = np.concatenate(columns, axis=-1)
        if D.weight_dropout:  # the scan's matrix was M U / (1 - p)
            dU = np.where(self["weight_dropout.mask"], dU / (1 - D.weight_dropout), 0)
        return dU

    def sums(self, weight: str) -> Array:
        """The running sum of ``parts`` as the backward pass comes to each step of x: (T, ...).

        At the last step that it comes to, x's first or in reverse x's last, it is the whole gradient.
        """
        parts = self.parts(weight)
        if self.reverse:
            return np.asarray(np.cumsum(parts, axis=0))
        return np.asarray(np.cumsum(parts[::-1], axis=0)[::-1])


def products(a: Array, d: Array) -> Array:
    """aᵀ d of every step, summed over rows: (T, B, m) and (T, B, n) make (T, m, n)."""
    product: Array = a.transpose(0, 2, 1) @ d
    return product
