"""Operators that compute: number by number, products, sums."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.bfloat16 import rounded
from minirnn.core.files import ModelFileError
from minirnn.formats.onnx.running.meter import PRODUCTS, Meter, extent
from minirnn.formats.onnx.running.operands import axis_of, listed, of_kind, one_dtype, optional, scalar
from minirnn.formats.onnx.running.perform import Operands, Operation
from minirnn.formats.onnx.structure import BFLOAT16, FLOAT16, FUNCTIONS, Node, dtype_of
from minirnn.layers.activations import Function

Elementwise = Callable[..., Array]

# ---------------------------------------------------------------------- number by number


def binary(f: Elementwise, kinds: str = "iuf", *, copies: int = 1) -> Operation:
    """Two arrays, broadcast as NumPy does; ``copies`` is how many arrays ``f`` makes."""

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        a, b = (of_kind(x, kinds) for x in operands)
        one_dtype(a, b)
        meter.claim(np.broadcast_shapes(a.shape, b.shape), a.itemsize, copies=copies)
        return (f(a, b),)

    return run


def among(f: Elementwise) -> Operation:
    """One or more arrays, broadcast, and at each place what ``f`` chooses of two."""

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        one_dtype(*operands)
        shape = np.broadcast_shapes(*(a.shape for a in operands))
        meter.claim(shape, operands[0].itemsize, ns=4 * len(operands), copies=2)
        return (functools.reduce(f, [of_kind(a, "iuf") for a in operands]),)

    return run


def unary(f: Elementwise, kinds: str = "f", *, ns: float = 8, copies: int = 2) -> Operation:
    """One array; ``ns`` and ``copies`` are what ``f`` takes."""

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        (x,) = operands
        meter.claim(x.shape, x.itemsize, ns=ns, copies=copies)
        return (f(of_kind(x, kinds)),)

    return run


def divide(a: Array, b: Array) -> Array:
    """a / b; of integers, rounded towards 0."""
    q: Array = a / b if a.dtype.kind == "f" else a // b
    return q if a.dtype.kind == "f" else q + ((q < 0) & (q * b != a)).astype(q.dtype)


def mean_of_all(meter: Meter, operands: Operands) -> Sequence[Array]:
    """The mean of arrays, place by place."""
    (total,) = among(np.add)(meter, [of_kind(a, "f") for a in operands])
    meter.claim(total.shape, total.itemsize)
    return (total / total.dtype.type(len(operands)),)


def modulo(node: Node) -> Operation:
    """What division leaves: with the sign of b, or with ``fmod`` that of a."""
    return binary(np.fmod if node.flag("fmod") else np.mod, copies=2)


def place_of(f: Callable[..., Any]) -> Callable[[Node], Operation]:
    """Where along an axis the largest or the smallest entry is, the first or the last of several."""

    def prepare(node: Node) -> Operation:
        axis, keep = node.attribute("axis", int, 0), node.flag("keepdims", default=1)
        last = node.opset >= 12 and node.flag("select_last_index")

        def run(meter: Meter, operands: Operands) -> Sequence[Array]:
            x = of_kind(operands[0], "iuf")
            k = axis_of(axis, x.ndim)
            if not x.shape[k]:
                raise ModelFileError(f"an axis must have an entry; the shape is {x.shape}")
            meter.walk(x.shape, ns=10)
            meter.claim([1 if i == k else n for i, n in enumerate(x.shape)], 8, copies=2)
            at = x.shape[k] - 1 - f(np.flip(x, k), axis=k) if last else f(x, axis=k)
            return (np.expand_dims(at, k) if keep else np.asarray(at),)

        return run

    return prepare


def power(meter: Meter, operands: Operands) -> Sequence[Array]:
    """a to the b, in a's dtype, whatever b's is."""
    a, b = (of_kind(x, "iuf") for x in operands)
    meter.claim(np.broadcast_shapes(a.shape, b.shape), max(8, a.itemsize), ns=40, copies=3)
    return (np.power(a, b).astype(a.dtype, copy=False),)


def function_of(node: Node) -> Function:
    """The function that a node applies, with its constants."""
    return Function(FUNCTIONS[node.op], node.attribute("alpha", float), node.attribute("beta", float))


def function(node: Node) -> Operation:
    """A function of each number; Relu takes integers too."""
    f, kinds = function_of(node), "fi" if node.op == "Relu" else "f"
    return unary(f, kinds) if node.op in ("Relu", "Tanh", "Sigmoid", "LeakyRelu") else unary(f, ns=40, copies=5)


def gelu(node: Node) -> Operation:
    """Exact, or by tanh."""
    word = node.attribute("approximate", str, "none")
    if word not in ("none", "tanh"):
        raise ModelFileError(f"approximate must be none or tanh; got {word!r:.40}")
    return unary(Function("gelu" if word == "none" else "gelu_tanh"), ns=300, copies=14)


def selu(node: Node) -> Operation:
    """gamma elu(x), with elu's alpha."""
    gamma = node.attribute("gamma", float, 1.0507010221481323)
    elu = Function("elu", node.attribute("alpha", float, 1.6732631921768188))
    return unary(lambda x: gamma * elu(x), ns=40, copies=5)


def over_axis(node: Node) -> Operation:
    """Softmax and LogSoftmax: over one axis; before opset 13, over all axes from it on."""
    f, old = Function(FUNCTIONS[node.op]), node.opset < 13
    axis = node.attribute("axis", int, 1 if old else -1)

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        x = of_kind(operands[0], "f")
        meter.claim(x.shape, x.itemsize, ns=20, copies=4)
        k = axis_of(axis, x.ndim)
        if old:
            rows = math.prod(x.shape[:k])
            return (f(x.reshape(rows, x.size // max(1, rows))).reshape(x.shape),)
        moved: Array = np.moveaxis(f(np.moveaxis(x, k, -1)), -1, k)
        return (moved,)

    return run


def clip(node: Node) -> Operation:
    """Bounds are attributes before opset 11, then inputs."""
    fixed = [node.attribute("min", float), node.attribute("max", float)] if node.opset < 11 else None

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        x = of_kind(operands[0], "iuf")
        meter.claim(x.shape, x.itemsize, copies=2)
        low, high = fixed or [None if b is None else scalar(b) for b in (optional(operands, 1), optional(operands, 2))]
        for bound, nearest in ((low, np.maximum), (high, np.minimum)):
            if bound is not None:
                one_dtype(x, *([] if fixed else [np.asarray(bound)]))
                x = nearest(x, x.dtype.type(bound))
        return (x,)

    return run


def cast(node: Node) -> Operation:
    """To another element type; saturate and round_mode concern types of 8 bits alone, which are not read."""
    code = node.needed("to", int)
    dtype = dtype_of(code)
    node.attribute("saturate", int)
    node.attribute("round_mode", str)

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        (x,) = operands
        ns, copies = 40 if code == FLOAT16 else 8, 6 if code == BFLOAT16 else 2
        meter.claim(x.shape, max(4, dtype.itemsize), ns=ns, copies=copies)
        if code == FLOAT16:
            return (x.astype(np.float16).astype(np.float32),)
        if code == BFLOAT16:
            return (rounded(x.astype(np.float32)),)
        return (x.astype(dtype, copy=False),)

    return run


def where(meter: Meter, operands: Operands) -> Sequence[Array]:
    """One array where a third is True, else the other."""
    condition, a, b = operands
    one_dtype(a, b)
    meter.claim(np.broadcast_shapes(condition.shape, a.shape, b.shape), a.itemsize)
    return (np.asarray(np.where(of_kind(condition, "b"), a, b)),)


def dropout(node: Node) -> Operation:
    """The identity, as in inference; the second output says that everything was kept."""
    node.attribute("ratio", float)
    node.attribute("seed", int)

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        x, training = operands[0], optional(operands, 2)
        if training is not None and scalar(training):
            raise ModelFileError("training_mode must be False: a graph is run for inference; it is True")
        if len(node.outputs) == 1:
            return (x,)
        dtype = np.dtype(np.bool) if node.opset >= 10 else x.dtype
        meter.claim(x.shape, dtype.itemsize)
        return (x, np.ones(x.shape, dtype))

    return run


# ---------------------------------------------------------------------- products and sums


def in_order(x: Array) -> bool:
    """Whether a product reads ``x`` where it lies: one of its last two axes must be without gaps, else it is copied."""
    return x.flags.aligned and x.itemsize in x.strides[-2:]


def product(meter: Meter, a: Array, b: Array) -> Array:
    """a b, as NumPy's matmul, once the meter has agreed."""
    one_dtype(a, b)
    if 0 in (a.ndim, b.ndim) or a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ModelFileError(f"a product's inner sizes must be equal; got {a.shape} and {b.shape}")
    rows, columns = a.shape[-2:-1], b.shape[-1:] if b.ndim > 1 else ()
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    shape = (*batch, *rows, *columns)
    meter.claim((extent(shape) + sum(extent(x.shape) for x in (a, b) if not in_order(x)),), a.itemsize)
    meter.walk(batch, ns=30)
    meter.walk(a.shape, ns=1)
    meter.walk(b.shape, ns=1)
    meter.walk((*shape, a.shape[-1]), ns=(1 if a.dtype.kind == "f" else 8) / PRODUCTS)
    return np.asarray(a @ b)


def matmul(meter: Meter, operands: Operands) -> Sequence[Array]:
    """A product."""
    a, b = (of_kind(x, "iuf") for x in operands)
    return (product(meter, a, b),)


def mean(x: Array, **options: Any) -> Any:
    """The mean in x's dtype; NaN of none, without the warning that NumPy gives."""
    total = summed(x, **options)
    return total / total.dtype.type(x.size // max(1, total.size))


def summed(x: Array, **options: Any) -> Any:
    """A sum in x's dtype, where NumPy would take a wider one."""
    return np.sum(x, dtype=x.dtype, **options)


def multiplied(x: Array, **options: Any) -> Any:
    """A product in x's dtype, where NumPy would take a wider one."""
    return np.prod(x, dtype=x.dtype, **options)


def largest(x: Array, **options: Any) -> Any:
    """The largest entry; of none, what is below all of the dtype."""
    return np.max(x, initial=extremes_of(x.dtype)[0], **options)


def smallest(x: Array, **options: Any) -> Any:
    """The smallest entry; of none, what is above all of the dtype."""
    return np.min(x, initial=extremes_of(x.dtype)[1], **options)


def extremes_of(dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """The least and the greatest value of a dtype."""
    if dtype.kind in "iu":
        return np.iinfo(dtype).min, np.iinfo(dtype).max
    return (False, True) if dtype.kind == "b" else (-np.inf, np.inf)


def gemm(node: Node) -> Operation:
    """alpha A' B' + beta C, with A' and B' transposed or not."""
    alpha, beta = (node.attribute(word, float, 1.0) for word in ("alpha", "beta"))
    reversed_steps = node.flag("transA"), node.flag("transB")

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        a, b = (of_kind(x, "iuf") for x in operands[:2])
        if a.ndim != 2 or b.ndim != 2:
            raise ModelFileError(f"Gemm's operands must have two axes; got {a.shape} and {b.shape}")
        a, b = (x.T if turn else x for x, turn in zip((a, b), reversed_steps, strict=True))
        y, c = product(meter, a, b), optional(operands, 2)
        meter.claim(y.shape, y.itemsize, copies=3)
        scale = y.dtype.type
        y = y if alpha == 1 else scale(alpha) * y
        if c is None:
            return (y,)
        one_dtype(y, c)
        if np.broadcast_shapes(y.shape, c.shape) != y.shape:
            raise ModelFileError(f"C must have a shape that broadcasts to {y.shape}; it has {c.shape}")
        return (y + (c if beta == 1 else scale(beta) * c),)

    return run


def reduction(f: Callable[..., Any], since: int, kinds: str) -> Callable[[Node], Operation]:
    """Over some axes or all, in the dtype of x; the axes are an input from opset ``since`` on."""

    def prepare(node: Node) -> Operation:
        axes, keep = listed(node, "axes", since), node.flag("keepdims", default=1)
        noop = node.opset >= since and node.flag("noop_with_empty_axes")

        def run(meter: Meter, operands: Operands) -> Sequence[Array]:
            x, chosen = of_kind(operands[0], kinds), axes(operands)
            if not chosen and noop:
                return (x,)
            over = tuple(axis_of(k, x.ndim) for k in chosen) if chosen else None
            meter.walk(x.shape, ns=10)
            meter.claim([1 if over is None or k in over else n for k, n in enumerate(x.shape)], x.itemsize, copies=2)
            return (f(x, axis=over, keepdims=keep),)

        return run

    return prepare
