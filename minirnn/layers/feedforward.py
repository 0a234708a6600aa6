"""Layers that look at each step alone, or only move steps.

Linear, Embedding, Activation, PReLU, Dropout; Masking, Reverse, Last.
"""

from numbers import Integral
from typing import Any

from minirnn.core.backend import Array
from minirnn.core.layer import Layer, blank, check_size
from minirnn.core.noise import check_probability, drop
from minirnn.core.parameters import Spec
from minirnn.core.run import Result, Run, State
from minirnn.layers.activations import Function, check_finite
from minirnn.scan import flip, reversed_run


class Linear(Layer):
    """y = x W + b, at every step: (T, B, in) -> (T, B, out), or (B, in) -> (B, out).

    Weights ``W (in, out)`` and ``b (out)``.  With ``tie=embedding``, an ``Embedding(out, in)`` of the same model, there
    is no ``W``: its rows are the columns of this layer (Press and Wolf 2017, arXiv 1608.05859), and both uses add to
    its gradient.
    """

    timeless = True
    arguments = ("in_features", "out_features", "bias", "tie")

    def __init__(
        self, in_features: int, out_features: int, *, bias: bool = True, tie: "Embedding | None" = None
    ) -> None:
        self.in_features = self.input_size = check_size("in_features", in_features)
        self.out_features = self.output_size = check_size("out_features", out_features)
        if tie is not None and (tie.num_embeddings, tie.embedding_dim) != (out_features, in_features):
            raise ValueError(
                f"Linear({in_features}, {out_features}) can be tied to Embedding({out_features}, {in_features}); "
                f"got {tie.describe()}"
            )
        self.bias, self.tie = bias, tie

    def specs(self) -> dict[str, Spec]:
        specs = {} if self.tie else {"W": Spec((self.in_features, self.out_features), "input", self.in_features)}
        if self.bias:
            specs["b"] = Spec((self.out_features,), "bias", self.in_features)
        return specs

    def partners(self) -> tuple[Layer, ...]:
        return (self.tie,) if self.tie else ()

    def apply(self, x: Array, state: State, run: Run) -> Result:
        W = self.tie.weight("W").T if self.tie else self.weight("W")
        b, p = self.weight("b") if self.bias else None, run.parameters
        linear = None if p.quantized else p.backend.fused("linear")
        if linear:
            y = linear(x, W, b, p.entries)
        else:
            y = p.product(x.reshape(-1, x.shape[-1]), W).reshape(*x.shape[:-1], W.shape[1])  # one, not one a step
            if b is not None:
                y += b

        def pull(dy: Array | None, dstate: State) -> tuple[Array | None, State]:
            if dy is None:
                return None, None
            dW = self.tie.grad("W").T if self.tie else self.grad("W")
            db = self.grad("b") if self.bias else None
            linear_backward = p.backend.fused("linear_backward")
            if linear_backward:
                return linear_backward(x, W, dy, dW, db, p.entries), None
            rows, drows = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
            dW += p.product(rows.T, drows)
            if db is not None:
                db += drows.sum(0)
            return p.product(drows, W.T).reshape(x.shape), None

        return Result(y, None, pull, {"x": lambda: x})


class Embedding(Layer):
    """y[t, b] = W[x[t, b]]: integers (T, B) -> (T, B, embedding_dim).  Weight ``W (num_embeddings, embedding_dim)``.

    Where x is ``mask``, an index, the layers that follow skip the step, as after ``Masking``; y is that index's row.
    """

    integers, floats = True, False
    arguments = ("num_embeddings", "embedding_dim", "mask")

    def __init__(self, num_embeddings: int, embedding_dim: int, mask: int | None = None) -> None:
        self.num_embeddings = self.input_size = check_size("num_embeddings", num_embeddings)
        self.embedding_dim = self.output_size = check_size("embedding_dim", embedding_dim)
        known = isinstance(mask, Integral) and not isinstance(mask, bool) and 0 <= mask < num_embeddings
        if mask is not None and not known:
            raise ValueError(f"mask must be an index from 0 to {num_embeddings - 1}, or None; got {mask!r:.60}")
        self.mask = None if mask is None else int(mask)

    def specs(self) -> dict[str, Spec]:
        return {"W": Spec((self.num_embeddings, self.embedding_dim), "embedding", self.embedding_dim)}

    @property
    def masks(self) -> bool:
        return self.mask is not None

    def apply(self, x: Array, state: State, run: Run) -> Result:
        def pull(dy: Array | None, dstate: State) -> tuple[Array | None, State]:
            if dy is not None:
                run.parameters.backend.add_rows(self.grad("W"), x.reshape(-1), dy.reshape(-1, self.embedding_dim))
            return None, None

        masked = None if self.mask is None else skipping_also(run, x == self.mask)
        return Result(self.weight("W")[x], None, pull, {"x": lambda: x}, masked)


class Activation(Layer):
    """y = f(x), entry by entry: a ``minirnn.Function`` by name; softmax and log_softmax over the features.

    x is (T, B, features) or (B, features).  ``alpha`` and ``beta`` are the function's constants, where it has any.
    """

    timeless = True

    def __init__(self, name: str, alpha: float | None = None, beta: float | None = None) -> None:
        self.function = Function(name, alpha, beta)

    def config(self) -> dict[str, Any]:
        return self.function.config()

    def apply(self, x: Array, state: State, run: Run) -> Result:
        y = self.function(x)
        if run.training and self.function.slope_reads_value:
            y = run.parameters.backend.locked(y)

        def pull(dy: Array | None, dstate: State) -> tuple[Array | None, State]:
            return None if dy is None else self.function.slope(x, y, dy), None

        return Result(y, None, pull, {"x": lambda: x, "y": lambda: y})


class PReLU(Layer):
    """y = x where x > 0, else a x, with a weight ``a`` (He et al. 2015, arXiv 1502.01852).

    Transposed: dx = dy where x > 0, else a dy;  da = Σ dy x where x <= 0.

    ``a`` has ``num_parameters`` entries: 1 for all features, or one for each.  They start at ``start``, 1/4 as in
    torch; Keras has 0.  x is (T, B, features) or (B, features).
    """

    timeless = True
    kinks = ("x",)
    arguments = ("num_parameters", "start")

    def __init__(self, num_parameters: int = 1, start: float = 0.25) -> None:
        self.num_parameters, self.start = check_size("num_parameters", num_parameters), check_finite("start", start)
        self.input_size = self.output_size = num_parameters if num_parameters > 1 else None

    def specs(self) -> dict[str, Spec]:
        return {"a": Spec((self.num_parameters,), "unit", self.num_parameters, start=self.start)}

    def apply(self, x: Array, state: State, run: Run) -> Result:
        xp, a = run.parameters.backend.xp, self.weight("a")
        above = x.real > 0

        def pull(dy: Array | None, dstate: State) -> tuple[Array | None, State]:
            if dy is None:
                return None, None
            da = xp.where(above, x.dtype.type(0), dy * x).reshape(-1, x.shape[-1]).sum(axis=0)
            self.grad("a")[...] += da if self.num_parameters > 1 else da.sum()
            return xp.where(above, dy, a * dy), None

        return Result(xp.where(above, x, a * x), None, pull, {"x": lambda: x})


class Masking(Layer):
    """Marks the steps whose features all equal ``value``, and sets x to 0 there; else y = x.

    The layers after it, in a Sequential, skip those steps: a recurrent layer carries its state over them, and its
    output there is the one before, 0 before the first step that counts; with both directions it is 0.  ``Last`` gives
    the last step that counts, and ends the mask.  Several masks add up, and to ``lengths``.
    """

    arguments = ("value",)

    def __init__(self, value: float = 0.0) -> None:
        self.value = check_finite("value", value)

    @property
    def masks(self) -> bool:
        return True

    def apply(self, x: Array, state: State, run: Run) -> Result:
        skip = (x.real == self.value).all(axis=-1)

        def pull(dy: Array | None, dstate: State) -> tuple[Array | None, State]:
            return None if dy is None else blank(dy, skip), None

        return Result(blank(x, skip), None, pull, {}, skipping_also(run, skip))


def skipping_also(run: Run, skip: Array) -> Run:
    """``run`` with steps to be skipped beside those that are already."""
    return run._replace(skip=skip if run.skipped is None else skip | run.skipped)


class Reverse(Layer):
    """y[t] = x[T - 1 - t]; of a row with a length, y[t] = x[length - 1 - t], and what is past it stays.

    A mask is reversed with the rows, so that the layers that follow skip the same entries of x.  (Keras reverses both
    within a recurrent layer that goes backwards, but leaves the mask as it was for the layers after that one.)
    """

    @property
    def reads_ahead(self) -> bool:
        return True

    def apply(self, x: Array, state: State, run: Run) -> Result:
        def pull(dy: Array | None, dstate: State) -> tuple[Array | None, State]:
            return None if dy is None else flip(dy, run), None

        return Result(flip(x, run), None, pull, {}, reversed_run(run))


class Dropout(Layer):
    """y = x / (1 - p) where a mask keeps it, else 0, in training; y = x in inference (Srivastava et al. 2014).

    ``locked=True``: one mask for all steps, so that a row goes without the same features from its first step to its
    last (Gal and Ghahramani 2016, arXiv 1512.05287, whose name for it is variational dropout); of a language model's
    input or output, that is the "locked dropout" of AWD-LSTM.

    The mask is a function of the model's seed, this layer's name, the number of the pass, the step, the row and the
    feature, so it is the same on every backend and when it is computed again; see ``minirnn.core.noise``.
    """

    timeless = True
    arguments = ("p", "locked")

    def __init__(self, p: float = 0.5, *, locked: bool = False) -> None:
        self.p, self.locked = check_probability("p", p), bool(locked)

    def apply(self, x: Array, state: State, run: Run) -> Result:
        return drop(x, self.p, self.prefix, run, locked=self.locked)


class Last(Layer):
    """y[b] = x[lengths[b] - 1, b], the last valid step: (T, B, features) -> (B, features); 0 for a row of length 0.

    Of a bidirectional layer's output, the reverse half has read the whole sequence at step 0, not at the last one.
    ``Last(bidirectional=True)`` takes the second half of the features there.  Under a mask they are the last and the
    first step that are not skipped.
    """

    keeps_time = False
    arguments = ("bidirectional",)

    def __init__(self, *, bidirectional: bool = False) -> None:
        self.bidirectional = bidirectional

    def apply(self, x: Array, state: State, run: Run) -> Result:
        xp = run.parameters.backend.xp
        T, B, D = x.shape
        rows, half, skipped = xp.arange(B), D // 2 if self.bidirectional else D, run.skipped
        if skipped is None:
            first, last, empty = xp.zeros(B, "int64"), xp.full(B, T - 1), xp.zeros((B, 1), bool)
        else:
            t = xp.arange(T)[:, None]
            first, last = xp.where(skipped, T - 1, t).min(0), xp.where(skipped, 0, t).max(0)
            empty = skipped.all(axis=0, keepdims=True).T
        zero = x.dtype.type(0)
        y = xp.where(empty, zero, xp.concatenate([x[last, rows, :half], x[first, rows, half:]], axis=-1))

        def pull(dy: Array | None, dstate: State) -> tuple[Array | None, State]:
            if dy is None:
                return None, None
            dy = xp.where(empty, zero, dy)
            dx = xp.zeros(x.shape, x.dtype)
            dx[last, rows, :half] = dy[:, :half]
            dx[first, rows, half:] = dy[:, half:]
            return dx, None

        return Result(y, None, pull, {})
