"""Attention over steps: each step of a query reads the steps of a value, weighed by how its keys score.

With q (T, B, D) a query, k (S, B, D) the keys and v (S, B, E) the values of S steps:

    e[t, s] = score(q[t], k[s])           (1)
    a[t, s] = exp(e[t, s]) / Σ exp(e[t])  (2)  the sum over all steps s that count
    y[t]    = Σ a[t, s] v[s]              (3)

Steps s past a row's length, or that a mask skips, do not count, nor with ``causal`` those after t; a row in which none
counts gives 0.  Transposed, rows of the batch apart:

    dv[s]    = Σ a[t, s] dy[t]            (3)
    da[t, s] = dy[t] · v[s]               (3)
    de[t, s] = a[t, s] (da[t, s] - Σ a[t, s'] da[t, s'])  (2)

and ``dq``, ``dk`` by the transpose of the score, (1), beside each.
"""

from collections.abc import Sequence
from typing import TypeVar

from minirnn.core.backend import Array
from minirnn.core.layer import Layer, blank, check_size
from minirnn.core.parameters import Spec
from minirnn.core.run import Result, Run, State
from minirnn.layers.feedforward import Linear
from minirnn.layers.joining import Joined, Joining, Kind, Sizes

Part = TypeVar("Part")
SCORES = ("dot", "additive", "concat")
BYTES = 2**28  # that the scores of one pass, or what they are made of, may take


def counted(value: Array, run: Run, T: int, *, causal: bool) -> Array | None:
    """Which steps of a value each of T steps may read, (B, 1 or T, S); None for all."""
    xp, S = run.parameters.backend.xp, len(value)
    counts = None if run.skipped is None else ~run.skipped.T[:, None, :]
    if causal:
        before = xp.arange(S)[None, None, :] <= xp.arange(T)[None, :, None]
        counts = before if counts is None else counts & before
    return counts


def weighed(e: Array, counts: Array | None, run: Run) -> Array:
    """Equation (2): softmax over the last axis of the scores that count; 0 where none does."""
    xp, zero = run.parameters.backend.xp, e.dtype.type(0)
    if counts is None:
        x = xp.exp(e - e.real.max(axis=-1, keepdims=True))
        return x / x.sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]  # an array
    largest = xp.where(counts, e.real, e.real.dtype.type("-inf")).max(axis=-1, keepdims=True)
    shift = xp.where(xp.isfinite(largest), largest, e.real.dtype.type(0))
    x = xp.where(counts, xp.exp(xp.where(counts, e - shift, zero)), zero)
    total = x.sum(axis=-1, keepdims=True)
    return x / xp.where(total == 0, e.dtype.type(1), total)  # type: ignore[no-any-return]  # an array


def unweighed(da: Array, a: Array) -> Array:
    """The transpose of (2)."""
    de: Array = a * (da - (da * a).sum(axis=-1, keepdims=True))
    return de


class Attending(Joining):
    """The base of attention: reads a query, and a value if it is another, and keys if they are not the value."""

    least, most = 1, 3
    timeless = False

    @property
    def reads_ahead(self) -> bool:
        return True

    @property
    def takes_lengths(self) -> bool:
        return True

    @property
    def skips(self) -> bool:
        return True

    def width(self, query: int | None, value: int | None, key: int | None) -> int | None:
        """The features of y; ValueError where those read do not fit."""
        raise NotImplementedError(f"{type(self).__name__} does not define width")

    def kind(self, kinds: Sequence[Kind]) -> Kind:
        if not all(kind.timed for kind in kinds):
            raise ValueError("reads steps; a value that it reads has none")
        query, value, key = _three(kinds)
        return Kind(self.width(query.features, value.features, key.features), masked=query.masked)

    def sizes(self, sizes: Sequence[Sizes]) -> Sizes:
        query, value, key = _three(sizes)
        if None not in (value.steps, key.steps) and value.steps != key.steps:
            raise ValueError(f"{self.describe()} expects a key for each value; got {key.steps} and {value.steps}")
        return Sizes(query.steps, self.width(query.features, value.features, key.features))

    def apply(self, x: Array, state: State, run: Run) -> Result:
        """A sequence that reads itself."""
        y, pull, after = self.join([x], [run])

        def whole(dy: Array | None, dstate: State) -> tuple[Array | None, State]:
            return pull(dy)[0], None

        return Result(y, None, whole, {}, after)


def _three(parts: Sequence[Part]) -> tuple[Part, Part, Part]:
    """Query, value and key, of which the last ones may be the one before."""
    query = parts[0]
    value = parts[1] if len(parts) > 1 else query
    return query, value, parts[2] if len(parts) > 2 else value


def _returned(parts: int, dq: Array, dv: Array, dk: Array) -> tuple[Array, ...]:
    """The gradients of what was read, those of what stood in several places added."""
    if parts == 3:
        return dq, dv, dk
    return (dq, dv + dk) if parts == 2 else (dq + dv + dk,)


def check_room(*sizes: int, itemsize: int) -> None:
    """Raise ValueError where scores would take more than ``BYTES`` a row of the batch."""
    count = itemsize
    for n in sizes:
        count *= n
    if count > BYTES:
        raise ValueError(f"attention may take {BYTES:,} bytes a row; of these steps it would take {count:,}")


class Attention(Attending):
    """Attention without projections: Keras' Attention and AdditiveAttention.

        e[t, s] = g q[t] · k[s]               (1)  dot (Luong et al. 2015, arXiv 1508.04025)
        e[t, s] = Σ g tanh(q[t] + k[s])       (1)  additive (Bahdanau et al. 2015, arXiv 1409.0473); g (D)
        e[t, s] = u Σ tanh(g (q[t] + k[s]))   (1)  concat, as Keras has it

    Transposed, with h the tanh:

        dq[t] = Σ g de[t, s] k[s],  dk[s] = Σ g de[t, s] q[t]         (1)  dot
        dx[t, s] = de[t, s] g (1 - h²);  dq = Σₛ dx,  dk = Σₜ dx      (1)  additive
        dx[t, s] = de[t, s] u g (1 - h²);  dq = Σₛ dx,  dk = Σₜ dx    (1)  concat

    The rest is in ``minirnn.layers.attention``.  It reads a query, a value, and keys where they are not the value; of
    one sequence alone it is self-attention.  ``scale`` False leaves out g: it is 1.  At steps of the query that a mask
    skips y is 0.
    """

    arguments = ("num_features", "score", "scale", "causal")

    def __init__(self, num_features: int, score: str = "dot", *, scale: bool = False, causal: bool = False) -> None:
        self.num_features = self.input_size = check_size("num_features", num_features)
        if score not in SCORES:
            raise ValueError(f"score must be one of {', '.join(SCORES)}; got {score!r:.60}")
        self.score, self.scale, self.causal = score, bool(scale), bool(causal)

    def specs(self) -> dict[str, Spec]:
        D = self.num_features
        specs = {"g": Spec((D if self.score == "additive" else 1,), "unit", D, start=1.0)} if self.scale else {}
        return specs | ({"u": Spec((1,), "unit", D, start=1.0)} if self.score == "concat" else {})

    def width(self, query: int | None, value: int | None, key: int | None) -> int | None:
        for what, features in (("query", query), ("key", key)):
            if features not in (None, self.num_features):
                raise ValueError(f"{self.describe()} expects {self.num_features} features of a {what}; got {features}")
        return value

    def join(self, xs: Sequence[Array], runs: Sequence[Run]) -> Joined:
        query, value, key = (x.transpose(1, 0, 2) for x in _three(xs))  # (B, T, D), (B, S, E), (B, S, D)
        after, read, _ = _three(runs)
        xp, counts = read.parameters.backend.xp, counted(_three(xs)[1], read, len(xs[0]), causal=self.causal)
        g = self.weight("g") if self.scale else query.dtype.type(1)
        u = self.weight("u") if self.score == "concat" else query.dtype.type(1)
        deep = 1 if self.score == "dot" else query.shape[2]
        check_room(query.shape[1], key.shape[1], deep, itemsize=query.itemsize)
        h = None
        if self.score == "dot":
            plain = xp.matmul(query, key.transpose(0, 2, 1))
            e = g * plain  # (1)
        else:
            x = query[:, :, None] + key[:, None]  # (B, T, S, D)
            h = xp.tanh(x if self.score == "additive" else g * x)
            e = (h * g).sum(axis=-1) if self.score == "additive" else u * h.sum(axis=-1)  # (1)
        a = weighed(e, counts, read)  # (2)
        y = xp.matmul(a, value)  # (3)

        def pull(dy: Array | None) -> tuple[Array | None, ...]:
            if dy is None:
                return (None,) * len(xs)
            d = dy.transpose(1, 0, 2)
            dv = xp.matmul(a.transpose(0, 2, 1), d)  # (3)
            de = unweighed(xp.matmul(d, value.transpose(0, 2, 1)), a)  # (3) (2)
            if h is None:
                if self.scale:
                    self.grad("g")[...] += (de * plain).sum()
                dq, dk = g * xp.matmul(de, key), g * xp.matmul(de.transpose(0, 2, 1), query)
            else:
                if self.score == "additive":
                    dh = de[..., None] * g
                    dx = dh * (1 - h * h)
                    if self.scale:
                        self.grad("g")[...] += (de[..., None] * h).sum(axis=(0, 1, 2))
                else:
                    self.grad("u")[...] += (de[..., None] * h).sum()
                    inner = de[..., None] * u * (1 - h * h)
                    if self.scale:
                        self.grad("g")[...] += (inner * x).sum()
                    dx = inner * g
                dq, dk = dx.sum(axis=2), dx.sum(axis=1)
            return _returned(len(xs), *(part.transpose(1, 0, 2) for part in (dq, dv, dk)))

        if after.skip is None:
            return Joined(y.transpose(1, 0, 2), pull, after)
        skip = after.skip
        return Joined(
            blank(y.transpose(1, 0, 2), skip), lambda dy: pull(None if dy is None else blank(dy, skip)), after
        )


class MultiHeadAttention(Attending):
    """Attention in ``num_heads`` heads of ``key_size`` features, with projections.

    (Vaswani et al. 2017, arXiv 1706.03762.)

        e[t, s] = q[t] · k[s] / √key_size     (1)  for each head, of the query's and the keys' projections

    Transposed: dq[t] = Σ de[t, s] k[s] / √key_size, dk[s] = Σ de[t, s] q[t] / √key_size.

    The heads' y stand side by side and are projected once more.  torch's MultiheadAttention(D, N) has key_size = D / N
    and all widths D; Keras' has any.  The projections are layers, ``query``, ``key``, ``value`` and ``output``.  The
    rest is in ``minirnn.layers.attention``.
    """

    arguments = ("input_size", "num_heads", "key_size", "value_size", "output_size", "sizes_read", "bias", "causal")

    def __init__(
        self,
        input_size: int,
        num_heads: int,
        key_size: int | None = None,
        value_size: int | None = None,
        output_size: int | None = None,
        sizes_read: Sequence[int] | None = None,
        *,
        bias: bool = True,
        causal: bool = False,
    ) -> None:
        D, N = check_size("input_size", input_size), check_size("num_heads", num_heads)
        if key_size is None and D % N:
            raise ValueError(f"input_size must be a multiple of num_heads, or key_size be given; got {D} and {N}")
        self.num_heads, self.input_size = N, D
        self.key_size = check_size("key_size", D // N if key_size is None else key_size)
        self.value_size = check_size("value_size", self.key_size if value_size is None else value_size)
        self.output_size = check_size("output_size", D if output_size is None else output_size)
        self.sizes_read = [D, D] if sizes_read is None else [check_size("sizes_read", n) for n in sizes_read]
        if len(self.sizes_read) != 2:
            raise ValueError(f"sizes_read must be those of values and keys; got {len(self.sizes_read)}")
        self.bias, self.causal = bool(bias), bool(causal)
        values, keys = self.sizes_read
        self.parts: dict[str, Layer] = {
            "query": Linear(D, N * self.key_size, bias=self.bias),
            "key": Linear(keys, N * self.key_size, bias=self.bias),
            "value": Linear(values, N * self.value_size, bias=self.bias),
            "output": Linear(N * self.value_size, self.output_size, bias=self.bias),
        }

    def children(self) -> dict[str, Layer]:
        return self.parts

    def width(self, query: int | None, value: int | None, key: int | None) -> int | None:
        wanted = (self.input_size, *self.sizes_read)
        for what, features, own in zip(("query", "value", "key"), (query, value, key), wanted, strict=True):
            if features not in (None, own):
                raise ValueError(f"{self.describe()} expects {own} features of a {what}; got {features}")
        return self.output_size

    def join(self, xs: Sequence[Array], runs: Sequence[Run]) -> Joined:
        after, read, _ = _three(runs)
        query, value, key = _three(xs)
        xp, N = read.parameters.backend.xp, self.num_heads
        check_room(len(query), len(key), N, itemsize=query.itemsize)
        counts = counted(value, read, len(query), causal=self.causal)
        results = [
            self.parts[name].apply(x, None, run)
            for name, x, run in zip(("query", "key", "value"), (query, key, value), (after, read, read), strict=True)
        ]
        q, k, v = (self._heads(result.y) for result in results)  # (B, N, T, ·)
        scale = q.dtype.type(self.key_size**-0.5)
        a = weighed(
            xp.matmul(q * scale, k.swapaxes(2, 3)), None if counts is None else counts[:, None], read
        )  # (1) (2)
        joint = self._joint(xp.matmul(a, v))  # (3)
        out = self.parts["output"].apply(joint, None, after)

        def pull(dy: Array | None) -> tuple[Array | None, ...]:
            if dy is None:
                return (None,) * len(xs)
            djoint, _ = out.pull(dy, None)
            assert djoint is not None  # a Linear's dx, of a dy that is there
            d = self._heads(djoint)
            dv = xp.matmul(a.swapaxes(2, 3), d)  # (3)
            de = unweighed(xp.matmul(d, v.swapaxes(2, 3)), a)  # (3) (2)
            dq, dk = scale * xp.matmul(de, k), scale * xp.matmul(de.swapaxes(2, 3), q)  # (1)
            back = [result.pull(self._joint(part), None)[0] for result, part in zip(results, (dq, dk, dv), strict=True)]
            return _returned(len(xs), back[0], back[2], back[1])  # type: ignore[arg-type]  # as above

        return Joined(out.y, pull, after)

    def _heads(self, x: Array) -> Array:
        """(T, B, N·H) as (B, N, T, H)."""
        return x.reshape(*x.shape[:2], self.num_heads, -1).transpose(1, 2, 0, 3)

    @staticmethod
    def _joint(x: Array) -> Array:
        """The other way."""
        B, N, T, H = x.shape
        return x.transpose(2, 0, 1, 3).reshape(T, B, N * H)
