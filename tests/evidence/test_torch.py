"""torch as an outside oracle: outputs and every gradient agree in float64.

A check of gradients by differences only says that a pass backward belongs to its pass forward; a forward that is wrong
in a consistent way passes it.  Here the weights of a minirnn model become leaves of torch's graph under their names,
``torch.nn`` computes with them (``weight_ih = Wᵀ``, ``weight_hh = Uᵀ``, ``bias_ih = b``, ``bias_hh = 0`` but for the
GRU's ``bn``), and autograd's gradients are compared with ours name by name.  What torch lacks, the GRU with its reset
before the product, is written here from the paper.  On our side padding is NaN, in ``x`` and in ``dy``.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

import minirnn
from minirnn.core.layer import Layer
from minirnn.layers.activations import Function
from minirnn.recurrent.networks import Recurrent

torch: Any = pytest.importorskip(
    "torch", reason="the extra 'oracles' (torch) is not installed: the comparisons with torch are left out"
)

pytestmark = pytest.mark.extras
torch.set_num_threads(1)

Array: TypeAlias = NDArray[Any]
Tensor: TypeAlias = Any
Tensors: TypeAlias = dict[str, Tensor]

TOLERANCE = 1e-12  # a few thousand eps, of entries of order 1
F = torch.nn.functional


# ---------------------------------------------------------------------- comparing


def agree(ours: dict[str, Any], theirs: Tensors) -> None:
    """Compare by name; the message lists every array that is off, and where it is off most."""
    assert ours.keys() == theirs.keys()
    off = []
    for name, tensor in theirs.items():
        a, b = np.asarray(ours[name]), tensor.detach().numpy()
        if a.shape != b.shape or a.dtype != b.dtype:
            off.append(f"{name}: {a.dtype} {a.shape}, torch has {b.dtype} {b.shape}")
            continue
        if not b.any():
            off.append(f"{name}: torch's is zero throughout, so nothing is compared")
        error = np.nan_to_num(np.abs(a - b) / np.maximum(1, np.abs(b)), nan=np.inf)
        if error.max() > TOLERANCE:
            place = np.unravel_index(error.argmax(), error.shape)
            off.append(f"{name}{[int(i) for i in place]}: {a[place]}, torch has {b[place]}, off by {error.max():.1e}")
    assert not off, "off from torch:\n" + "\n".join(off)


def gradients(leaves: Tensors) -> Tensors:
    return {f"d {name}": leaf.grad for name, leaf in leaves.items()}


def our_gradients(model: Layer) -> dict[str, Any]:
    return {f"d {name}": gradient for name, gradient in model.named_grads().items()}


def parts(state: Any) -> tuple[Any, ...]:
    return state if isinstance(state, tuple) else (state,)


def each(name: str, state: Any) -> dict[str, Any]:
    """The arrays of a recurrent layer's state by name."""
    return {f"{name} {k}": array for k, array in enumerate(parts(state))}


def grads_of(state: Any) -> tuple[Tensor, ...]:
    return tuple(tensor.grad for tensor in parts(state))


def pair(state: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The state of a bidirectional layer as the states of two layers."""
    return tuple(a[:1] for a in state), tuple(a[1:] for a in state)


def inner(values: Any, cotangents: Any) -> Tensor:
    """Σ value · cotangent: the loss whose gradient with respect to the values is the cotangents."""
    products: list[Tensor] = [v * torch.tensor(c) for v, c in zip(parts(values), parts(cotangents), strict=True)]
    return torch.cat([product.flatten() for product in products]).sum()


def leaf_of(arrays: Any) -> Any:
    """An array, or a tuple of arrays, as leaves of torch's graph."""
    if isinstance(arrays, tuple):
        return tuple(leaf_of(a) for a in arrays)
    return torch.tensor(arrays, requires_grad=True)


def drawn(model: Layer, rng: np.random.Generator) -> Tensors:
    """Give every weight of ``model`` a new value, initial states included, and torch's leaves the same."""
    model.init(backend="numpy", dtype="float64", overwrite=True)
    for w in model.named_weights().values():
        w[...] = rng.normal(0.2, 0.6, w.shape)
    return {name: leaf_of(w) for name, w in model.named_weights().items()}


def state_for(layer: Recurrent, B: int, rng: np.random.Generator) -> Any:
    """A state of ``layer`` at random, or a cotangent of one."""
    arrays = tuple(rng.normal(size=shape) for shape in layer.state_shapes(B))
    return arrays if len(arrays) > 1 else arrays[0]


def padded(a: Array, lengths: list[int] | None, value: Any) -> Array:
    """A copy of ``a`` (T, B, ...) with ``value`` past the lengths."""
    a = a.copy()
    for b, length in enumerate(lengths or []):
        a[length:, b] = value
    return a


# ---------------------------------------------------------------------- the same models in torch


def torch_model(
    model: Layer, leaves: Tensors, x: Tensor, state: Any = None, lengths: list[int] | None = None, prefix: str = ""
) -> tuple[Tensor, Any]:
    """``model``'s y and final state; of a Sequential, the final state of its recurrent layer."""
    match model:
        case minirnn.Sequential():
            for k, layer in enumerate(model.layers):
                x, final = torch_model(layer, leaves, x, state, lengths, f"{prefix}{k}.")
                state = final if final is not None else state  # Last asks for it
            return x, state
        case minirnn.GRU(reset="before"):
            return paper_gru(model, leaves, x, state, lengths, prefix)
        case Recurrent():
            return torch_recurrent(model, leaves, x, state, lengths, prefix)
        case minirnn.Embedding():
            return F.embedding(x, leaves[f"{prefix}W"]), None
        case minirnn.Linear(tie=None):
            return F.linear(x, leaves[f"{prefix}W"].T, leaves[f"{prefix}b"]), None
        case minirnn.Linear():
            return F.linear(x, leaves["0.W"], leaves[f"{prefix}b"]), None
        case minirnn.Last(bidirectional=True):
            return torch.cat([state[-2], state[-1]], dim=-1), None
        case minirnn.Last():
            return torch.stack([x[length - 1, b] for b, length in enumerate(lengths or [len(x)] * x.shape[1])]), None
    raise TypeError(type(model).__name__)


def torch_recurrent(
    layer: Recurrent, leaves: Tensors, x: Tensor, state: Any, lengths: list[int] | None, prefix: str
) -> tuple[Tensor, Any]:
    weights: Tensors = {}
    for name in layer.children():
        W, U, b = (leaves[f"{prefix}{name}.{w}"] for w in "WUb")
        bias_hh = torch.zeros_like(b)
        if isinstance(layer, minirnn.GRU):
            bias_hh = torch.cat([bias_hh[: 2 * layer.hidden_size], leaves[f"{prefix}{name}.bn"]])
        suffix = f"l{name.replace('.', '_')}"  # 1.reverse: l1_reverse
        weights |= {f"weight_ih_{suffix}": W.T, f"weight_hh_{suffix}": U.T}
        weights |= {f"bias_ih_{suffix}": b, f"bias_hh_{suffix}": bias_hh}
        if f"{prefix}{name}.P" in leaves:
            weights[f"weight_hr_{suffix}"] = leaves[f"{prefix}{name}.P"].T
    options = {name: layer.config()[name] for name in ("nonlinearity", "proj_size") if name in layer.config()}
    module = getattr(torch.nn, type(layer).__name__)(
        layer.input_size,
        layer.hidden_size,
        layer.num_layers,
        bidirectional=layer.bidirectional,
        dtype=torch.float64,
        **options,
    )
    if lengths is None:
        y, final = torch.func.functional_call(module, weights, (x, state), strict=True)
        return y, final
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    y, final = torch.func.functional_call(module, weights, (packed, state), strict=True)
    return torch.nn.utils.rnn.pad_packed_sequence(y, total_length=len(x))[0], final


def paper_gru(
    layer: Recurrent, leaves: Tensors, x: Tensor, state: Tensor | None, lengths: list[int] | None, prefix: str
) -> tuple[Tensor, Tensor]:
    """Cho et al. 2014, equations 5 to 8, one row at a time; its z is the share of the old state."""
    (T, B), H = x.shape[:2], layer.hidden_size
    if state is None:
        state = x.new_zeros(len(layer.directions), B, H)
    ys, finals = [], []
    for b, length in enumerate(lengths or [T] * B):
        inputs: list[Tensor] = list(x[:length, b])
        final: list[Tensor] = []
        for k in range(layer.num_layers):
            outputs: list[list[Tensor]] = [[] for _ in inputs]
            for name in [f"{k}", f"{k}.reverse"][: layer.num_directions]:
                W_r, W_z, W_n = leaves[f"{prefix}{name}.W"].chunk(3, dim=1)
                U_r, U_z, U_n = leaves[f"{prefix}{name}.U"].chunk(3, dim=1)
                b_r, b_z, b_n = leaves[f"{prefix}{name}.b"].chunk(3)
                h = state[len(final), b]
                order = range(length)
                for t in reversed(order) if name.endswith("reverse") else order:
                    r = torch.sigmoid(inputs[t] @ W_r + h @ U_r + b_r)
                    z = torch.sigmoid(inputs[t] @ W_z + h @ U_z + b_z)
                    n = torch.tanh(inputs[t] @ W_n + (r * h) @ U_n + b_n)
                    h = (1 - z) * n + z * h
                    outputs[t].append(h)
                final.append(h)
            inputs = [torch.cat(parts) for parts in outputs]
        ys.append(torch.stack(inputs + [x.new_zeros(layer.num_directions * H)] * (T - length)))
        finals.append(torch.stack(final))
    return torch.stack(ys, dim=1), torch.stack(finals, dim=1)


# ---------------------------------------------------------------------- functions

IN_TORCH_TOO: list[tuple[Function, Callable[[Tensor], Tensor]]] = [
    (Function("tanh"), lambda a: a.tanh()),
    (Function("sigmoid"), lambda a: a.sigmoid()),
    (Function("relu"), F.relu),
    (Function("relu6"), F.relu6),
    (Function("hard_sigmoid", 1 / 6, 0.5), lambda a: F.relu6(a + 3) / 6),  # its own slope is float32's 1/6
    (Function("leaky_relu", 0.2), lambda a: F.leaky_relu(a, 0.2)),
    (Function("thresholded_relu", 0.4), lambda a: F.threshold(a, 0.4, 0)),
    (Function("elu", 0.7), lambda a: F.elu(a, 0.7)),
    (Function("selu"), F.selu),
    (Function("softsign"), F.softsign),
    (Function("softplus"), F.softplus),
    (Function("silu"), F.silu),
    (Function("hard_swish"), F.hardswish),
    (Function("gelu"), F.gelu),
    (Function("gelu_tanh"), lambda a: F.gelu(a, approximate="tanh")),
    (Function("exponential"), lambda a: a.exp()),
    (Function("mish"), F.mish),
    (Function("softmax"), lambda a: F.softmax(a, -1)),
    (Function("log_softmax"), lambda a: F.log_softmax(a, -1)),
]


@pytest.mark.parametrize(("ours", "theirs"), IN_TORCH_TOO, ids=[f.name for f, _ in IN_TORCH_TOO])
def test_functions_agree_with_torch(ours: Function, theirs: Callable[[Tensor], Tensor]) -> None:
    rng = np.random.default_rng(1)
    a = rng.normal(0, 3, (40, 9))
    a[0] = 0.0  # where some have a kink
    ta, dy = leaf_of(a), rng.normal(size=a.shape)
    ty = theirs(ta)
    inner(ty, dy).backward()
    y = ours(a)
    agree({"y": y, "da": ours.slope(a, y, dy)}, {"y": ty, "da": ta.grad})


# ---------------------------------------------------------------------- recurrent layers


def tanh_rnn(*sizes: int, **options: Any) -> Recurrent:
    return minirnn.RNN(*sizes, **options)


def relu_rnn(*sizes: int, **options: Any) -> Recurrent:
    return minirnn.RNN(*sizes, nonlinearity="relu", **options)


def gru(*sizes: int, **options: Any) -> Recurrent:
    return minirnn.GRU(*sizes, **options)


def gru_before(*sizes: int, **options: Any) -> Recurrent:
    return minirnn.GRU(*sizes, reset="before", **options)


def lstm(*sizes: int, **options: Any) -> Recurrent:
    return minirnn.LSTM(*sizes, **options)


def projected_lstm(input_size: int, hidden_size: int, *rest: int, **options: Any) -> Recurrent:
    """To ``hidden_size``, so that states and outputs are as wide as those of the others."""
    return minirnn.LSTM(input_size, hidden_size + 2, *rest, proj_size=hidden_size, **options)


Kind: TypeAlias = Callable[..., Recurrent]
IN_TORCH = [tanh_rnn, relu_rnn, gru, lstm, projected_lstm]
LENGTHS = [None, [3, 5, 1], [2, 1, 4]]  # of 5 steps: all, unsorted, and no row that is full


def check_recurrent(
    layer: Recurrent, T: int, B: int, lengths: list[int] | None, loss_on: tuple[str, ...] = ("y", "state")
) -> None:
    """Compare outputs and gradients, from initial states at random, with cotangents at random on y and final states."""
    rng = np.random.default_rng(4)  # of the small seeds, one that leaves no relu of the smallest network dead
    leaves = drawn(layer, rng)
    x, state = rng.normal(size=(T, B, layer.input_size or 0)), state_for(layer, B, rng)
    dy, dfinal = rng.normal(size=(T, B, layer.output_size or 0)), state_for(layer, B, rng)

    given, pulled = padded(x, lengths, np.nan), padded(dy, lengths, np.nan)
    y, final, backward = layer.forward(given, state, lengths=lengths)
    dx, dstate = backward(pulled if "y" in loss_on else None, dfinal if "state" in loss_on else None)
    inferred_y, inferred_final = layer(given, state, lengths=lengths)

    tx, tstate = leaf_of(x), leaf_of(state)
    ty, tfinal = torch_model(layer, leaves, tx, tstate, lengths)
    losses = {"y": inner(ty, padded(dy, lengths, 0)), "state": inner(tfinal, dfinal)}
    loss: Tensor = sum(losses[name] for name in loss_on)
    loss.backward()

    agree({"y": inferred_y, **each("final state", inferred_final)}, {"y": ty, **each("final state", tfinal)})
    agree(
        {"y": y, **each("final state", final), "dx": dx, **each("d state", dstate), **our_gradients(layer)},
        {"y": ty, **each("final state", tfinal), "dx": tx.grad}
        | {**each("d state", grads_of(tstate)), **gradients(leaves)},
    )


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("kind", IN_TORCH)
def test_recurrent_layers_agree_with_torch(
    kind: Kind, num_layers: int, bidirectional: bool, lengths: list[int] | None
) -> None:
    check_recurrent(kind(4, 3, num_layers, bidirectional=bidirectional), 5, 3, lengths)


@pytest.mark.parametrize("lengths", [*LENGTHS, [0, 5, 2]], ids=str)
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_gru_with_reset_before_the_product_agrees_with_the_paper(
    num_layers: int, bidirectional: bool, lengths: list[int] | None
) -> None:
    check_recurrent(gru_before(4, 3, num_layers, bidirectional=bidirectional), 5, 3, lengths)


@pytest.mark.parametrize("kind", [*IN_TORCH, gru_before])
@pytest.mark.parametrize(
    ("T", "B", "D", "H", "lengths"),
    [(1, 1, 2, 1, None), (7, 1, 1, 6, None), (2, 4, 6, 2, [1, 2, 2, 1]), (7, 4, 2, 5, [7, 2, 6, 1])],
    ids=str,
)
def test_every_size_agrees_with_torch(kind: Kind, T: int, B: int, D: int, H: int, lengths: list[int] | None) -> None:
    check_recurrent(kind(D, H, 2, bidirectional=True), T, B, lengths)


@pytest.mark.parametrize("loss_on", [("y",), ("state",)], ids=["y", "state"])
@pytest.mark.parametrize("kind", [*IN_TORCH, gru_before])
def test_a_loss_on_y_or_on_the_final_state_alone_agrees_with_torch(kind: Kind, loss_on: tuple[str, ...]) -> None:
    check_recurrent(kind(4, 3, 2, bidirectional=True), 5, 3, [3, 5, 1], loss_on)


@pytest.mark.parametrize("lengths", [None, [2, 1, 4]], ids=str)
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize("kind", [*IN_TORCH, gru_before])
def test_trainable_initial_states_agree_with_a_parameter_expanded_over_the_batch(
    kind: Kind, bidirectional: bool, lengths: list[int] | None
) -> None:
    rng, T, B = np.random.default_rng(3), 5, 3
    layer = kind(4, 3, 2, bidirectional=bidirectional, trainable_state=True)
    leaves = drawn(layer, rng)
    x, dy, dfinal = (
        rng.normal(size=(T, B, 4)),
        rng.normal(size=(T, B, layer.output_size or 0)),
        state_for(layer, B, rng),
    )

    y, final, backward = layer.forward(padded(x, lengths, np.nan), lengths=lengths)
    dx, dstate = backward(padded(dy, lengths, np.nan), dfinal)

    starts = []
    for name in layer.cell.state:
        rows = torch.stack([leaves[f"{direction}.{name}0"] for direction in layer.children()])
        starts.append(rows[:, None].expand(-1, B, -1).contiguous())
        starts[-1].retain_grad()
    tx = leaf_of(x)
    ty, tfinal = torch_model(layer, leaves, tx, tuple(starts) if len(starts) > 1 else starts[0], lengths)
    (inner(ty, padded(dy, lengths, 0)) + inner(tfinal, dfinal)).backward()

    agree(
        {"y": y, **each("final state", final), "dx": dx, **each("d state", dstate), **our_gradients(layer)},
        {"y": ty, **each("final state", tfinal), "dx": tx.grad}
        | {**each("d state", grads_of(tuple(starts))), **gradients(leaves)},
    )


# ---------------------------------------------------------------------- whole models

V = 6  # characters


def tied(kind: Kind) -> Layer:
    embedding = minirnn.Embedding(V, 4)
    return minirnn.Sequential(embedding, kind(4, 4, 2), minirnn.Linear(4, V, tie=embedding))


def untied(kind: Kind) -> Layer:
    return minirnn.Sequential(minirnn.Embedding(V, 4), kind(4, 3, 2), minirnn.Linear(3, V))


def one_hot(kind: Kind) -> Layer:
    return minirnn.Sequential(kind(V, 3, 2), minirnn.Linear(3, V))


@pytest.mark.parametrize("lengths", [None, [3, 5, 1, 4]], ids=str)
@pytest.mark.parametrize("kind", [gru, lstm, gru_before, tanh_rnn])
@pytest.mark.parametrize("build", [untied, tied, one_hot])
def test_language_models_agree_with_torch(
    build: Callable[[Kind], Layer], kind: Kind, lengths: list[int] | None
) -> None:
    rng, T, B = np.random.default_rng(11), 5, 4
    model = build(kind)
    leaves = drawn(model, rng)
    ids, targets = rng.integers(0, V, (2, T, B))
    counts = rng.random((T, B)) < 0.7
    if lengths is not None:
        counts &= minirnn.length_mask(lengths, T)

    logits, finals, backward = model.forward(padded(ids, lengths, -1), lengths=lengths)
    loss, dlogits = minirnn.cross_entropy(logits, np.where(counts, targets, -1), counts)
    dx, dstate = backward(dlogits)
    assert dx is None  # indices have no gradient

    tx = torch.tensor(ids)
    if build is one_hot:
        tx = F.one_hot(tx, V).double()
    tlogits, tfinal = torch_model(model, leaves, tx, None, lengths)
    tlogits.retain_grad()
    expected = torch.tensor(np.where(counts, targets, -100))
    tloss = F.cross_entropy(tlogits.flatten(0, 1), expected.flatten(), ignore_index=-100)
    tloss.backward()

    place = 0 if build is one_hot else 1
    assert [k for k, d in enumerate(dstate) if d is not None] == [place]
    valid = slice(None) if lengths is None else minirnn.length_mask(lengths, T)
    agree(
        {"loss": loss, "logits": logits[valid], "d logits": dlogits, **each("final state", finals[place])}
        | our_gradients(model),
        {"loss": tloss, "logits": tlogits[valid], "d logits": tlogits.grad, **each("final state", tfinal)}
        | gradients(leaves),
    )


@pytest.mark.parametrize("lengths", [None, [3, 5, 1], [2, 1, 4]], ids=str)
@pytest.mark.parametrize(
    ("bidirectional", "both_ends"), [(False, False), (True, True), (True, False)], ids=["plain", "both-ends", "one-end"]
)
@pytest.mark.parametrize("kind", [tanh_rnn, gru, gru_before])
def test_many_to_one_with_last_and_mse_agrees_with_torch(
    kind: Kind, bidirectional: bool, both_ends: bool, lengths: list[int] | None
) -> None:
    rng, T, B = np.random.default_rng(5), 5, 3
    layer = kind(4, 3, 2, bidirectional=bidirectional)
    model = minirnn.Sequential(layer, minirnn.Last(bidirectional=both_ends), minirnn.Linear(layer.output_size or 0, 2))
    leaves = drawn(model, rng)
    x, state, target = rng.normal(size=(T, B, 4)), state_for(layer, B, rng), rng.normal(size=(B, 2))

    y, _, backward = model.forward(padded(x, lengths, np.nan), (state, None, None), lengths=lengths)
    loss, dy = minirnn.mse(y, target)
    dx, (dstate, _, _) = backward(dy)

    tx, tstate = leaf_of(x), leaf_of(state)
    ty, _ = torch_model(model, leaves, tx, tstate, lengths)
    tloss = F.mse_loss(ty, torch.tensor(target))
    tloss.backward()
    agree(
        {"loss": loss, "y": y, "dx": dx, **each("d state", dstate), **our_gradients(model)},
        {"loss": tloss, "y": ty, "dx": tx.grad, **each("d state", grads_of(tstate)), **gradients(leaves)},
    )


@pytest.mark.parametrize("lengths", [None, [3, 5, 1]], ids=str)
def test_bidirectional_around_a_layer_agrees_with_torchs_bidirectional_layer(lengths: list[int] | None) -> None:
    rng, T, B = np.random.default_rng(6), 5, 3
    model, twin = minirnn.Bidirectional(minirnn.LSTM(4, 3)), minirnn.LSTM(4, 3, bidirectional=True)
    leaves = drawn(model, rng)
    x, state = rng.normal(size=(T, B, 4)), state_for(twin, B, rng)
    dy, dfinal = rng.normal(size=(T, B, 6)), state_for(twin, B, rng)

    y, final, backward = model.forward(padded(x, lengths, np.nan), pair(state), lengths=lengths)
    dx, dstate = backward(padded(dy, lengths, np.nan), pair(dfinal))

    renamed = {"0" + name.removeprefix("forward.0"): leaf for name, leaf in leaves.items() if name.startswith("f")}
    renamed |= {"0.reverse" + name.removeprefix("reverse.0"): leaves[name] for name in leaves if name.startswith("r")}
    tx, tstate = leaf_of(x), leaf_of(state)
    ty, tfinal = torch_model(twin, renamed, tx, tstate, lengths)
    (inner(ty, padded(dy, lengths, 0)) + inner(tfinal, dfinal)).backward()
    agree(
        {"y": y, "dx": dx, **our_gradients(model)}
        | {**each("ahead", final[0]), **each("back", final[1])}
        | {**each("d ahead", dstate[0]), **each("d back", dstate[1])},
        {"y": ty, "dx": tx.grad, **gradients(leaves)}
        | {**each("ahead", pair(tfinal)[0]), **each("back", pair(tfinal)[1])}
        | {**each("d ahead", pair(grads_of(tstate))[0]), **each("d back", pair(grads_of(tstate))[1])},
    )


# ---------------------------------------------------------------------- losses


@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@pytest.mark.parametrize("scale", [1.0, 1e4], ids=["moderate", "extreme"])
@pytest.mark.parametrize("shape", [(5, 3), (7,), (1, 1)], ids=str)
def test_cross_entropy_agrees_with_torch(shape: tuple[int, ...], scale: float, masked: bool) -> None:
    rng = np.random.default_rng(2)
    logits, targets = rng.normal(size=(*shape, V)), rng.integers(0, V, shape)
    if scale > 1:  # ±1e4, ties among them
        logits = np.where(logits > 0, scale, -scale)
        targets[(0,) * len(shape)] = int(logits[(0,) * len(shape)].argmin())
    counts = rng.random(shape) < 0.6
    counts[(0,) * len(shape)] = True

    if masked:
        unclean = np.where(counts[..., None], logits, np.nan)
        loss, dlogits = minirnn.cross_entropy(unclean, np.where(counts, targets, 99), counts)
    else:
        loss, dlogits = minirnn.cross_entropy(logits, targets)

    leaf = leaf_of(logits)
    expected = torch.tensor(np.where(counts, targets, -100) if masked else targets)
    tloss = F.cross_entropy(leaf.reshape(-1, V), expected.flatten(), ignore_index=-100)
    tloss.backward()
    agree({"loss": loss, "d logits": dlogits}, {"loss": tloss, "d logits": leaf.grad})


@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
def test_mse_agrees_with_torch(masked: bool) -> None:
    rng = np.random.default_rng(4)
    y, target, counts = rng.normal(size=(5, 3, 2)), rng.normal(size=(5, 3, 2)), rng.random((5, 3)) < 0.6
    loss, dy = minirnn.mse(np.where(counts[..., None], y, np.nan), target, counts) if masked else minirnn.mse(y, target)

    leaf, chosen = leaf_of(y), torch.tensor(counts if masked else np.ones_like(counts))
    tloss = F.mse_loss(leaf[chosen], torch.tensor(target)[chosen])
    tloss.backward()
    agree({"loss": loss, "dy": dy}, {"loss": tloss, "dy": leaf.grad})


# ---------------------------------------------------------------------- clipping and optimisers


def small_model() -> tuple[Layer, Tensors]:
    model = minirnn.Sequential(minirnn.GRU(3, 2), minirnn.Linear(2, 3))
    return model, drawn(model, np.random.default_rng(8))


def set_gradients(model: Layer, leaves: Tensors, rng: np.random.Generator, scale: float = 1.0) -> None:
    """Write the same gradients into ``model.grads`` and into the leaves."""
    for name, g in model.named_grads().items():
        g[...] = scale * rng.normal(size=g.shape)
        leaves[name].grad = torch.tensor(g)


@pytest.mark.parametrize("max_norm", [1e-3, 0.5, 1e3])
def test_clip_grad_norm_agrees_with_torch(max_norm: float) -> None:
    model, leaves = small_model()
    set_gradients(model, leaves, np.random.default_rng(9))
    norm = minirnn.clip_grad_norm(model, max_norm)
    tnorm = torch.nn.utils.clip_grad_norm_(leaves.values(), max_norm)
    if max_norm < norm:  # torch divides by norm + 1e-6
        for leaf in leaves.values():
            leaf.grad *= (tnorm + 1e-6) / tnorm
    agree({"norm": np.float64(norm), **our_gradients(model)}, {"norm": tnorm, **gradients(leaves)})


@pytest.mark.parametrize("limit", [0.3, 1e3])
def test_clip_grad_value_agrees_with_torch(limit: float) -> None:
    model, leaves = small_model()
    set_gradients(model, leaves, np.random.default_rng(9))
    minirnn.clip_grad_value(model, limit)
    torch.nn.utils.clip_grad_value_(leaves.values(), limit)
    agree(our_gradients(model), gradients(leaves))


OPTIMISERS: list[tuple[Any, Any, dict[str, Any]]] = [
    (minirnn.SGD, torch.optim.SGD, {"lr": 0.1}),
    (minirnn.SGD, torch.optim.SGD, {"lr": 0.1, "weight_decay": 0.2}),
    (minirnn.SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.8}),
    (minirnn.SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.8, "nesterov": True}),
    (minirnn.SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.2}),
    (minirnn.Adam, torch.optim.Adam, {}),
    (minirnn.Adam, torch.optim.Adam, {"lr": 0.1, "betas": (0.7, 0.8), "eps": 0.01}),
    (minirnn.Adam, torch.optim.Adam, {"lr": 0.1, "weight_decay": 0.2}),
    (minirnn.AdamW, torch.optim.AdamW, {}),
    (minirnn.AdamW, torch.optim.AdamW, {"lr": 0.1, "betas": (0.7, 0.8), "eps": 0.01, "weight_decay": 0.2}),
    (minirnn.RMSProp, torch.optim.RMSprop, {}),
    (minirnn.RMSProp, torch.optim.RMSprop, {"lr": 0.1, "alpha": 0.8, "eps": 0.01, "weight_decay": 0.2}),
]


@pytest.mark.parametrize(
    ("ours", "theirs", "options"), OPTIMISERS, ids=lambda v: v.__name__ if isinstance(v, type) else str(v)
)
def test_every_step_of_the_optimisers_agrees_with_torch(ours: Any, theirs: Any, options: dict[str, Any]) -> None:
    model, leaves = small_model()
    optimiser, oracle, rng = ours(model, **options), theirs(leaves.values(), **options), np.random.default_rng(10)
    for _ in range(8):
        set_gradients(model, leaves, rng)
        optimiser.step()
        oracle.step()
        agree(model.named_weights(), leaves)
        assert not model.grads.any()


def test_a_schedule_and_frozen_weights_agree_with_torch() -> None:
    model, leaves = small_model()
    model.freeze("0.0.U", "1.b")
    free = [leaf for name, leaf in leaves.items() if name not in ("0.0.U", "1.b")]
    optimiser = minirnn.AdamW(model, lambda step: 0.1 * 0.9**step, clip=1.0)
    oracle = torch.optim.AdamW(free, lr=0.1)
    schedule = torch.optim.lr_scheduler.ExponentialLR(oracle, 0.9)
    rng = np.random.default_rng(12)
    for _ in range(6):
        set_gradients(model, leaves, rng, scale=2.0)
        norm = optimiser.step()
        tnorm = torch.nn.utils.get_total_norm([leaf.grad for leaf in free])
        for leaf in free:
            leaf.grad *= 1.0 / tnorm
        oracle.step()
        schedule.step()
        agree({"norm": np.float64(norm), **model.named_weights()}, {"norm": tnorm, **leaves})
