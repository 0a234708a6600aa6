"""Programs of TorchScript's and of torch.export, as torch wrote them: their layers in order, or why not; nothing runs.

The files are stored by ``make_torch_programs.py``.
"""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from assumed import said, written
from corpora import programs
from mutations import unzipped, zipped
from torch_objects import Made, Pickled, drawn, in_zip

from minirnn import Activation, LayerGraph, ModelFileError, load
from minirnn.core.module import brief
from minirnn.formats import torch as torch_files
from minirnn.formats.containers import pickle as pickles
from minirnn.formats.torch import following
from minirnn.formats.torch.outline import Outline, ProgramGraph, activation
from minirnn.formats.torch.pickled import KNOWN, Storage
from minirnn.layers.joining import Combine

STORED = programs()
PROGRAMS = {name: one for name, one in STORED.items() if "x" in one}
GRAPHS_OF_LAYERS = {name: one for name, one in STORED.items() if "inputs" in one}
SHOWN = ("traced 23", "scripted 7", "exported 0")
every = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in SHOWN else pytest.mark.slow) for name in PROGRAMS]
)


@every
def test_a_program_computes_what_it_computes_in_torch(name: str, tmp_path: Path) -> None:
    one = PROGRAMS[name]
    path = written(one["file"], tmp_path)
    model = load(path, backend="numpy")  # silently
    assert model.batch_first == one["batch_first"]
    x = np.array(one["x"])
    y, _ = model(x if x.dtype.kind == "i" else x.astype(np.float32))
    np.testing.assert_allclose(y, np.array(one["y"], np.float32), rtol=0, atol=3e-6)
    rnn = load(path, prefix="rnn", backend="numpy")
    assert type(rnn).__name__ in one["net"]
    assert rnn.batch_first == one["batch_first"]
    assert torch_files.notes(model, path) == []
    with pytest.raises(ModelFileError, match="it has no part 'a'"):
        load(path, part="a")


@pytest.mark.parametrize("name", GRAPHS_OF_LAYERS)
def test_a_program_that_is_no_chain_computes_what_it_computes_in_torch(name: str, tmp_path: Path) -> None:
    one = GRAPHS_OF_LAYERS[name]
    model = load(written(one["file"], tmp_path), backend="numpy")  # silently
    inputs = [np.array(x) if isinstance(x[0][0], int) else np.array(x, np.float32) for x in one["inputs"]]
    assert model.batch_first == one["batch_first"]
    if isinstance(model, LayerGraph):
        outputs, _ = model.run(dict(zip([entry.name for entry in model.entries], inputs, strict=True)))
    else:
        outputs = {"y": model(inputs[0])[0]}
    for y, wanted in zip(outputs.values(), one["outputs"], strict=True):
        np.testing.assert_allclose(y, np.array(wanted, np.float32), rtol=0, atol=3e-6)


def changed(name: str, change: Callable[[str, bytes], bytes | None], tmp_path: Path) -> Path:
    """The program with every entry gone through ``change``, which leaves out those it gives None for."""
    entries = [(entry, change(entry, data)) for entry, data in unzipped(PROGRAMS[name]["file"])]
    return written(zipped([(entry, data) for entry, data in entries if data is not None]), tmp_path)


# ---------------------------------------------------------------------- TorchScript

HEAD = "class Net(Module):\n  training : bool\n  def forward(self: __torch__.Net,\n    x: Tensor{}) -> Tensor:\n"


def outline(body: str, modules: dict[str, Made] | None = None, *, more: str = "", arguments: str = "") -> Outline:
    """What is said of a program of one class, whose forward has these lines."""
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    text = HEAD.format(arguments) + lines + more
    return following.outline(as_foreign(script(**modules or {})), lambda name: text if name == "__torch__" else None)


def script(**modules: Any) -> Made:
    return Made("__torch__ Net", {"training": False, **modules})


def as_foreign(made: Made) -> Any:
    """As the reader of pickles has it."""
    pickled = Pickled(made)

    def storage(key: Any) -> Storage:
        return Storage(key[2], key[1].dtype, key[4])

    return pickles.read(pickled.code, "it", KNOWN, storage)


FC = {"fc": Made("__torch__ Fc", {"weight": drawn((2, 2)), "bias": drawn((2,))})}
FORWARD = """class Fc(Module):
  def forward(mine: __torch__.Fc,
    input: Tensor) -> Tensor:
    weight = mine.weight
    bias = mine.bias
    return torch.linear(input, weight, bias)
"""


def names(stated: Outline) -> list[str]:
    """Paths of modules, and functions and layers between them."""
    layers = [(step.path, step.layer) for step in stated.steps]
    return [
        path or (layer.function.name if isinstance(layer, Activation) else brief(layer or Activation("linear")))
        for path, layer in layers
    ]


CHAINS = {
    "return torch.relu(x)": ["relu"],
    "fc = self.fc\nreturn torch.relu((fc).forward(x, ), )": ["fc", "relu"],
    "_0 = torch.tanh_((self.fc).forward(x, ))\nreturn (_0, x)": ["fc", "tanh"],
    "a = [x, torch.tanh(x)]\nb, c, = a\nreturn c": ["tanh"],
    "a = (torch.sigmoid(x),)\nreturn (a)[0]": ["sigmoid"],
    "return torch.leaky_relu(x, -0.5)": ["leaky_relu"],
    "return torch.softmax(x, -1)": ["softmax"],
    "return annotate(Tensor, torch.gelu(x, approximate=\"none\"))": ["gelu"],
    "f = __torch__.torch.nn.functional.elu\nreturn f(x, 1., False, )": ["elu"],
    "return torch.contiguous(torch.clone(torch.detach(torch.relu(x))))": ["relu"],
    "return torch.div(torch.relu(x), torch.add(torch.abs(torch.relu(x)), 1))": [],
    "y = torch.relu(x)\nreturn torch.div(y, torch.add(torch.abs(y), 1))": ["relu", "softsign"],
}  # fmt: skip


@pytest.mark.parametrize("body", CHAINS)
def test_straight_lines_are_followed(body: str) -> None:
    stated = outline(body, FC, more=FORWARD)
    assert names(stated) == CHAINS[body]
    assert stated.whole == bool(CHAINS[body])


GRAPHS = {
    "return torch.add(x, x)": "x+x",
    "return (self.fc).forward((self.fc).forward(x, ), )": "fc(fc(x))",
    "y = torch.relu(x)\nreturn torch.mul(y, (self.fc).forward(y, ))": "relu(x)*fc(relu(x))",
    "y = (self.fc).forward(x, )\nreturn (y, torch.relu(y))": "fc(x), relu(fc(x))",
}


def shown(stated: ProgramGraph, one: int) -> str:
    node = stated.nodes[one]
    reads = [shown(stated, other) for other in node.reads]
    if node.step is None:
        return stated.inputs[one].name
    layer = node.step.layer
    if isinstance(layer, Combine):
        return {"sum": "+", "product": "*"}[layer.how].join(reads)
    return f"{layer.function.name if isinstance(layer, Activation) else node.step.path}({', '.join(reads)})"


@pytest.mark.parametrize("body", GRAPHS)
def test_what_is_no_chain_is_a_graph(body: str) -> None:
    stated = outline(body, FC, more=FORWARD)
    assert stated.whole
    assert stated.graph is not None
    assert ", ".join(shown(stated.graph, one) for one in stated.graph.outputs) == GRAPHS[body]


REASONS = {
    "return x": "its output is not what layers make of its input",
    "return 3": "its output is not what layers make of its input",
    "return torch.add(x, 1)": "add stands for no layer there",
    "return torch.cat([x, self.training], 1)": "cat stands for no layer there",
    "return torch.add(torch.transpose(x, 1, 2), torch.select(x, 0, 1))": "select stands for no layer there",
    "return torch.softmax(x, 1)": "softmax is along axis 1, which is not that of features, as far as is known",
    "return torch.dropout(x, 2., False)": "dropout is called in a way that is not known",
    "return torch.leaky_relu(x, x)": "leaky_relu is called in a way that is not known",
    "return torch.softplus(x, 2, 20)": "softplus stands for no layer",
    "return torch.hardtanh(x, -1., 1.)": "hardtanh stands for no layer",
    "return torch.select(x, 0, -1)": "select stands for no layer there",
    "if torch.relu(x):\n  return x": "'Net' does more than call modules, in the line 'if torch.relu(x):",
    "return (self.fc).nothing(x, )": "'Fc' has no method 'nothing'",
    "return (self.nothing)(x, )": "'Net' has no method 'nothing'",
    "return torch.linear(x, self.training)": "linear stands for no layer there",
    "fc = self.fc\nreturn torch.linear(x, fc.bias)": "'fc.bias' is used as the weight of a layer",
    "fc = self.fc\nreturn torch.linear(x, fc.weight, fc.weight)": "'fc.weight' is used as the bias of a layer",
    "return (x).forward(x, )": "an attribute 'forward' of a tensor is used",
    "return x y": "its code goes on with 'y'",
    "return torch.relu(x": "its code has '' between arguments",
    "return torch.relu(x y)": "its code has 'y' between arguments",
    "return [x y]": "its code has 'y' between values",
    "return @": "its code has '@', which is not followed",
    "return 1.2.3": "its code has '1.2.3' for a number",
    "return ]": "its code has ']', which is not followed",
    "return self.forward(x, )": "calls and brackets within each other",
    "return " + "(" * 100: "its code has more than 60 calls and brackets within each other",
    "return __import__(\"os\")": "'__import__' is called",
    "return eval(\"1\")": "'eval' is called",
    "return ops.os.system(\"true\")": "ops.os.system stands for no layer",
    "return CONSTANTS.c0": "its output is not what layers make of its input",
    "a, b, = x\nreturn a": "values are split",
    "return (x)[0]": "an entry is taken by its number",
}  # fmt: skip


@pytest.mark.parametrize("body", REASONS)
def test_where_code_is_no_chain_it_says_why(body: str) -> None:
    stated = outline(body, FC, more=FORWARD)
    assert not stated.whole
    assert stated.steps == ()
    (remark,) = stated.remarks
    assert remark.startswith("modules compute in the order of the file, since not all of its code is layers: ")
    assert REASONS[body] in remark


@pytest.mark.slow
def test_code_that_goes_on_is_given_up() -> None:
    """Each method calls the next twice: 2**30 calls in a few lines."""
    body = "a = (self).m0(x, )\nreturn a"
    more = "".join(
        f"  def m{k}(s: T,\n    x: Tensor) -> Tensor:\n    y = (s).m{k + 1}(x, )\n    return (s).m{k + 1}(x, )\n"
        for k in range(30)
    )
    last = "  def m30(self: T,\n    x: Tensor) -> Tensor:\n    return torch.contiguous(x)\n"
    assert "it has more than 16,384 lines" in outline(body, more=more + last).remarks[0]
    many = "\n".join(["y = torch.contiguous(x)"] * 17_000)
    assert "it has more than 16,384 lines" in outline(f"{many}\nreturn y").remarks[0]
    wide = "y = [" + "x, " * 20_000 + "]"
    assert "it has more than 262,144 words" in outline("\n".join([wide] * 8)).remarks[0]
    assert "a line of its code has 70,005 letters" in outline(f"y = [{'x, ' * 23_333}]").remarks[0]
    deep = "\n".join(["x = torch.relu(x)"] * 500)
    assert "it has more than 400 steps" in outline(f"{deep}\nreturn x").remarks[0]


def test_a_second_input_is_none_or_stands_in_the_way() -> None:
    stated = outline("return torch.relu(x)", arguments=",\n    h: Optional[Tensor]=None")
    assert names(stated) == ["relu"]
    assert names(outline("return torch.relu(h)", arguments=",\n    h: Tensor")) == ["relu"]
    both = outline("return torch.add(x, h)", arguments=",\n    h: Tensor").graph
    assert both is not None
    assert [one.name for one in both.inputs.values()] == ["x", "h"]


RNN_CODE = """class LSTM(Module):
  batch_first : Final[bool] = {first}
  num_layers : Final[int] = 1
  bidirectional : Final[bool] = False
  dropout : Final[float] = 0.5
  mode : Final[str] = "LSTM"
  def forward__0(self: T,
    input: Tensor,
    hx: Optional[Tensor]=None) -> Tensor:
    if input:
      pass
"""
LSTM_OF = {
    "rnn": Made("__torch__ LSTM", {f"{part}_l0": drawn((8, 2) if "weight" in part else (8,)) for part in (
        "weight_ih", "weight_hh", "bias_ih", "bias_hh")})
}  # fmt: skip
READS = {
    "y, _0, = (self.rnn).forward__0(x, None, )\nreturn y": ["rnn"],
    "_0 = (self.rnn).forward__0(x, None, )\ny, h, = _0\nreturn torch.select(y, 0, -1)": ["rnn", "Last()"],
    "_0 = (self.rnn).forward__0(x, None, )\ny, _1, = _0\nh, c, = _1\nreturn torch.squeeze(h, 0)": ["rnn", "Last()"],
    "y, _1, = (self.rnn).forward__0(x, None, )\nh, c, = _1\nreturn torch.select(h, 0, 0)": ["rnn", "Last()"],
    "y, _1, = (self.rnn).forward__0(x, None, )\nh, c, = _1\nreturn c": [],
    "y, _0, = (self.rnn).forward__0(x, x, )\nreturn y": [],
    "y, _0, = (self.rnn).forward__1(x, None, )\nreturn y": [],
    "y, _0, = (self.rnn).forward__0(x, None, )\nreturn torch.select(y, 1, -1)": [],
    "y, _0, = (self.rnn).forward__0(x, None, )\nreturn torch.select(y, 0, 0)": [],
    "y, _0, = (self.rnn).forward__0(x, None, )\nreturn torch.slice(y, 0, 1, 5)": [],
    "y, _0, = (self.rnn).forward__0(x, None, )\nreturn torch.softmax(y, 2)": ["rnn", "softmax"],
    "y, _0, = (self.rnn).forward__0(x, None, )\nreturn torch.softmax(y, 1)": [],
    "y, _0, = (self.rnn).forward__0(x, None, )\nreturn torch.softmax(torch.select(y, 0, -1), 1)": [
        "rnn", "Last()", "softmax"],
}  # fmt: skip


@pytest.mark.parametrize("body", READS)
def test_what_is_read_of_a_recurrent_module(body: str) -> None:
    stated = outline(body, LSTM_OF, more=RNN_CODE.format(first=False))
    assert [str(name) for name in names(stated)] == READS[body]
    assert stated.settings["rnn"].dropout == 0.5  # of its class, whatever its code is
    assert not stated.settings["rnn"].batch_first
    first = outline(body, LSTM_OF, more=RNN_CODE.format(first=True))
    assert first.settings["rnn"].batch_first
    assert bool(first.steps) == (bool(READS[body]) and "torch.select(y, 0" not in body) or "select(y, 1" in body


def test_a_program_without_its_code_has_its_weights(tmp_path: Path) -> None:
    def without(entry: str, data: bytes) -> bytes | None:
        return None if entry.endswith("torch_networks.py") else data

    model, assumed = said(changed("traced 11", without, tmp_path))
    assert [type(layer).__name__ for layer in model.layers] == ["Embedding", "GRU", "Linear"]  # type: ignore[attr-defined]
    assert len(assumed) == 1
    assert assumed[0].endswith(
        "not all of its code is layers: the code of '__torch__.torch_networks' is not in the file"
    )


@pytest.mark.parametrize("content", [b"\xff\xfe", bytes(2**20 + 1)], ids=["no text", "too long"])
def test_code_that_is_not_text_or_too_long_is_refused_or_not_read(content: bytes, tmp_path: Path) -> None:
    path = changed("traced 11", lambda entry, data: content if entry.endswith("torch_networks.py") else data, tmp_path)
    if len(content) > 2:
        assert "is not in the file" in said(path)[1][0]
    else:
        with pytest.raises(ModelFileError, match=r"torch_networks\.py must be text in UTF-8"):
            load(path)


def test_a_program_whose_weights_are_constants_is_told(tmp_path: Path) -> None:
    path = written(in_zip(script(), constants__pkl=b"\x80\x02).", **{"code/__torch____py": b""}), tmp_path)
    with pytest.raises(ModelFileError, match=r"without weights by name: torch.jit.freeze made them constants"):
        load(path)
    path = written(in_zip([], constants__pkl=b"\x80\x02).", **{"code/__torch____py": b""}), tmp_path)
    with pytest.raises(ModelFileError, match=r"must hold a module of TorchScript; it holds \[\]"):
        load(path)


# ---------------------------------------------------------------------- torch.export


def edited(name: str, entry: str, change: Callable[[Any], Any], tmp_path: Path) -> Path:
    """The program with one description in JSON changed."""

    def edit(one: str, data: bytes) -> bytes:
        if not one.endswith(entry):
            return data
        value = json.loads(data)
        again = change(value)
        return json.dumps(value if again is None else again).encode()

    return changed(name, edit, tmp_path)


GRAPH, CONFIG = "models/model.json", "model_weights_config.json"


def nodes(program: Any) -> Any:
    return program["graph_module"]["graph"]["nodes"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: nodes(p)[-1].update(target="torch.ops.aten.erf.default"), "erf stands for no layer"),
        (lambda p: nodes(p)[-1].update(target="os.system"), "os.system stands for no layer"),
        (lambda p: nodes(p)[-1].update(target=3), "its description has no 'target' where one belongs"),
        (lambda p: nodes(p)[-1]["inputs"][0]["arg"].clear(), "an argument is None"),
        (lambda p: nodes(p)[-1]["inputs"][0].update(arg={"as_expr": 1}), "an argument is 'as_expr'"),
        (lambda p: nodes(p).reverse(), "a tensor is not made before it is used"),
        (lambda p: nodes(p).clear(), "it has no output"),
        (lambda _: [], "its description has no 'graph_module' where one belongs"),
        (lambda p: p["graph_module"].update(signature=None), "its description has no 'signature'"),
        (lambda p: p.update(a=[{}] * 300_000), "must have at most 262,144 values"),
        (lambda p: p.update(a="a" * 2**21), "may have 2,097,152 bytes"),
    ],
)
def test_a_graph_that_is_no_chain_says_why(change: Callable[[Any], Any], words: str, tmp_path: Path) -> None:
    model, assumed = said(edited("exported 11", GRAPH, change, tmp_path))
    assert [type(layer).__name__ for layer in model.layers] == ["Embedding", "GRU", "Linear"]  # type: ignore[attr-defined]
    assert assumed[0].startswith("modules compute in the order of the file, since not all of its graph is layers: ")
    assert words in assumed[0]


def meta(config: Any, name: str = "head.weight") -> Any:
    return config["config"][name]["tensor_meta"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: [], "must have a config; it has none"),
        (lambda c: c["config"]["head.weight"].update(path_name="../../x"), "there is no entry '../../x'"),
        (lambda c: meta(c).update(sizes=[{"as_int": 2**30}]), "two tuples of one length"),
        (lambda c: meta(c)["sizes"][0].update(as_int=2**30), "does not fit 20 numbers"),
        (lambda c: meta(c)["strides"][0].update(as_int=-1), "must be integers from 0 to 2**40"),
        (lambda c: meta(c)["sizes"][0].update(as_int="4"), "must be integers from 0 to 2**40"),
        (lambda c: meta(c).update(storage_offset=[]), "must be integers from 0 to 2**40"),
        (lambda c: meta(c).update(dtype=10), "weight of 'head' must be a tensor; it is numbers of type 10"),
        (lambda c: meta(c).update(dtype=[[]]), "weight of 'head' must be a tensor; it is numbers of type list"),
        (lambda c: c["config"]["head.weight"].update(use_pickle=True), "must be a tensor; it is an object"),
        (lambda c: c["config"].update({"head.weight": 3}), "must be a tensor; it is an object"),
    ],
)
def test_weights_are_where_they_are_said_to_be(change: Callable[[Any], Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError) as caught:
        load(edited("exported 11", CONFIG, change, tmp_path))
    assert words in str(caught.value)


def test_a_program_that_is_not_whole_is_told(tmp_path: Path) -> None:
    path = changed("exported 11", lambda entry, data: None if entry.endswith("model.json") else data, tmp_path)
    with pytest.raises(ModelFileError, match=r"must hold one program of torch\.export; it holds 0"):
        load(path)
    path = changed("exported 11", lambda entry, data: b"{" if entry.endswith(CONFIG) else data, tmp_path)
    with pytest.raises(ModelFileError, match=r"weights_config\.json must be JSON"):
        load(path)
    path = changed("exported 11", lambda entry, data: None if entry.endswith(CONFIG) else data, tmp_path)
    with pytest.raises(ModelFileError, match=r"there is no entry '.*weights_config\.json'"):
        load(path)


def older(state: bytes | None, tmp_path: Path) -> Path:
    """A program in the layout of torch 2.6."""
    graph = next(data for entry, data in unzipped(PROGRAMS["exported 11"]["file"]) if entry.endswith(GRAPH))
    entries = [("serialized_exported_program.json", graph), ("version", b"8.1")]
    return written(zipped([*entries, *([("serialized_state_dict.pt", state)] if state is not None else [])]), tmp_path)


def test_the_layout_before_is_read_too(tmp_path: Path) -> None:
    one = PROGRAMS["exported 11"]
    state = torch_files.read(written(one["file"], tmp_path))
    model = load(older(in_zip(dict(state)), tmp_path), backend="numpy")
    np.testing.assert_allclose(model(np.array(one["x"]))[0], one["y"], rtol=0, atol=3e-6)
    with pytest.raises(ModelFileError, match=r"must have weights in serialized_state_dict.pt; it has none"):
        load(older(None, tmp_path))
    for content in (b"no zip", zipped([("a", b"")])):
        with pytest.raises(ModelFileError, match=r"not a whole zip file|it has none that are read"):
            load(older(content, tmp_path))
    with pytest.raises(ModelFileError, match="it holds no tensors by name"):
        load(older(in_zip([1]), tmp_path))


def test_a_file_within_a_file_is_not_deflated_twice(tmp_path: Path) -> None:
    """Each zip may hold a hundred times its bytes, and the one within the other ten thousand times."""
    inside = zipped([*unzipped(in_zip({"weight": drawn((2, 2))})), ("a/more", bytes(2**21))])
    entries = [("serialized_exported_program.json", b"{}"), ("serialized_state_dict.pt", inside)]
    load(written(zipped([*entries, ("a", bytes(10))]), tmp_path), backend="numpy", kinds={"": "Linear"}, modules=[""])
    with pytest.raises(ModelFileError, match=r"serialized_state_dict\.pt must be stored as it is"):
        load(written(zipped([*entries, ("a", np.random.default_rng(0).bytes(2**17))], zipfile.ZIP_DEFLATED), tmp_path))


def test_values_within_each_other_are_not_shown() -> None:
    """Code can have a tuple of 2**40 entries in forty lines."""
    for name in ("leaky_relu", "elu", "gelu", "softplus", "hardtanh"):
        with pytest.raises(ValueError, match=f"an argument of {name} must be a number or a word; it is a tuple"):
            activation(name, (1, 1))
    lines = ["v0 = (1, 1)", *(f"v{k + 1} = (v{k}, v{k})" for k in range(12))]
    for call in ("leaky_relu(x, v12)", "elu(x, v12)", "dropout(x, v12)", "softmax(x, v12)", "select(x, v12, v12)"):
        assert not outline("\n".join([*lines, f"return torch.{call}"])).whole


def test_a_graph_that_names_weights_which_are_not_there_is_not_followed(tmp_path: Path) -> None:
    def change(config: Any) -> None:
        config["config"]["other.weight"] = config["config"].pop("front.weight")

    model, assumed = said(edited("exported 11", CONFIG, change, tmp_path), modules=["other", "rnn", "head"])
    assert len(model.layers) == 3  # type: ignore[attr-defined]
    assert assumed == ()
    _, assumed = said(edited("exported 11", CONFIG, change, tmp_path))
    remark = "modules compute in the order of the file, whose program names 'front', which has no weights"
    assert remark in assumed
