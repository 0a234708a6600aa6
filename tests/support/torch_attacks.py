"""What runs where Python's own machine reads a pickle, by every instruction that can, planted in torch's files.

``CALLS`` are pickles of one object each; some of them name the classes of ``planted_classes.py``.
``torch_structures.py`` has files that cost more than they are worth.
"""

import json
from random import Random
from typing import Any

from mutations import unzipped, zipped
from structures import kind, valued
from torch_checkpoints import lightning, under
from torch_objects import LINEAR, Made, Raw, before_1_6, drawn, in_zip, linear, module, named, scalar, state_of, tagger

COMMAND = scalar("echo > ran") + b"\x85"
SYSTEM = named("os system") + COMMAND + b"R"


def builtin(words: str, *arguments: Any) -> bytes:
    return named(f"builtins {words}") + b"(" + b"".join(map(scalar, arguments)) + b"tR"


def built(words: str, state: bytes) -> bytes:
    """An object of a class, made without arguments, that is given a state."""
    return named(words) + b")\x81" + state + b"b"


CODE = "__import__('os').system('echo > ran')"
STATE = b"}" + scalar("training") + b"\x88s"
CALLS: dict[str, bytes] = {
    "a call": SYSTEM,
    "a call of a name on the stack": scalar("os") + scalar("system") + b"\x93" + COMMAND + b"R",
    "a name within a name": scalar("subprocess") + scalar("os.system") + b"\x93" + COMMAND + b"R",
    "an object of the oldest protocol": b"(" + scalar("echo > ran") + b"ios\nsystem\n",
    "an object of marked arguments": b"(" + named("os system") + scalar("echo > ran") + b"o",
    "a persistent id": SYSTEM + b"Q",
    "eval": builtin("eval", CODE),
    "exec": builtin("exec", CODE),
    "getattr": named("builtins getattr") + named("os system") + scalar("__call__") + b"\x86R" + COMMAND + b"R",
    "a call within a state": built("planted_classes Plain", b"}" + scalar("a") + SYSTEM + b"s"),
    "a __setstate__": built("planted_classes Set", STATE),
    "a descriptor": built("planted_classes Described", b"N" + STATE + b"\x86"),
    "a __new__": named("planted_classes New") + b")\x81",
    "a __new__ with names": named("planted_classes New") + b")}\x92",
    "a __hash__ of a key": b"}" + named("planted_classes Hashed") + b")\x81Ns",
    "a dictionary's own __setitem__": named("planted_classes Entries") + b")\x81" + scalar("a") + b"Ns",
    "a list's own append": named("planted_classes Values") + b")\x81Na",
    "a list's own extend": named("planted_classes Values") + b")\x81(NNe",
    "a set's own add": named("planted_classes Members") + b")\x81(N\x90",
}


def call(rng: Random) -> Raw:
    """One of them, with what it leaves in a place where any object may stand."""
    return Raw(rng.choice(list(CALLS.values())))


@valued({"torch whole": in_zip, "torch before 1.6": before_1_6})
def a_call_in_a_module(rng: Random) -> Any:
    one = call(rng)
    attributes = tagger().attributes
    return rng.choice([
        one,
        module("a Net", {"weight": one}, {"fc": linear(3, 2)}),
        module("a Net", {}, {"fc": linear(3, 2), "act": one}),
        module(LINEAR, {"weight": drawn((2, 3)), "bias": one}, {}),
        Made("a Net", attributes | {"_forward_hooks": {0: one}}),
        Made("a Net", (None, attributes | {"__class__": one})),
        tagger(mode=one),
        tagger(batch_first=one),
        Made("a Net", one),
    ])  # fmt: skip


def planted_in_a_checkpoint(rng: Random, whole: dict[str, Any]) -> Any:
    """A checkpoint, one entry of which is a call, or has one in it."""
    place = rng.choice([*whole, "more"])
    return whole | {place: rng.choice([call(rng), [call(rng)], {"a": call(rng)}, (1, call(rng)), whole.get(place)])}


@kind("torch trainers")
def a_call_in_a_checkpoint(rng: Random) -> bytes:
    state: Any = under(rng.choice(["", "module."])) | ({"more": call(rng)} if rng.random() < 0.3 else {})
    whole = {"epoch": 3, "model_state_dict": state, "optimizer_state_dict": {"state": {}}, "args": Made("a B", {})}
    return rng.choice([in_zip, before_1_6])(planted_in_a_checkpoint(rng, whole))


@kind("torch lightning")
def a_call_in_a_checkpoint_of_lightning(rng: Random) -> bytes:
    whole = planted_in_a_checkpoint(rng, lightning(under("model.")))
    if rng.random() < 0.3:
        whole["hyper_parameters"] = Made("lightning_fabric.utilities.data AttributeDict", {"lr": call(rng)})
    return rng.choice([in_zip, before_1_6])(whole)


@kind("torch script")
def a_call_in_a_program(rng: Random) -> bytes:
    """In the module, or in its constants."""
    code = "class Net(Module):\n  def forward(self: T,\n    x: Tensor) -> Tensor:\n    return CONSTANTS.c0\n"
    one = call(rng)
    net = Made("__torch__ Net", {"weight": drawn((2, 2)), "act": one if rng.random() < 0.5 else None})
    constants = b"\x80\x02" + rng.choice([b")", one.code + b"\x85"]) + b"."
    return zipped([*unzipped(in_zip(net)), ("a/constants.pkl", constants), ("a/code/__torch__.py", code.encode())])


@kind("torch export")
def a_call_in_an_exported_program(rng: Random) -> bytes:
    """As a weight that is pickled, as an input kept for an example, in the weights of the older layout."""
    one = call(rng)
    inner = rng.choice([in_zip, before_1_6])(rng.choice([one, state_of(linear(3, 2)) | {"more": one}]))
    if rng.random() < 0.5:
        return zipped([("serialized_exported_program.json", b"{}"), ("serialized_state_dict.pt", inner)])
    about = {"path_name": "weight_0", "is_param": True, "use_pickle": True, "tensor_meta": None}
    graph: Any = {"inputs": [], "outputs": [], "nodes": []}
    program = {"graph_module": {"graph": graph, "signature": {"input_specs": []}}}
    return zipped([
        ("m/archive_format", b"pt2"),
        ("m/models/model.json", json.dumps(program).encode()),
        ("m/data/weights/model_weights_config.json", json.dumps({"config": {"0.weight": about}}).encode()),
        ("m/data/weights/weight_0", rng.choice([inner, b"\x80\x02" + one.code + b"."])),
        ("m/data/sample_inputs/model.pt", inner),
    ])  # fmt: skip
