"""Attention over steps: against scalar loops and torch, gradients, lengths, masks, and what it refuses."""

import itertools
from math import exp, sqrt, tanh
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirnn import (
    GRU,
    Attention,
    Call,
    Entry,
    Last,
    Layer,
    LayerGraph,
    Linear,
    Masking,
    MultiHeadAttention,
    Sequential,
)
from minirnn.core.backend import Array
from minirnn.layers.attention import SCORES
from minirnn.testing import check_gradients

RNG = np.random.default_rng(8)
SIZES = st.integers(1, 4)


def ready(model: Layer, seed: int = 0) -> Any:
    model.init(seed, dtype="float64", backend="numpy")
    model.weights[...] = np.random.default_rng(seed).normal(size=model.weights.shape)
    model.bound.clear_gaps()
    return model


def reading(layer: Attention | MultiHeadAttention, *sizes: int) -> Any:
    """A graph that gives the layer what it reads: a query, a value, keys."""
    names = ["query", "value", "key"][: len(sizes)]
    entries = [Entry(name, size) for name, size in zip(names, sizes, strict=True)]
    return ready(LayerGraph(entries, {"attend": layer}, [Call("y", "attend", names)], ["y"]))


def mixed(scores: list[float], values: list[list[float]]) -> list[float]:
    """Values weighed by the softmax of their scores; 0 of none."""
    weights = [exp(e) for e in scores]
    total = sum(weights)
    return [sum(w * v[k] for w, v in zip(weights, values, strict=True)) / (total or 1) for k in range(len(values[0]))]


def expected(layer: Attention, w: dict[str, Array], q: Array, k: Array, v: Array, b: int, n: int) -> list[list[float]]:
    """One row of the batch, whose value has n steps, by loops."""
    rows = []
    for t in range(len(q)):
        scores = []
        for s in range(n):
            if layer.causal and s > t:
                continue
            pairs = [(float(q[t, b, d]), float(k[s, b, d])) for d in range(layer.num_features)]
            g = np.broadcast_to(w.get("g", np.ones(1)), len(pairs)).tolist()
            if layer.score == "dot":
                scores.append(sum(g[d] * x * y for d, (x, y) in enumerate(pairs)))
            elif layer.score == "additive":
                scores.append(sum(g[d] * tanh(x + y) for d, (x, y) in enumerate(pairs)))
            else:
                scores.append(float(w["u"][0]) * sum(tanh(g[d] * (x + y)) for d, (x, y) in enumerate(pairs)))
        if scores:
            rows.append(mixed(scores, [v[s, b].tolist() for s in range(len(scores))]))
        else:
            rows.append([0.0] * v.shape[2])
    return rows


@given(st.data(), st.sampled_from(SCORES), st.booleans(), st.booleans())
def test_attention_is_what_loops_compute(data: st.DataObject, score: str, scale: bool, causal: bool) -> None:
    T, S, B, D, E = (data.draw(SIZES) for _ in range(5))
    layer = Attention(D, score, scale=scale, causal=causal)
    model = reading(layer, D, E, D)
    q, v, k = (RNG.normal(size=shape) for shape in ((T, B, D), (S, B, E), (S, B, D)))
    lengths = data.draw(st.lists(st.integers(0, S), min_size=B, max_size=B))
    y = model.run({"query": q, "value": v, "key": k}, lengths={"value": lengths})[0]["y"]
    w = {name.removeprefix("attend."): a for name, a in model.named_weights().items()}
    for b, n in enumerate(lengths):
        np.testing.assert_allclose(y[:, b], expected(layer, w, q, k, v, b, n), atol=1e-12)
    alone = ready(Attention(D, score, scale=scale, causal=causal))
    w = dict(alone.named_weights())
    for b in range(B):
        np.testing.assert_allclose(alone(q)[0][:, b], expected(layer, w, q, q, q, b, T), atol=1e-12)


@given(st.data(), st.booleans(), st.booleans())
def test_every_head_is_attention_of_projections(data: st.DataObject, causal: bool, bias: bool) -> None:
    T, S, B, N, H, E, out = (data.draw(SIZES) for _ in range(7))
    D, V, K = (data.draw(SIZES) for _ in range(3))
    layer = MultiHeadAttention(D, N, H, E, out, [V, K], bias=bias, causal=causal)
    model = reading(layer, D, V, K)
    q, v, k = (RNG.normal(size=shape) for shape in ((T, B, D), (S, B, V), (S, B, K)))
    y = model.run({"query": q, "value": v, "key": k})[0]["y"]
    w = {name.removeprefix("attend."): a for name, a in model.named_weights().items()}

    def projected(name: str, x: Array) -> Array:
        y: Array = x @ w[f"{name}.W"] + w.get(f"{name}.b", 0)
        return y

    heads, plain = [], Attention(H, causal=causal)
    for n in range(N):
        key, value = (projected(name, x)[..., n * m : (n + 1) * m] for name, x, m in (("key", k, H), ("value", v, E)))
        query = projected("query", q)[..., n * H : (n + 1) * H] / sqrt(H)
        heads.append([expected(plain, {}, query, key, value, b, S) for b in range(B)])
    joint = np.concatenate([np.array(head).transpose(1, 0, 2) for head in heads], axis=-1)
    np.testing.assert_allclose(y, projected("output", joint), atol=1e-12)


@pytest.mark.extras
@pytest.mark.parametrize(("kdim", "vdim"), [(None, None), (4, 5)])
def test_heads_compute_what_torch_does(kdim: int | None, vdim: int | None) -> None:
    torch: Any = pytest.importorskip("torch")
    theirs = torch.nn.MultiheadAttention(6, 2, kdim=kdim, vdim=vdim, dtype=torch.float64)
    torch.nn.init.normal_(theirs.in_proj_bias)
    ours = reading(MultiHeadAttention(6, 2, sizes_read=[vdim or 6, kdim or 6]), 6, vdim or 6, kdim or 6)
    apart = [theirs.q_proj_weight, theirs.k_proj_weight, theirs.v_proj_weight]
    matrices = apart if kdim else theirs.in_proj_weight.chunk(3)
    biases = theirs.in_proj_bias.detach().numpy().reshape(3, 6)
    for name, W, b in zip(("query", "key", "value"), matrices, biases, strict=True):
        ours.named_weights()[f"attend.{name}.W"][...] = W.detach().numpy().T
        ours.named_weights()[f"attend.{name}.b"][...] = b
    ours.named_weights()["attend.output.W"][...] = theirs.out_proj.weight.detach().numpy().T
    ours.named_weights()["attend.output.b"][...] = theirs.out_proj.bias.detach().numpy()
    q, v, k = (RNG.normal(size=shape) for shape in ((5, 2, 6), (4, 2, vdim or 6), (4, 2, kdim or 6)))
    lengths = np.array([4, 2])
    past = torch.tensor(np.arange(4) >= lengths[:, None])
    wanted, _ = theirs(torch.tensor(q), torch.tensor(k), torch.tensor(v), key_padding_mask=past)
    feed = {"query": q, "value": v, "key": k}
    y = ours.run(feed, lengths={"value": lengths})[0]["y"]
    np.testing.assert_allclose(y, wanted.detach().numpy(), atol=1e-12)


# ---------------------------------------------------------------------- gradients


@pytest.mark.parametrize("read", [1, 2, 3])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("score", [*SCORES, "heads"])
def test_gradients(score: str, scale: bool, causal: bool, read: int) -> None:
    """Of what is read once, twice and three times, with lengths, 0 among them."""
    layers: dict[str, Layer] = {"a": Linear(3, 3)}
    if read > 1:
        layers["b"] = Linear(3, 3)
    if read > 2:
        layers["c"] = Linear(3, 3)
    calls = [Call(name, name, ["x"]) for name in layers]
    calls.append(Call("y", "attend", list(layers)))
    if score == "heads":
        layers["attend"] = MultiHeadAttention(3, 2, 2, 3, 4, bias=scale, causal=causal)
    else:
        layers["attend"] = Attention(3, score, scale=scale, causal=causal)
    model = ready(LayerGraph([Entry("x", 3)], layers, calls, ["y"]), read)
    x = RNG.normal(size=(4, 3, 3))
    check_gradients(model, x)
    check_gradients(model, x, lengths=[4, 2, 0])


def test_a_mask_is_kept_and_read() -> None:
    x = RNG.normal(size=(6, 2, 3))
    x[2], x[4, 0] = 0, 0
    model = ready(Sequential(Masking(), Attention(3), GRU(3, 2), Last()))
    check_gradients(model, x)
    np.testing.assert_allclose(model(x)[0][1:], model(np.delete(x[:, 1:], 2, axis=0))[0])
    np.testing.assert_allclose(model(x)[0][:1], model(x[[0, 1, 3, 5], :1])[0])
    alone = ready(Sequential(Masking(), Attention(3)))
    assert not alone(x)[0][2].any()
    for score, big in itertools.product(SCORES, (1e3, 1e150)):  # nothing overflows
        assert np.isfinite(ready(Attention(3, score))(x * big)[0]).all()


# ---------------------------------------------------------------------- what it refuses


def test_what_does_not_fit_is_refused() -> None:
    for make, words in (
        (lambda: Attention(0), "num_features must be an integer of at least 1"),
        (lambda: Attention(2, "cosine"), "score must be one of dot, additive, concat; got 'cosine'"),
        (lambda: MultiHeadAttention(5, 2), "a multiple of num_heads, or key_size be given; got 5 and 2"),
        (lambda: MultiHeadAttention(4, 2, sizes_read=[4]), "those of values and keys; got 1"),
        (lambda: reading(Attention(3), 3, 4, 2), "expects 3 features of a key; got 2"),
        (lambda: reading(Attention(3), 4), "expects 3 features of a query; got 4"),
        (lambda: reading(MultiHeadAttention(4, 2), 4, 3), "expects 4 features of a value; got 3"),
    ):
        with pytest.raises(ValueError, match=words):
            make()
    model = reading(Attention(3), 3, 3, 3)
    feed = {name: np.zeros((4, 1, 3)) for name in ("query", "value", "key")}
    with pytest.raises(ValueError, match="expects a key for each value; got 2 and 4"):
        model.run(feed | {"key": np.zeros((2, 1, 3))})
    with pytest.raises(ValueError, match="reads forward only"):
        ready(Sequential(GRU(3, 3), Attention(3))).stream()
    long = np.zeros((20_000, 1, 3))
    for layer in (Attention(3), Attention(3, "additive"), MultiHeadAttention(3, 1)):
        with pytest.raises(ValueError, match="268,435,456 bytes a row; of these steps it would take"):
            ready(layer)(long)
