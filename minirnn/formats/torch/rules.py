"""torch's operations that are modules with weights: what each makes of tensors, by the name of its function.

A rule gives the tensor, ``Unknown`` with words, or None for what no layer stands for.
"""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from minirnn.formats.torch.attending import ATTENTION, WITHIN
from minirnn.formats.torch.outline import MODES, Settings, Step, number, settings
from minirnn.formats.torch.tracing import NotFollowedError, States, Tensor, Trace, Unknown, Value, Weight, Zeros
from minirnn.layers.normalisation import LayerNorm


def _embedding(trace: Trace, weight: Value, indices: Value, *_: Value, **__: Value) -> Value:
    if not isinstance(indices, Tensor) or not isinstance(weight, Weight):
        return None
    axes = trace.of_rank(indices, 2)
    if axes is None or indices.node not in trace.inputs:
        return None
    path = path_of(weight, "weight")
    trace.kinds[path] = "Embedding"
    return trace.add(Step(path, stated=True), indices, axes=(*axes, "D"))


def _linear(trace: Trace, x: Value, weight: Value, bias: Value = None) -> Value:
    if not isinstance(x, Tensor) or not isinstance(weight, Weight) or not _last_is_features(trace, x):
        return None
    path = path_of(weight, "weight")
    if bias is not None and (not isinstance(bias, Weight) or path_of(bias, "bias") != path):
        return Unknown("a Linear has its weight and its bias from two modules")
    trace.kinds[path] = "Linear"
    return trace.same(Step(path, stated=True), x)


def _last_is_features(trace: Trace, x: Tensor) -> bool:
    axes = trace.axes(x)
    return axes is None or trace.is_same(axes[-1], "D")


# ---------------------------------------------------------------------- recurrent modules


def _recurrent_of(mode: str) -> Callable[..., Value]:
    """The rule of torch.lstm and the like, whose arguments are those of torch's function."""
    kind, nonlinearity = MODES[mode]

    def compute(
        trace: Trace,
        x: Value,
        hx: Value,
        params: Value,
        has_biases: Value,
        num_layers: Value,
        dropout: Value,
        train: Value,
        bidirectional: Value,
        batch_first: Value,
    ) -> Value:
        if not isinstance(x, Tensor) or not isinstance(params, list):
            return None
        about = {"num_layers": num_layers, "dropout": dropout, "bidirectional": bidirectional}
        about |= {"batch_first": batch_first}
        own = settings(kind, about)._replace(proj_size=None, nonlinearity=nonlinearity)
        made = recurrent(trace, x, hx, path_of_all(params, own, biases=has_biases is True), own)
        return made if isinstance(made, Unknown) or kind != "LSTM" else (made[0], *made[1])

    return compute


def recurrent(trace: Trace, x: Tensor, hx: Value, path: str, own: Settings) -> Value:
    """The outputs of a recurrent module, y and its final states, that begins with the states ``hx``."""
    if not trace.fits(x, "BTD" if own.batch_first else "TBD"):
        raise NotFollowedError(f"the steps that {path!r:.60} reads are not along the axis of time")
    lstm, directions = own.kind == "LSTM", 2 if own.bidirectional else 1
    states = hx if type(hx) in (list, tuple) else [hx]
    initial = None
    if not all(one is None or type(one) is Zeros for one in states):
        count = (own.num_layers or 1) * directions
        names = ["h", "c"] if lstm else ["h"]
        wanted = [States(one.y, count, directions, name) for one, name in zip(states, names, strict=False)
                  if isinstance(one, States)]  # fmt: skip
        if wanted != [*states] or len(wanted) != len(names) or len({one.y for one in wanted}) > 1:
            return Unknown("initial states are given")
        initial = wanted[0].y.node
    trace.settings[path], trace.kinds[path] = own, own.kind or ""
    y = trace.add(Step(path, stated=True), x, axes=x.axes, initial=initial)
    h, c = (States(y, (own.num_layers or 1) * directions, directions, name) for name in "hc")
    return (y, (h, c)) if lstm else (y, h)


# ---------------------------------------------------------------------- around them


def _layer_norm(
    trace: Trace,
    x: Value,
    normalized_shape: Value,
    weight: Value = None,
    bias: Value = None,
    eps: Value = 1e-5,
    *_: Value,
    **__: Value,
) -> Value:
    if not isinstance(x, Tensor) or not isinstance(normalized_shape, list) or len(normalized_shape) != 1:
        return None
    if not _last_is_features(trace, x):
        return Unknown("a LayerNorm is over another axis than that of the features")
    if weight is None and bias is None:
        layer = LayerNorm(normalized_shape[0], number(eps, "eps"), gain=False, bias=False)
        return trace.same(Step("", layer, stated=True), x)
    return _weighted(trace, "LayerNorm", x, [weight, bias], {"eps": number(eps, "eps")})


def _batch_norm(
    trace: Trace,
    x: Value,
    weight: Value,
    bias: Value,
    running_mean: Value,
    running_var: Value,
    training: Value,
    momentum: Value,
    eps: Value,
    cudnn_enabled: Value = None,
) -> Value:
    if not isinstance(x, Tensor) or training is True or not isinstance(running_mean, Weight):
        return None
    if not (trace.fits(x, "BD") if len(trace.axes(x) or "   ") == 2 else trace.fits(x, "BDT")):
        return Unknown("a BatchNorm1d is over another axis than that of the features")
    path = path_of(running_mean, "running_mean")
    trace.kinds[path], trace.about[path] = "BatchNorm1d", {"eps": number(eps, "eps")}
    return trace.same(Step(path, stated=True), x)


def _prelu(trace: Trace, x: Value, weight: Value) -> Value:
    if not isinstance(x, Tensor) or not isinstance(weight, Weight):
        return None
    axes = trace.axes(x)
    if axes is None or not trace.is_same(axes[1], "D"):
        return Unknown("a PReLU is over another axis than that of the features, as far as is known")
    return _weighted(trace, "PReLU", x, [weight], {})


def _conv1d(
    trace: Trace,
    x: Value,
    weight: Value,
    bias: Value = None,
    stride: Value = 1,
    padding: Value = 0,
    dilation: Value = 1,
    groups: Value = 1,
    *_: Value,
) -> Value:
    if not isinstance(x, Tensor) or not trace.fits(x, "BDT"):
        return None
    about = {"stride": _one(stride), "dilation": _one(dilation), "groups": _one(groups)}
    about["padding"] = 0 if padding == "valid" else padding if padding == "same" else _one(padding)
    return _weighted(trace, "Conv1d", x, [weight, bias], about)


def _convolution(
    trace: Trace,
    x: Value,
    weight: Value,
    bias: Value,
    stride: Value,
    padding: Value,
    dilation: Value,
    transposed: Value,
    output_padding: Value,
    groups: Value,
    *_: Value,
) -> Value:
    """The same as a trace has it."""
    if transposed is not False:
        return None
    return _conv1d(trace, x, weight, bias, stride, padding, dilation, groups)


def _one(value: Value) -> int:
    """A number, or the only one of a list; ValueError for anything else."""
    value = value[0] if type(value) is list and len(value) == 1 else value
    if type(value) is not int or value < 0:
        raise ValueError("expects one number")
    return value


def _weighted(trace: Trace, kind: str, x: Tensor, weights: Sequence[Value], about: dict[str, Any]) -> Value:
    """A module of that kind, whose tensors these are: weight, and bias or None."""
    weight, *more = weights
    if not isinstance(weight, Weight):
        return None
    path = path_of(weight, "weight")
    for bias in more:
        if bias is not None and (not isinstance(bias, Weight) or path_of(bias, "bias") != path):
            return Unknown(f"a {kind} has its weight and its bias from two modules")
    trace.kinds[path], trace.about[path] = kind, about
    return trace.same(Step(path, stated=True), x)


# ---------------------------------------------------------------------- attention


def _native_attention(
    trace: Trace,
    query: Value,
    key: Value,
    value: Value,
    embed_dim: Value,
    num_heads: Value,
    qkv_weight: Value,
    qkv_bias: Value,
    proj_weight: Value,
    proj_bias: Value,
    mask: Value = None,
    *_: Value,
) -> Value:
    """A MultiheadAttention as a trace has it where torch computes it in one."""
    if not isinstance(qkv_weight, Weight) or type(num_heads) is not int:
        return None
    path = path_of(qkv_weight, "in_proj_weight")
    if proj_weight != Weight(f"{path}.{WITHIN}.weight" if path else f"{WITHIN}.weight"):
        return Unknown("attention has its projections from two modules")
    about = {"num_heads": num_heads}
    return attention(trace, (query, key, value), path, about, batch_first=True, masks=[mask])


def attention(
    trace: Trace, read: Sequence[Value], path: str, about: dict[str, Any], *, batch_first: bool, masks: Sequence[Value]
) -> Value:
    """What a MultiheadAttention makes of query, keys and values, and its scores, which no layer gives."""
    unknown = next((one for one in read if isinstance(one, Unknown)), None)
    if unknown or not all(isinstance(one, Tensor) for one in read):
        return unknown or Unknown(f"{path!r:.60} reads what is no tensor")
    if any(mask is not None for mask in masks):
        return Unknown(f"{path!r:.60} is given a mask")
    if not all(trace.fits(one, "BTD" if batch_first else "TBD") for one in read):
        raise NotFollowedError(f"the steps that {path!r:.60} reads are not along the axis of time")
    query, key, value = read
    reads = (query, value, key) if key.node != value.node else (query, value) if value.node != query.node else (query,)
    trace.settings[path], trace.kinds[path], trace.about[path] = Settings(batch_first=batch_first), ATTENTION, about
    y = trace.add(Step(path, stated=True), *reads, axes=query.axes)
    return (y, Unknown(f"the scores of {path!r:.60} are used"))


# ---------------------------------------------------------------------- names of weights


def path_of(weight: Weight, leaf: str) -> str:
    """The path of the module that has this weight under the name ``leaf``."""
    path, _, last = weight.name.rpartition(".")
    if last != leaf:
        raise NotFollowedError(f"{weight.name!r:.60} is used as the {leaf} of a layer")
    return path


def path_of_all(params: list[Value], own: Settings, *, biases: bool) -> str:
    """The path of the recurrent module that has these weights, in torch's order."""
    if not params or not all(isinstance(one, Weight) for one in params):
        raise NotFollowedError("the weights of a recurrent module are not in the file")
    path = str(params[0].name.rpartition(".")[0])
    leaves = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if biases else [])]
    per_direction, projected = len(leaves), len(leaves) + 1
    directions = ("", "_reverse") if own.bidirectional else ("",)
    count = (own.num_layers or 0) * len(directions)
    if len(params) == count * projected:
        leaves.append("weight_hr")
    elif len(params) != count * per_direction:
        raise NotFollowedError(f"{path!r:.60} has other weights than its function takes")
    names = [f"{leaf}_l{k}{end}" for k, end, leaf in product(range(own.num_layers or 0), directions, leaves)]
    if [one.name for one in params] != [f"{path}.{name}" if path else name for name in names]:
        raise NotFollowedError(f"the weights of {path!r:.60} are not in their order")
    return path


RULES: dict[str, Callable[..., Value]] = {
    "embedding": _embedding,
    "linear": _linear,
    "layer_norm": _layer_norm,
    "batch_norm": _batch_norm,
    "prelu": _prelu,
    "conv1d": _conv1d,
    "_convolution": _convolution,
    "_native_multi_head_attention": _native_attention,
    **{mode.lower(): _recurrent_of(mode) for mode in MODES},
}
