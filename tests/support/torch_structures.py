"""The same as ``structures.py`` for torch's whole modules, checkpoints of trainers, programs, and files before 1.6."""

import json
import struct
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

import torch_objects
from mutations import unzipped, zipped
from structures import KINDS, kind, valued
from torch_checkpoints import lightning, under

both_whole = valued({"torch whole": torch_objects.in_zip, "torch before 1.6": torch_objects.before_1_6})
both_checkpoints = valued({
    "torch trainers": torch_objects.in_zip, "torch lightning": lambda state: torch_objects.in_zip(lightning(state))
})  # fmt: skip

# ---------------------------------------------------------------------- whole modules


def modules_by_reference(count: int, inner: Callable[[int], bytes]) -> torch_objects.Raw:
    """Modules one within the other; ``inner`` has the entries of the next one's ``_modules``, some of them memoized."""
    text = torch_objects.scalar
    start = torch_objects.named("a Net") + b")\x81"
    state = b"}(" + text("_parameters") + b"}" + text("_buffers") + b"}" + text("_modules") + b"}("
    code = b""
    for k in range(count):
        code += start + b"r" + struct.pack("<I", k) + (b"0" if k < count - 1 else b"")
    for k in range(count):  # attributes are set later, so that modules can hold those after them
        code += b"j" + struct.pack("<I", k) + state + inner(k) + b"uub" + (b"0" if k < count - 1 else b"")
    return torch_objects.Raw(code)


def got(k: int) -> bytes:
    return b"j" + struct.pack("<I", k)


@both_whole
def each_module_twice_in_the_next(rng: Random) -> Any:
    text = torch_objects.scalar
    deep = rng.randrange(20, 30)
    return modules_by_reference(deep, lambda k: b"" if k == 0 else text("a") + got(k - 1) + text("b") + got(k - 1))


@both_whole
def modules_in_a_circle(rng: Random) -> Any:
    text, count = torch_objects.scalar, rng.randrange(1, 20)
    return modules_by_reference(count, lambda k: text("a") + got((k + 1) % count) + text("b") + got(k))


@both_whole
def attributes_that_all_modules_share(rng: Random) -> Any:
    """A module of many attributes, in many places."""
    text = torch_objects.scalar
    names = b"".join(text(f"n{k}") + b"N" for k in range(rng.randrange(60_000, 100_000)))
    empty = b"".join(text(name) + b"}" for name in ("_buffers", "_modules"))
    wide = torch_objects.named("a Net") + b")\x81q\x00}(" + text("_parameters") + b"}(" + names + b"u" + empty + b"ub0"
    places = b"".join(text(f"m{k}") + b"h\x00" for k in range(4000))
    state = b"}(" + text("_parameters") + b"}" + text("_buffers") + b"}" + text("_modules") + b"}(" + places + b"uub"
    return torch_objects.Raw(wide + torch_objects.named("a Net") + b")\x81" + state)


@both_whole
def names_that_add_up(rng: Random) -> Any:
    """Modules of long names, within each other, many of them in the last."""
    made: Any = torch_objects.module("a Net", {}, {f"{k}" + "n" * 90: torch_objects.linear(1, 1) for k in range(1500)})
    for _ in range(25):
        made = torch_objects.module("a Net", {}, {"m" * 100: made})
    return made


@both_whole
def objects_without_end(rng: Random) -> Any:
    return torch_objects.Raw(
        b"](" + torch_objects.named("a B") + b"q\x00" + b"h\x00)\x81" * rng.randrange(150_000, 170_000) + b"e"
    )


@both_whole
def many_modules_in_a_checkpoint(rng: Random) -> Any:
    """Each is a candidate for the one that is meant."""
    text = torch_objects.scalar
    wide = b"".join(text(f"p{k}") + b"N" for k in range(30_000))
    one = torch_objects.named("a Net") + b")\x81}(" + text("_parameters") + b"}(" + wide + b"u" + text("_buffers")
    code = one + b"}" + text("_modules") + b"}ubq\x000}("
    code += b"".join(text(f"{k}") + b"h\x00" for k in range(rng.randrange(50_000, 60_000))) + b"u"
    return torch_objects.Raw(code)


@both_whole
def hyperparameters_that_are_trees(rng: Random) -> Any:
    """A tuple of a tuple twice, and so on, in the place of a number: to compare it is nothing, to show it endless."""
    tree = torch_objects.Raw(b"N" + b"".join(b"q%ch%c\x86" % (k + 100, k + 100) for k in range(rng.randrange(30, 60))))
    function = rng.choice([
        "activation.LeakyReLU negative_slope", "activation.ELU alpha", "activation.GELU approximate",
        "activation.Softmax dim", "activation.Softplus beta", "pooling.MaxPool1d ceil_mode",
        "pooling.AvgPool1d kernel_size", "pooling.AdaptiveAvgPool1d output_size", "conv.Conv1d padding_mode",
        "conv.Conv1d padding", "conv.Conv1d stride", "normalization.LayerNorm eps", "dropout.Dropout p",
    ])  # fmt: skip
    cls, word = function.replace(".", " ").split(" ")[1:]
    weights = {"Conv1d": {"weight": torch_objects.drawn((3, 3, 2))}, "LayerNorm": {"weight": torch_objects.drawn((3,))}}
    layer = torch_objects.module(
        f"torch.nn.modules.{function.partition('.')[0]} {cls}", weights.get(cls, {}), {}, **{word: tree}
    )
    word = rng.choice(["mode", "nonlinearity", "num_layers", "batch_first", "dropout", "hidden_size", "proj_size"])
    rnn = torch_objects.module(f"{torch_objects.RECURRENT} RNN", torch_objects.lstm(3, 4).attributes["_parameters"], {})
    rnn.attributes[word] = tree
    return torch_objects.module("a Net", {}, rng.choice([{"a": layer, "fc": torch_objects.linear(3, 4)}, {"rnn": rnn}]))


@both_whole
def windows_larger_than_any_memory(rng: Random) -> Any:
    word, size = rng.choice(["padding", "stride", "dilation", "kernel_size"]), rng.choice([2**20, 2**31, 2**40, 2**62])
    weight = {"weight": torch_objects.drawn((3, 3, 2)), "bias": torch_objects.drawn((3,))}
    about = {"kernel_size": (2,), "stride": (1,), "padding": (0,), "dilation": (1,), "groups": 1, word: (size,)}
    made = rng.choice(
        [
            torch_objects.module("torch.nn.modules.conv Conv1d", weight, {}, **about),
            torch_objects.module("torch.nn.modules.pooling MaxPool1d", {}, {}, **about),
            torch_objects.module("torch.nn.modules.pooling AvgPool1d", {}, {}, **about),
        ]
    )
    return torch_objects.module(torch_objects.SEQUENTIAL, {}, {"0": torch_objects.linear(3, 3), "1": made})


@both_whole
def calls_of_everything(rng: Random) -> Any:
    """Functions that would run, in the places of weights, modules, hyperparameters and keys."""
    words = rng.choice(["os system", "builtins eval", "builtins exec", "subprocess Popen", "builtins __import__"])
    call = torch_objects.Call(words, "true", state={"a": 1})
    places: list[Any] = [
        call,
        torch_objects.tagger(mode=call),
        torch_objects.module("a Net", {"weight": call}, {"fc": call}),
        {"state_dict": call, "model": torch_objects.tagger(), "hook": call},
        torch_objects.Made(words, torch_objects.tagger().attributes),
        torch_objects.Made("builtins type", (call, {"__class__": call, "__reduce__": call})),
    ]
    return rng.choice(places)


# ---------------------------------------------------------------------- checkpoints


@both_checkpoints
def names_of_many_steps(rng: Random) -> Any:
    """A model within a model, as trainers name it, thousands of times."""
    return under(rng.choice(["module.", "model.", "_orig_mod.", "net.", "a."]) * rng.randrange(1_000, 8_000))


@both_checkpoints
def a_state_dict_under_many_names(rng: Random) -> Any:
    """Each entry may be the model that is meant."""
    state = b"}(" + b"".join(torch_objects.scalar(f"{k}.weight") + b"N" for k in range(2_000)) + b"uq\x00"
    names = rng.choice(["model_state_dict", "state_dict", "model", ""])
    more = b"".join(torch_objects.scalar(f"{names}{k}") + b"h\x00" for k in range(rng.randrange(40_000, 60_000)))
    return torch_objects.Raw(b"}(" + torch_objects.scalar(names) + state + more + b"u")


@both_checkpoints
def checkpoints_within_each_other(rng: Random) -> Any:
    deep = rng.randrange(100, 20_000)
    names = [rng.choice(["state_dict", "model", "model_state_dict", "module"]) for _ in range(deep)]
    return torch_objects.Raw(b"".join(b"}(" + torch_objects.scalar(name) for name in names) + b"}" + b"u" * deep)


@both_checkpoints
def little_beside_a_model_many_times(rng: Random) -> Any:
    """Counters and losses without end, all of which are left out, and named."""
    one = torch_objects.drawn(())
    return under("module.") | {f"{'n' * rng.randrange(1, 90)}{k}": one for k in range(rng.randrange(3_000, 6_000))}


# ---------------------------------------------------------------------- programs

CLASS = "class Net(Module):\n  def forward(self: T,\n    x: Tensor) -> Tensor:\n"


def coded(text: str, **attributes: Any) -> bytes:
    """A program of TorchScript's with one weight and this code."""
    weights = {"weight": torch_objects.drawn((2, 2)), "bias": torch_objects.drawn((2,))}
    net = torch_objects.Made("__torch__ Net", weights | attributes)
    more = [("a/constants.pkl", b"\x80\x02)."), ("a/code/__torch__.py", text.encode("utf-8", "surrogatepass"))]
    return zipped([*unzipped(torch_objects.in_zip(net)), *more], zipfile.ZIP_DEFLATED)


@kind("torch script")
def methods_that_call_each_other(rng: Random) -> bytes:
    count = rng.randrange(2, 40)
    methods = [
        f"  def m{k}(s: T,\n    x: T) -> T:\n    y = (s).m{(k + 1) % count}(x, )\n    return (s).m{k + 1}(y, )\n"
        for k in range(count)
    ]
    return coded(CLASS + "    return (self).m0(x, )\n" + "".join(methods))


@kind("torch script")
def values_within_each_other(rng: Random) -> bytes:
    """Each is the one before it twice, and is then compared, shown or used."""
    deep = rng.randrange(30, 200)
    lines = ["v0 = (x, x)", *(f"v{k + 1} = (v{k}, v{k})" for k in range(deep))]
    last = rng.choice([
        "torch.lstm(x, v{0}, v{0}, v{0}, v{0}, v{0}, v{0}, v{0}, v{0})",
        "torch.select(x, v{0}, v{0})",
        "torch.cat(v{0}, v{0})",
        "torch.cat([v{0}, v{0}], 1)",
        "torch.slice(x, v{0}, v{0}, v{0}, v{0})",
        "torch.dropout(x, v{0}, v{0})",
        "torch.elu(x, v{0}, v{0})",
        "torch.gelu(x, v{0})",
        "torch.softplus(x, v{0}, v{0})",
        "torch.hardtanh(x, v{0}, v{0})",
        "torch.threshold(x, v{0}, v{0})",
        "torch.leaky_relu(x, v{0})",
        "torch.add(torch.abs(x), v{0})",
        "torch.div(x, v{0})",
        "torch.linear(x, v{0}, v{0})",
        "torch.softmax(x, v{0})",
        "torch.relu(v{0})",
        "v{0}",
        "(v{0})[v{0}]",
    ]).format(deep)  # fmt: skip
    return coded(CLASS + "".join(f"    {line}\n" for line in lines) + f"    return {last}\n")


@kind("torch script")
def code_without_end(rng: Random) -> bytes:
    size = rng.randrange(2**19, 2**20 - 100)
    line = rng.choice(
        ["    a, " + "b, " * (size // 3), "    return " + "(" * size, "    " + "a" * size, '    x = "' + "a" * size]
    )
    many = rng.choice(
        ["    x = torch.relu(x)\n", "    a, b, c, d = x\n", "  def f(self: T,\n", "class A(Module):\n", "\n", "x"]
    )
    return coded(CLASS + rng.choice([line, many * (size // len(many))]))


@kind("torch script")
def code_that_would_run(rng: Random) -> bytes:
    lines = [
        '__import__("os").system("true")', 'os.system("true")', 'eval("__import__(\\"os\\").system(\\"true\\")")',
        'getattr(getattr(self, "__class__"), "__init__")(self)', '(self).__reduce__()', 'exec("import os")',
        "(lambda: 0)()", "[a for a in x]", "x.__class__.__bases__[0].__subclasses__()", 'open("a", "w")',
        'f"{x}"', "import os", "@property", "x if x else x", "{}", "1 + 1", "ops.aten._debug()", "CONSTANTS.c0",
    ]  # fmt: skip
    return coded(CLASS + f"    y = {rng.choice(lines)}\n    return {rng.choice([*lines, 'y', 'torch.relu(x)'])}\n")


@kind("torch script")
def classes_in_many_files(rng: Random) -> bytes:
    """Each module's class has a file of its own, which names the next."""
    deep = rng.randrange(10, 100)
    net: Any = torch_objects.Made("__torch__.m0 Net", {"weight": torch_objects.drawn((2, 2))})
    for k in range(1, deep):
        net = torch_objects.Made(f"__torch__.m{k} Net", {"a": net, "weight": torch_objects.drawn((2, 2))})
    text = "class Net(Module):\n  def forward(self: T,\n    x: Tensor) -> Tensor:\n    return (self.a).forward(x, )\n"
    code = [(f"a/code/__torch__/m{k}.py", text.encode()) for k in range(deep)]
    return zipped([*unzipped(torch_objects.in_zip(net)), ("a/constants.pkl", b"\x80\x02)."), *code])


def exported(graph: Any, config: Any, *weights: bytes) -> bytes:
    """A program of torch.export of this graph and these weights."""
    entries = [("m/archive_format", b"pt2"), ("m/models/model.json", json.dumps(graph).encode())]
    entries.append(("m/data/weights/model_weights_config.json", json.dumps({"config": config}).encode()))
    entries += [(f"m/data/weights/weight_{k}", data) for k, data in enumerate(weights)]
    return zipped(entries, zipfile.ZIP_DEFLATED)


def stored_in(entry: str, shape: list[int], strides: list[int]) -> dict[str, Any]:
    meta = {"dtype": 7, "storage_offset": {"as_int": 0}, "layout": 7}
    sizes = {"sizes": [{"as_int": n} for n in shape], "strides": [{"as_int": n} for n in strides]}
    return {"path_name": entry, "is_param": True, "use_pickle": False, "tensor_meta": meta | sizes}


def graph_of(nodes: list[Any], output: str, weights: int = 1) -> dict[str, Any]:
    specs: list[Any] = [
        {"parameter": {"arg": {"name": f"p{k}"}, "parameter_name": f"{k}.weight"}} for k in range(weights)
    ]
    specs.append({"user_input": {"arg": {"as_tensor": {"name": "x"}}}})
    graph = {"inputs": [], "outputs": [{"as_tensor": {"name": output}}], "nodes": nodes}
    return {"graph_module": {"graph": graph, "signature": {"input_specs": specs}}}


def node(target: str, output: str, *inputs: str) -> dict[str, Any]:
    arguments = [
        {"name": word, "arg": {"as_tensor": {"name": one}}}
        for word, one in zip(("self", "weight"), inputs, strict=False)
    ]
    return {"target": f"torch.ops.aten.{target}", "inputs": arguments, "outputs": [{"as_tensor": {"name": output}}]}


@kind("torch export")
def a_graph_of_many_nodes(rng: Random) -> bytes:
    count = rng.randrange(4_000, 8_000)
    nodes = [node("relu.default", f"v{k}", f"v{k - 1}" if k else "x") for k in range(count)]
    return exported(graph_of(nodes, f"v{count - 1}"), {"0.weight": stored_in("weight_0", [2, 2], [2, 1])}, bytes(16))


@kind("torch export")
def one_weight_under_many_names(rng: Random) -> bytes:
    count = rng.randrange(2_000, 9_000)
    config = {f"{k}.weight": stored_in("weight_0", [512, 512], [512, 1]) for k in range(count)}
    return exported(graph_of([], "x"), config, bytes(2**20))


@kind("torch export")
def a_weight_larger_than_its_numbers(rng: Random) -> bytes:
    n = rng.choice([2**10, 2**20, 2**30, 2**60, -1])
    config = {"0.weight": stored_in("weight_0", [n, n], rng.choice([[0, 0], [n, 1], [1, 0]]))}
    return exported(graph_of([node("linear.default", "y", "x", "p0")], "y"), config, bytes(16))


@kind("torch export")
def brackets_without_end(rng: Random) -> bytes:
    deep = rng.randrange(1_000, 200_000)
    data = rng.choice([b"[" * deep, b'{"a":' * deep, b"[" * deep + b"]" * deep])
    entries = unzipped(exported(graph_of([], "x"), {"0.weight": stored_in("weight_0", [2, 2], [2, 1])}, bytes(16)))
    place = rng.choice(["m/models/model.json", "m/data/weights/model_weights_config.json"])
    return zipped([(name, data if name == place else content) for name, content in entries])


@kind("torch export")
def a_file_within_a_file(rng: Random) -> bytes:
    """The older layout, whose weights are a zip in the zip."""
    inside = rng.choice(list(KINDS["torch zip"].values()))(rng)
    entries = [("serialized_exported_program.json", b"{}"), ("serialized_state_dict.pt", inside)]
    return zipped(entries, rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))


# ---------------------------------------------------------------------- files before 1.6


@kind("torch before 1.6")
def storages_of_no_numbers(rng: Random) -> bytes:
    """As many keys as there is room for."""
    tensor = b"ctorch\nFloatStorage\nq\x00](" + b"".join(
        b"(" + torch_objects.scalar("storage") + b"h\x00" + torch_objects.scalar(f"{k}") + b"NK\x00NtQ"
        for k in range(rng.randrange(40_000, 60_000))
    )
    heads = [torch_objects.MAGIC, torch_objects.Pickled(1001).code, torch_objects.Pickled({}).code]
    keys = torch_objects.Pickled([f"{k}" for k in range(40_000)]).code
    return b"".join([*heads, b"\x80\x02" + tensor + b"e.", keys, bytes(8 * 40_000)])


@kind("torch before 1.6")
def a_storage_larger_than_the_file(rng: Random) -> bytes:
    data = torch_objects.before_1_6(torch_objects.linear(3, 2))
    size = struct.pack("<q", rng.choice([2**40, 2**62, 2**63 - 1, -1]))
    return data.replace(struct.pack("<q", 6), size)
