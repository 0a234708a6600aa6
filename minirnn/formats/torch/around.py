"""torch's modules around a recurrence: norms, convolutions, PReLU, attention, and pooling over time.

A state dict has their weights.  What else they were made with, a convolution's stride and padding, a norm's ε, the
heads of attention, only a whole module says: ``attributes_of`` reads it of one, ``pool`` makes the layers without
weights.  torch's x is (B, D, T) for a convolution and a pool; here it is (T, B, D), whatever comes before and after
them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from minirnn.core.backend import Array
from minirnn.formats.containers.pickle import shown
from minirnn.formats.torch.attending import ATTENTION, attention, attributes, is_attention
from minirnn.formats.torch.modules import Built, Fetch, Module, Unknown, Weights
from minirnn.formats.torch.outline import Settings, number
from minirnn.formats.torch.pools import one
from minirnn.formats.torch.stored import Named
from minirnn.layers.convolution import Conv1d
from minirnn.layers.feedforward import PReLU
from minirnn.layers.normalisation import BatchNorm1d, LayerNorm
from minirnn.layers.windows import Padding

KINDS = ("LayerNorm", "BatchNorm1d", "Conv1d", "PReLU", ATTENTION)
EPSILON = 1e-5  # torch's default
COUNTER = "num_batches_tracked"  # a buffer of BatchNorm1d's that has no part in inference
About = Mapping[str, Any]


@dataclass(frozen=True)
class AroundModule(Module):
    """One of ``KINDS``; ``about`` has what else the file says of it, None where that is a state dict."""

    about: About | None = field(default=None)

    @property
    def sized(self) -> bool:
        return self.kinds != ("PReLU",) or self.tensors["weight"].shape != (1,)

    def widths(self, kind: str) -> tuple[int, int]:
        shape = next(iter(self.tensors.values())).shape
        if kind == "Conv1d":
            out, width, _ = self.tensors["weight"].shape
            return width * (self.about or {}).get("groups", 1), out
        if kind == ATTENTION:
            return (self.tensors["in_proj_weight"].shape[1],) * 2
        return shape[0], shape[0]

    def build(self, kind: str, fetch: Fetch, own: Settings) -> Built:
        """The layer; ValueError where more than weights is needed, and the file has no more."""
        D, about = self.widths(kind)[0], self.about or {}
        present = self.tensors.keys()
        if kind == "PReLU":
            return Built(PReLU(D), {"a": lambda: fetch("weight")})
        if kind == "Conv1d":
            return self._convolution(fetch)
        if kind == ATTENTION:
            return self._attention(fetch)
        names = {"g": "weight", "b": "bias", "mean": "running_mean", "var": "running_var"}
        weights: Weights = {name: partial(fetch, theirs) for name, theirs in names.items() if theirs in present}
        if kind == "LayerNorm":
            return Built(LayerNorm(D, about.get("eps", EPSILON), gain="g" in weights, bias="b" in weights), weights)

        plain: Weights = {"g": lambda: np.ones(D, np.float32), "b": lambda: np.zeros(D, np.float32)}  # of affine=False
        return Built(BatchNorm1d(D, about.get("eps", EPSILON)), plain | weights)

    def _convolution(self, fetch: Fetch) -> Built:
        if self.about is None:
            raise ValueError(
                f"{self.path!r:.60} looks like an nn.Conv1d, whose stride, padding and dilation no state dict has: "
                f'say them, layers="{self.path:.60}(stride=1, padding=1), relu, ...", or save the whole module, '
                "torch.save(model, path)"
            )
        (out, _, kernel), (D, _) = self.tensors["weight"].shape, self.widths("Conv1d")
        layer = Conv1d(D, out, kernel, bias="bias" in self.tensors, **self.about)

        def matrix() -> Array:
            """(out, in / groups, K) as (K · in / groups, out)."""
            return fetch("weight").transpose(2, 1, 0).reshape(-1, out)

        bias = {"b": lambda: fetch("bias")} if "bias" in self.tensors else {}
        return Built(layer, {"W": matrix, **bias})

    def _attention(self, fetch: Fetch) -> Built:
        if "num_heads" not in (self.about or {}):
            raise ValueError(
                f"{self.path!r:.60} looks like an nn.{ATTENTION}, whose number of heads no state dict has: "
                f'say it, layers="..., {self.path:.60}(num_heads=4), ...", or save the whole module, '
                "torch.save(model, path)"
            )
        bias = "in_proj_bias" in self.tensors
        return Built(*attention(self.widths(ATTENTION)[0], (self.about or {})["num_heads"], fetch, bias=bias))


class Undecided(Unknown):
    """A module of one weight for each feature, of which only its class, or the caller, can tell what it is."""

    def describe(self) -> str:
        return f"{self.path!r:.60}, an nn.PReLU or a LayerNorm without a bias (kinds={{{self.path!r:.60}: 'PReLU'}})"


def around(path: str, tensors: Mapping[str, Named]) -> AroundModule | None:
    """The module of these tensors, None where they are of another kind."""
    own = {name: tensor for name, tensor in tensors.items() if name != COUNTER}
    shapes = {name: tensor.shape for name, tensor in own.items()}
    first = shapes.get("weight", shapes.get("running_mean", ()))
    rest = {shape for name, shape in shapes.items() if name != "weight"}
    if len(first) == 3 and shapes.keys() <= {"weight", "bias"} and rest <= {first[:1]}:
        return AroundModule(path, own, ("Conv1d",))
    if is_attention(shapes):
        return AroundModule(path, own, (ATTENTION,))
    if len(first) != 1 or not rest <= {first}:
        return None
    if shapes.keys() - {"weight", "bias"} == {"running_mean", "running_var"}:
        return AroundModule(path, own, ("BatchNorm1d",))
    if shapes.keys() == {"weight", "bias"}:
        return AroundModule(path, own, ("LayerNorm",))
    if shapes.keys() == {"weight"}:
        return AroundModule(path, own, ("PReLU",) if first == (1,) else ("PReLU", "LayerNorm"))
    return None


def having(module: Module, about: About | None) -> Module:
    """The module with what a file says of it beside its weights."""
    return replace(module, about=about) if isinstance(module, AroundModule) and about is not None else module


# ---------------------------------------------------------------------- attributes of whole modules


def attributes_of(kind: str, values: Mapping[Any, Any]) -> dict[str, Any]:
    """What a layer of one of ``KINDS`` is made with, beside sizes; ValueError where no layer can be."""
    if kind == "PReLU":
        return {}
    if kind == ATTENTION:
        return dict(attributes(values))
    if kind != "Conv1d":
        return {"eps": number(values.get("eps", EPSILON), "eps")}
    if values.get("padding_mode", "zeros") != "zeros":
        raise ValueError(f"padding_mode must be zeros; it is {shown(values['padding_mode'])}")
    about: dict[str, Any] = {word: one(values, word, 1) for word in ("stride", "dilation", "groups")}
    return about | {"padding": _padding(values)}


def _padding(values: Mapping[Any, Any]) -> Padding:
    value = values.get("padding", 0)
    if isinstance(value, str):
        return 0 if value == "valid" else value
    return one(values, "padding", 0)
