"""The operations of torch's programs by name: what TorchScript's code and the graphs of torch.export call."""

from collections.abc import Callable, Mapping, Sequence

from minirnn.formats.torch import moves, rules
from minirnn.formats.torch.outline import activation
from minirnn.formats.torch.tracing import FinalState, Tensor, Trace, Unknown, Value, Zeros

RULES: dict[str, Callable[..., Value]] = {**rules.RULES, **moves.RULES}
KEEP = ("cat", "slice")  # take a final state for what it is; to all others it is a tensor
SAME = ("contiguous", "clone", "detach", "alias")


def call(trace: Trace, name: str, arguments: Sequence[Value], named: Mapping[str, Value]) -> Value:
    """What ``torch.<name>`` makes of its arguments."""
    if name in ("zeros", "zeros_like", "new_zeros"):
        return Zeros()
    operands = [*arguments, *named.values()]
    operands += [one for several in operands if type(several) is list for one in several]
    unknown = next((one for one in operands if isinstance(one, Unknown)), None)
    if name in SAME and operands:
        return operands[0]
    rule = RULES.get(name, RULES.get(name.rstrip("_")))  # relu_ is relu, in place
    if name not in KEEP:
        arguments = [trace.state(one) if isinstance(one, FinalState) else one for one in arguments]
        named = {word: trace.state(one) if isinstance(one, FinalState) else one for word, one in named.items()}
    try:
        if rule:
            made = rule(trace, *arguments, **named)
            return made if made is not None else unknown or Unknown(f"{name} stands for no layer there")
        first = arguments[0] if arguments else None
        if isinstance(first, Tensor):
            layer = activation(name, *arguments[1:], **named)
            if layer is not None:
                return trace.same(moves.step_of(layer), first)
    except (TypeError, ValueError):  # of arguments that such an operation does not have
        return unknown or Unknown(f"{name} is called in a way that is not known")
    return unknown or Unknown(f"{name} stands for no layer")
