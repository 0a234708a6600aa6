"""``minirnn convert`` and ``inspect``: files of models, in any format that minirnn knows."""

import warnings
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any

import click

import minirnn
from minirnn.cli.shared import check_writable, one_sentence
from minirnn.cli.terminal import say
from minirnn.core.layer import Layer
from minirnn.core.module import brief
from minirnn.formats.onnx import Graph
from minirnn.formats.opening import FORMATS, format_of
from minirnn.formats.unknown import check_is_file
from minirnn.inference.quantize import STORED
from minirnn.language.model import LanguageModel
from minirnn.training.metrics import as_json_line

SAVERS = {**FORMATS, "onnx": "minirnn.formats.onnx.writing"}  # the room that writes each
SUFFIXES = {
    ".safetensors": "native",
    ".pt": "torch",
    ".pth": "torch",
    ".keras": "keras",
    ".h5": "keras",
    ".hdf5": "keras",
    ".onnx": "onnx",
}
# what can be said about a file that does not say it, and of which format
HINTS = {"nonlinearity": "torch", "prefix": "torch", "part": "torch", "modules": "torch", "config": "keras"}
WRITING = {"names": "torch", "states": "onnx", "lengths": "onnx"}


def hints(command: Any) -> Any:
    """The options for what a file of another's does not say."""
    options = [
        click.option("--nonlinearity", type=click.Choice(["tanh", "relu"]), help="Of a torch file's nn.RNN."),
        click.option("--prefix", help="Of a torch file, the modules under this path."),
        click.option("--part", help="Of a torch file with several state dicts, this one."),
        click.option(
            "--module",
            "modules",
            multiple=True,
            help="Of a torch file, these modules in this order, and between them relu, last, final ...",
        ),
        click.option("--config", type=click.Path(path_type=Path), help="Of Keras weights alone: model.to_json()."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--to", type=click.Choice(list(SAVERS)), help="The format of OUT  [default: by its suffix]")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), help="[default: that of IN]")
@click.option("--quantize", type=click.Choice(STORED), help="Weights in a quarter or half of the bytes.")
@click.option("--states", is_flag=True, help="Into ONNX: initial states are inputs of the graph.")
@click.option("--lengths", is_flag=True, help="Into ONNX: so are the lengths of rows.")
@click.option("--name", "names", multiple=True, help="Into torch: a module's name for each layer with weights.")
@hints
@one_sentence
def convert(source: Path, target: Path, to: str | None, dtype: str | None, quantize: str | None, **said: Any) -> None:
    """Write the model in IN as OUT: a minirnn .safetensors, torch .pt, Keras .keras or .h5, or .onnx file."""
    to = to or SUFFIXES.get(target.suffix)
    if to is None:
        raise ValueError(f"OUT must end in {', '.join(SUFFIXES)}, or --to say its format; got {target}")
    writing = chosen({name: said.pop(name) for name in WRITING}, WRITING, to, target)
    check_writable(target, (source,), "OUT")
    found = opened(source, said, dtype)
    if isinstance(found, Graph):
        raise minirnn.ModelFileError(f"{source} must hold a chain of layers to be converted; it holds {found!r:.500}")
    model = found.quantize(quantize) if quantize else found
    import_module(SAVERS[to]).save(model, target, **writing)
    if isinstance(model, LanguageModel) and to in ("torch", "keras"):
        say(f"{to}'s format has no place for the vocabulary: keep {source} for it")
    click.echo(f"{source}: {format_of(source)}, {size_of(found)}")
    click.echo(f"{target}: {to}, {target.stat().st_size:,} bytes{f', weights {quantize}' if quantize else ''}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True)
@hints
@one_sentence
def inspect(file: Path, as_json: bool, **said: Any) -> None:  # noqa: FBT001 - click passes options by name
    """What is in FILE: layers, weights, shapes, dtype, number of parameters; for every format that minirnn opens."""
    record = about(file, said)
    if as_json:
        click.echo(as_json_line(record))
        return
    kind = {"layers": "a network", "language model": "a language model", "graph": "a graph"}.get(record["holds"])
    click.echo(f"{file}: {record['format']}, {kind or 'arrays'}, {record['bytes']:,} bytes")
    for name in ("why", "description", "task", "symbols"):
        if name in record:
            click.echo(record[name] if name == "description" else f"{name}: {record[name]}")
    for words in record["assumed"]:
        click.echo(f"assumed: {words}")
    if "settled_by" in record:
        click.echo(record["settled_by"])
    for words in record["unsaid"]:
        click.echo(f"the file does not say: {words}")
    rows = [(w["name"], str(tuple(w["shape"])), w["dtype"]) for w in record["weights"]]
    widths = [max((len(row[k]) for row in rows), default=0) for k in range(3)]
    for row in rows:
        click.echo("  " + "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    click.echo(f"{record['parameters']:,} parameters, {record['dtype']}")


def about(file: Path, said: dict[str, Any]) -> dict[str, Any]:
    """What ``inspect`` says of a file, for JSON."""
    assumed: list[str] = []
    unsaid: list[str] = []
    advice = ""
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", minirnn.ModelFileWarning)
            found = opened(file, said, None)
    except minirnn.ModelFileError as error:
        room = import_module(FORMATS[format_of(file)])
        if not hasattr(room, "contents"):
            raise
        weights = room.contents(file)
        record: dict[str, Any] = {"holds": "arrays", "why": f"no network: {error}"}
    else:
        for warning in warned:
            if isinstance(warning.message, minirnn.ModelFileWarning):
                assumed += warning.message.details
                advice = warning.message.advice
        if isinstance(found, Graph):
            record = {"holds": "graph", "description": repr(found)}
            weights = {name: (a.shape, a.dtype.name) for name, a in found.constants.items()}
        else:
            network = found.network if isinstance(found, LanguageModel) else found
            record = {"holds": "layers", "description": network.describe()}
            if isinstance(found, LanguageModel):
                record |= {"holds": "language model", "task": found.task, "symbols": len(found.vocab)}
            weights = {name: (w.shape, dtype_of(w)) for name, w in network.named_weights().items()}
            room = import_module(FORMATS[format_of(file)])
            unsaid = room.notes(network) if hasattr(room, "notes") else []
    dtypes = dict.fromkeys(dtype for _, dtype in weights.values())
    return {
        "file": str(file),
        "format": format_of(file),
        "bytes": file.stat().st_size,
        **record,
        "weights": [{"name": name, "shape": list(shape), "dtype": dtype} for name, (shape, dtype) in weights.items()],
        "parameters": sum(prod(shape) for shape, _ in weights.values()),
        "dtype": ", ".join(dtypes) or "none",
        "assumed": assumed,
        "unsaid": unsaid,
        **({"settled_by": advice} if advice else {}),
    }


def opened(file: Path, said: dict[str, Any], dtype: str | None) -> Layer | LanguageModel | Graph:
    """The model in a file, with what the caller says about it."""
    check_is_file(file)
    found: Layer | LanguageModel | Graph = minirnn.load(file, dtype=dtype, **chosen(said, HINTS, format_of(file), file))
    return found


def chosen(said: dict[str, Any], formats: dict[str, str], of: str, file: Path) -> dict[str, Any]:
    """The options that were given, all of which must be for files of that format."""
    given = {name: value for name, value in said.items() if value not in (None, (), False)}
    for name in given:
        if formats[name] != of:
            option = {"modules": "module", "names": "name"}.get(name, name)
            raise ValueError(f"--{option} is for files of {formats[name]}; {file} is one of {of}")
    return given


def size_of(model: Layer | LanguageModel) -> str:
    """A model in a line."""
    network = model.network if isinstance(model, LanguageModel) else model
    p = network.bound
    return f"{brief(network)}, {p.count:,} parameters, {p.quantized or p.dtype.name}"


def dtype_of(weight: Any) -> str:
    """The dtype in which a weight is kept, an array's or a quantised matrix'."""
    kind = getattr(weight, "kind", "full")
    return {"int8": "int8", "f16": "float16"}.get(kind) or weight.dtype.name
