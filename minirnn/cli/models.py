"""``minirnn convert`` and ``inspect``: files of models, in any format that minirnn knows."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any

import click

from minirnn.cli.shared import check_writable, one_sentence
from minirnn.cli.terminal import say
from minirnn.core.files import Json, ModelFileError, ModelFileWarning
from minirnn.core.layer import Layer
from minirnn.core.module import brief
from minirnn.formats import torch as torch_files
from minirnn.formats.inside import inside
from minirnn.formats.load import load
from minirnn.formats.lost import LANGUAGES, lost
from minirnn.formats.onnx import Graph
from minirnn.formats.opening import FORMATS, check_is_file, format_of
from minirnn.inference.quantize import DTYPES, STORED
from minirnn.language.model import LanguageModel
from minirnn.training.metrics import as_json_line

SAVERS = {  # the room that writes each
    **FORMATS,
    "onnx": "minirnn.formats.onnx.writing",
    **dict.fromkeys(LANGUAGES, "minirnn.formats.sources"),
}
SUFFIXES = {
    ".safetensors": "native",
    ".pt": "torch",
    ".pth": "torch",
    ".keras": "keras",
    ".h5": "keras",
    ".hdf5": "keras",
    ".onnx": "onnx",
}
SOURCES = {f".{language}": language for language in LANGUAGES} | {".mjs": "js"}
# options that are for files of some formats alone
FORMATS_OF = {
    "nonlinearity": ("torch",),
    "prefix": ("torch",),
    "part": ("torch",),
    "modules": ("torch",),
    "config": ("keras",),
    "names": ("torch",),
    "states": ("onnx",),
    "lengths": ("onnx",),
    "steps": LANGUAGES,
}
SPELT = {"modules": "module", "names": "name"}


@dataclass(frozen=True, kw_only=True)
class Hints:
    """Facts that a file does not say of itself."""

    nonlinearity: str | None
    prefix: str | None
    part: str | None
    modules: tuple[str, ...]
    config: Path | None


@dataclass(frozen=True, kw_only=True)
class Writing:
    """How a model is written."""

    names: tuple[str, ...]
    states: bool
    lengths: bool
    steps: int | None


def hints(command: Callable[..., None]) -> Callable[..., None]:
    """The options for what a file of another framework does not say."""
    options = [
        click.option(
            "--nonlinearity", type=click.Choice(["tanh", "relu"]), help="Nonlinearity of a torch file's nn.RNN."
        ),
        click.option("--prefix", help="Read only the modules of a torch file under this path."),
        click.option("--part", help="Which of several state dicts in a torch file to read."),
        click.option(
            "--module",
            "modules",
            multiple=True,
            help="Modules of a torch file, in order, with relu, last, final ... between them.",
        ),
        click.option(
            "--config", type=click.Path(path_type=Path), help="For a file of Keras weights alone: model.to_json()."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--to", type=click.Choice(list(SAVERS)), help="Format of OUT.  [default: by its suffix]")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), help="[default: that of IN]")
@click.option("--quantize", type=click.Choice(STORED), help="Store weights in a quarter or half of the bytes.")
@click.option("--states", is_flag=True, help="ONNX: make initial states inputs of the graph.")
@click.option("--lengths", is_flag=True, help="ONNX: make the lengths of rows an input of the graph.")
@click.option("--steps", type=int, help="c: the most steps of a call, where it needs whole sequences.  [default: 128]")
@click.option("--name", "names", multiple=True, help="torch: a module name for each layer with weights.")
@click.option("--strict", is_flag=True, help="Write nothing where something is assumed of IN or lost in OUT.")
@hints
@one_sentence
def convert(
    source: Path,
    target: Path,
    to: str | None,
    dtype: str | None,
    quantize: str | None,
    strict: bool,  # noqa: FBT001 - click passes options by name
    **options: Any,
) -> None:
    """Convert the model in IN to OUT: a minirnn .safetensors, torch .pt, Keras .keras or .h5, or .onnx file.

    Or to one file of source that computes the same without minirnn: OUT.c in C99, OUT.js, OUT.py with
    NumPy alone; OUT.html is a page on which a character model writes.

    What is lost on the way is listed: noise and activations that OUT has no place for, biases that are merged.
    """
    suffixes = SUFFIXES | SOURCES
    to = to or suffixes.get(target.suffix)
    if to is None:
        raise ValueError(f"OUT must end in {', '.join(suffixes)}, or --to say its format; got {target}")
    writing = chosen(Writing(**{one.name: options.pop(one.name) for one in fields(Writing)}), to, target)
    check_writable(target, (source,), "OUT")
    hints = Hints(**options)
    try:
        with warnings.catch_warnings():
            if strict:
                warnings.simplefilter("error", ModelFileWarning)
            loaded = opened(source, hints, dtype)
    except ModelFileWarning as warning:
        raise ModelFileError(f"{warning}. With --strict nothing is written") from None
    if isinstance(loaded, Graph):
        raise ModelFileError(f"{source} must hold a chain of layers to be converted; it holds {loaded!r:.500}")
    model = loaded.quantize(quantize) if quantize else loaded
    lacking = [*lost(model, to), *merged(source, hints)]
    if strict and lacking:
        raise ValueError(f"{target} would be without {', '.join(lacking)}: with --strict nothing is written")
    if to in LANGUAGES:
        writing["origin"] = source
    import_module(SAVERS[to]).save(model, target, **writing)
    if isinstance(model, LanguageModel) and to in ("torch", "keras"):
        say(f"{to}'s format has no place for the vocabulary: keep {source} for it")
    click.echo(f"{source}: {format_of(source)}, {size_of(loaded)}")
    click.echo(f"{target}: {to}, {target.stat().st_size:,} bytes{f', weights {quantize}' if quantize else ''}")
    for words in lacking:
        click.echo(f"lost: {words}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True)
@hints
@one_sentence
def inspect(file: Path, as_json: bool, **options: Any) -> None:  # noqa: FBT001 - click passes options by name
    """Print what is in FILE, of any format that minirnn reads: layers, weights, shapes, dtype, number of parameters.

    Of a file that is not opened, print what can be seen in it, and on the last line why not and what to do.
    """
    try:
        record = about(file, Hints(**options))
    except ModelFileError as error:
        within = inside(file)
        if as_json:
            click.echo(
                as_json_line(
                    {"file": str(file), "holds": "nothing that is opened", "why": str(error), "inside": within}
                )
            )
        else:
            for words in within:
                click.echo(words)
        raise
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
    products = f", products in {record['compute']}" if "compute" in record else ""
    click.echo(f"{record['parameters']:,} parameters, {record['dtype']}{products}")


def about(file: Path, hints: Hints) -> Json:
    """The description of a file, for JSON."""
    assumed: list[str] = []
    unsaid: list[str] = []
    advice = ""
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", ModelFileWarning)
            loaded = opened(file, hints, None)
    except ModelFileError as error:
        room = import_module(FORMATS[format_of(file)])
        if not hasattr(room, "contents"):
            raise
        try:
            weights = room.contents(file, part=hints.part)
        except ModelFileError:
            raise error from None  # which knows more of what the caller said
        record: Json = {"holds": "arrays", "why": f"no network: {error}"}
    else:
        for warning in warned:
            if isinstance(warning.message, ModelFileWarning):
                assumed += warning.message.details
                advice = warning.message.advice
        if isinstance(loaded, Graph):
            record = {"holds": "graph", "description": repr(loaded)}
            weights = {name: (a.shape, a.dtype.name) for name, a in loaded.constants.items()}
        else:
            network = loaded.network if isinstance(loaded, LanguageModel) else loaded
            record = {"holds": "layers", "description": network.describe()}
            if network.bound.compute:
                record["compute"] = network.bound.compute
            if isinstance(loaded, LanguageModel):
                record |= {"holds": "language model", "task": loaded.task, "symbols": len(loaded.vocab)}
            weights = {name: (w.shape, dtype_of(w)) for name, w in network.named_weights().items()}
            room = import_module(FORMATS[format_of(file)])
            places = {"part": hints.part, "prefix": hints.prefix or ""}
            unsaid = room.notes(network, file, **places) if hasattr(room, "notes") else []
    dtypes = dict.fromkeys(dtype for _, dtype in weights.values())
    return {
        "file": str(file),
        "format": format_of(file),
        "bytes": sum(one.stat().st_size for one in ([*file.rglob("*")] if file.is_dir() else [file]) if one.is_file()),
        **record,
        "weights": [{"name": name, "shape": list(shape), "dtype": dtype} for name, (shape, dtype) in weights.items()],
        "parameters": sum(prod(shape) for shape, _ in weights.values()),
        "dtype": ", ".join(dtypes) or "none",
        "assumed": assumed,
        "unsaid": unsaid,
        **({"settled_by": advice} if advice else {}),
    }


def merged(file: Path, hints: Hints) -> list[str]:
    """Biases of a torch file that are one in minirnn, in words."""
    if format_of(file) != "torch":
        return []
    modules = hints.modules or None
    paths = torch_files.merged_biases(file, part=hints.part, prefix=hints.prefix or "", modules=modules)
    return [f"the two biases of {path!r:.60}, of which the sum is kept" for path in paths]


def opened(file: Path, hints: Hints, dtype: str | None) -> Layer | LanguageModel | Graph:
    """The model in a file, with what the caller says about it."""
    check_is_file(file)
    model: Layer | LanguageModel | Graph = load(file, dtype=dtype, **chosen(hints, format_of(file), file))
    return model


def chosen(options: Hints | Writing, of: str, file: Path) -> Json:
    """The options that were set, all of which must be for files of that format."""
    values = {one.name: getattr(options, one.name) for one in fields(options)}
    chosen = {name: value for name, value in values.items() if value not in (None, (), False)}
    for name in chosen:
        if of not in FORMATS_OF[name]:
            formats = ", ".join(FORMATS_OF[name])
            raise ValueError(f"--{SPELT.get(name, name)} is for files of {formats}; {file} is one of {of}")
    return chosen


def size_of(model: Layer | LanguageModel) -> str:
    """A model in a line."""
    network = model.network if isinstance(model, LanguageModel) else model
    p = network.bound
    return f"{brief(network)}, {p.count:,} parameters, {p.numbers}"


def dtype_of(weight: object) -> str:
    """The dtype in which a weight is stored, an array's or a quantised matrix'."""
    kind = getattr(weight, "kind", "full")
    return DTYPES.get(kind) or str(getattr(weight, "dtype", ""))
