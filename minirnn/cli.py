"""The command line: ``minirnn train | generate | fill | evaluate | check | info``."""

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.table import Table

import minirnn
from minirnn.backend import BACKENDS
from minirnn.lm import CELLS, TASKS, LanguageModel
from minirnn.optim import SGD, Adam, AdamW, NonFiniteGradientError, Optimizer, RMSProp
from minirnn.recurrent import GRU, LSTM, RNN
from minirnn.schedules import constant, cosine
from minirnn.terminal import console, follow, output, say, show_samples
from minirnn.text import Text, TextError, pydoc_topics
from minirnn.train import count_steps, train

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSProp}
DEFAULT_LR = {"sgd": 1.0, "adam": 6e-3, "adamw": 6e-3, "rmsprop": 2e-3}
LR_HELP = "; ".join(f"{lr:g} for {name}" for name, lr in DEFAULT_LR.items())
INTERRUPTED = 130  # the exit code that shells give a program ended by Ctrl-C
DEFAULT_STEPS = 1600  # about 45 s on two cores
OUT = "minirnn.safetensors"


def one_sentence(command: Callable[..., None]) -> Callable[..., None]:
    """Turn what a user can cause, bad input and missing files, into one sentence and exit code 2."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except BrokenPipeError:
            raise  # click ends quietly when whoever reads the output has gone
        except MemoryError as error:
            say((f"minirnn: not enough memory: {error}", "bold red"))
            sys.exit(2)
        except (ValueError, ArithmeticError, OSError, ImportError) as error:
            say((f"minirnn: {error}", "bold red"))
            sys.exit(2)

    return wrapped


class OneSentence(click.Group):
    """A group whose usage errors are one sentence too: without the usage that click prints above it."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with plain_usage_errors():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with plain_usage_errors():
            return super().invoke(ctx)


@contextmanager
def plain_usage_errors() -> Iterator[None]:
    """Take the context from a usage error, and with it what click would print of it."""
    try:
        yield
    except click.UsageError as error:
        error.ctx = None
        raise


@click.group(cls=OneSentence, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(minirnn.__version__, package_name="minirnn")
def main() -> None:
    """Recurrent networks whose every gradient is derived by hand."""


# ---------------------------------------------------------------------- train


@main.command("train")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--task", type=click.Choice(TASKS), default="next", show_default=True, help="Predict, or restore.")
@click.option("--cell", type=click.Choice(list(CELLS)), default="gru", show_default=True)
@click.option("--hidden-size", type=click.IntRange(1), default=256, show_default=True)
@click.option("--num-layers", type=click.IntRange(1), default=1, show_default=True)
@click.option("--embedding-size", type=click.IntRange(0), default=64, show_default=True, help="0: one-hot input.")
@click.option("--dropout", type=click.FloatRange(0, 1, max_open=True), default=0.0, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True)
@click.option("--num-steps", type=click.IntRange(1), default=35, show_default=True, help="Characters a row and step.")
@click.option("--sampling", type=click.Choice(["sequential", "random"]), help="[default: sequential; random for fill]")
@click.option("--optimizer", type=click.Choice(list(OPTIMIZERS)), default="adam", show_default=True)
@click.option("--lr", type=click.FloatRange(0, min_open=True), help=f"[default: {LR_HELP}]")
@click.option("--schedule", type=click.Choice(["cosine", "constant"]), help="[default: cosine; constant with --time]")
@click.option("--weight-decay", type=click.FloatRange(0), help="[default: the optimizer's]")
@click.option("--clip", type=click.FloatRange(0), default=1.0, show_default=True, help="Gradient norm; 0: no clipping.")
@click.option("--epochs", type=click.IntRange(1))
@click.option("--steps", type=click.IntRange(1), help=f"[default: {DEFAULT_STEPS}]")
@click.option("--time", "seconds", type=click.FloatRange(0, min_open=True), help="Seconds of training.")
@click.option("--held-out", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.1, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--backend", type=click.Choice(["auto", *BACKENDS]), default="auto", show_default=True)
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=OUT, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line at the end, and nothing else, on stdout.")
@one_sentence
def train_command(files: tuple[Path, ...], **options: Any) -> None:
    """Learn FILES character by character, UTF-8; without FILES, the help texts that every Python carries.

    The last tenth is held out.  Training ends at the first of --steps, --epochs and --time; Ctrl-C ends it at once.
    Either way the model is saved.
    """
    out: Path = options["out"]
    for name in ("lr", "clip", "seconds", "weight_decay"):
        if options[name] is not None and not np.isfinite(options[name]):
            raise ValueError(f"--{'time' if name == 'seconds' else name.replace('_', '-')} must be a finite number")
    check_writable(out, files)
    text = Text.read(files) if files else Text.from_string(pydoc_topics())
    learn, held_out = text.split(options["held_out"])
    if len(held_out) < 2:
        raise TextError(f"a text of {len(text)} characters is too short to hold out {options['held_out']:.0%} of it")
    learn.num_batches(options["batch_size"], options["num_steps"])  # says so if there is none
    lm = LanguageModel.build(
        text.vocab,
        **{k: options[k] for k in ("task", "cell", "hidden_size", "num_layers", "embedding_size", "dropout")},
    ).init(options["seed"], backend=options["backend"], dtype=options["dtype"])
    limits = {k: options[k] for k in ("epochs", "steps", "seconds")}
    if not any(limits.values()):
        limits["steps"] = DEFAULT_STEPS
    planned = planned_steps(limits, learn, options)
    optimizer = make_optimizer(lm, options, planned)
    sampling = options["sampling"] or ("random" if options["task"] == "fill" else "sequential")

    source = ", ".join(str(f) for f in files) or "pydoc_data.topics"
    say(f"{source}: {len(text):,} characters, {len(text.vocab) - 1} symbols, {len(held_out):,} held out")
    say(str(lm.network))
    steps = train(
        lm,
        learn,
        optimizer,
        batch_size=options["batch_size"],
        num_steps=options["num_steps"],
        sampling=sampling,
        seed=options["seed"],
        **limits,
    )
    run = follow(steps, planned, limits["seconds"])
    if run.last is None:
        say("stopped before the first step: there is nothing to save")
        sys.exit(INTERRUPTED)
    if run.error and not usable(lm, held_out):
        raise NonFiniteGradientError(f"{run.error}; the model has diverged, and nothing was saved")
    minirnn.save(lm, out)
    results = console if options["as_json"] else output
    say(f"{'stopped; ' if run.interrupted or run.error else ''}saved {out}", to=results)
    if run.error:
        raise run.error
    perplexity = None
    try:
        perplexity = lm.perplexity(held_out)
        words = "validation perplexity ", (f"{perplexity:.3f}", "bold"), f" on {len(held_out):,} characters held out"
        say(*words, to=results)
        show_samples(lm, held_out, options["seed"], results)
    except KeyboardInterrupt:
        run.interrupted = True
    if options["as_json"]:
        record = {
            "steps": run.last.step,
            "tokens_per_second": round(run.tokens / run.last.seconds),
            "train_perplexity": run.perplexity,
            "validation_perplexity": perplexity,
            "seconds": round(run.last.seconds, 3),
            "file": str(out),
            "interrupted": run.interrupted,
        }
        click.echo(as_json_line(record))
    if run.interrupted:
        sys.exit(INTERRUPTED)


def as_json_line(record: dict[str, Any]) -> str:
    """One line of JSON; numbers that are not finite, which JSON does not have, become null."""
    return json.dumps({k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in record.items()})


def usable(lm: LanguageModel, text: Text) -> bool:
    """Whether a model that diverged still says something finite about ``text``."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(lm.perplexity(text)))


def planned_steps(limits: dict[str, Any], text: Text, options: dict[str, Any]) -> int | None:
    """How many steps training will take, if a number of steps or epochs says so."""
    known = [limits["steps"]] if limits["steps"] else []
    if limits["epochs"]:
        sizes = options["batch_size"], options["num_steps"]
        known.append(count_steps(text, *sizes, limits["epochs"], options["seed"]))
    return min(known, default=None)


def make_optimizer(lm: LanguageModel, options: dict[str, Any], planned: int | None) -> Optimizer:
    """The optimiser that the options ask for; a cosine needs to know how many steps there will be."""
    name = options["optimizer"]
    lr = options["lr"] or DEFAULT_LR[name]
    kind = options["schedule"] or ("cosine" if planned and name != "sgd" else "constant")
    if kind == "cosine" and not planned:
        raise ValueError("--schedule cosine needs --steps or --epochs: it ends at a known step")
    schedule = cosine(lr, planned, warmup=min(50, planned // 10)) if kind == "cosine" and planned else constant(lr)
    decay = {} if options["weight_decay"] is None else {"weight_decay": options["weight_decay"]}
    return OPTIMIZERS[name](lm.network, schedule, clip=options["clip"] or None, **decay)


def check_writable(path: Path, files: tuple[Path, ...] = ()) -> None:
    """Find out before the work that the result could not be written, or would replace what it must not."""
    real = Path(os.path.realpath(path))
    if real.is_dir():
        raise IsADirectoryError(f"--out must be a file; {path} is a directory")
    if real.exists() and not real.is_file():
        raise OSError(f"--out must be a file that can be replaced; {path} is not one")
    if not real.parent.is_dir():
        raise FileNotFoundError(f"--out must be in a directory that exists; {real.parent} does not")
    if any(file.exists() and real.exists() and file.samefile(real) for file in files):
        raise ValueError(f"--out must not be a text to learn; {path} is among the FILES")
    if not os.access(real.parent, os.W_OK):
        raise PermissionError(f"--out must be in a directory that can be written; {real.parent} cannot")
    if not real.exists():  # a name the file system refuses, too long for example, is refused now
        real.touch()
        real.unlink()


# ---------------------------------------------------------------------- using a model


def load_lm(path: Path, backend: str = "auto") -> LanguageModel:
    """A language model from a file, or one sentence."""
    lm = minirnn.load(path, backend=backend)
    if not isinstance(lm, LanguageModel):
        raise minirnn.ModelFileError(
            f"{path} must hold a language model; it holds a {type(lm).__name__} without vocabulary"
        )
    return lm


model_option = click.option("--model", type=click.Path(path_type=Path), default=OUT, show_default=True)
backend_option = click.option("--backend", type=click.Choice(["auto", *BACKENDS]), default="auto", show_default=True)


@main.command()
@click.argument("prefix")
@model_option
@backend_option
@click.option("--length", type=click.IntRange(1), default=200, show_default=True, help="Characters to write.")
@click.option("--greedy", is_flag=True, help="Always the likeliest character.")
@click.option("--temperature", type=click.FloatRange(0), help="[default: 1.0]")
@click.option("--top-k", type=click.IntRange(1))
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True))
@click.option("--beam", type=click.IntRange(1), help="Beam search of this width.")
@click.option("--seed", type=click.IntRange(0), help="[default: a new one each time]")
@one_sentence
def generate(prefix: str, model: Path, backend: str, length: int, greedy: bool, beam: int | None, **how: Any) -> None:  # noqa: FBT001 - click passes options by name
    """Go on from PREFIX."""
    lm = load_lm(model, backend)
    chosen = [f"--{k.replace('_', '-')}" for k, value in how.items() if value is not None and k != "seed"]
    if greedy + bool(beam) + bool(chosen) > 1:
        given = ["--greedy"] * greedy + ["--beam"] * bool(beam) + chosen
        raise ValueError(f"--greedy, --beam and sampling exclude each other; got {', '.join(given)}")
    if beam:
        click.echo(prefix + lm.beam(prefix, length, width=beam)[0][0])
        return
    if how["temperature"] is None:
        how["temperature"] = 0.0 if greedy else 1.0
    characters = lm.generate(prefix, length, **how)
    click.echo(prefix, nl=False)
    for character in characters:
        click.echo(character, nl=False)
    click.echo()


@main.command()
@click.argument("text")
@model_option
@backend_option
@click.option("--blank", default="_", show_default=True, help="The character that stands for a missing one.")
@one_sentence
def fill(text: str, model: Path, backend: str, blank: str) -> None:
    """Restore the missing characters of TEXT: th_ q_ick br_wn."""
    click.echo(load_lm(model, backend).fill(text, blank=blank))


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@model_option
@backend_option
@click.option("--json", "as_json", is_flag=True)
@one_sentence
def evaluate(files: tuple[Path, ...], model: Path, backend: str, as_json: bool) -> None:  # noqa: FBT001 - click passes options by name
    """Perplexity on FILES, in the model's vocabulary."""
    lm = load_lm(model, backend)
    text = Text.from_string(str(Text.read(files)), lm.vocab)
    begun = time.perf_counter()
    record = {
        "perplexity": lm.perplexity(text),
        "characters": len(text),
        "unknown": int((text.indices == 0).sum()),
        "seconds": round(time.perf_counter() - begun, 3),
    }
    if as_json:
        click.echo(as_json_line(record))
        return
    click.echo(
        f"perplexity {record['perplexity']:.3f} on {len(text):,} characters, {record['unknown']} unknown to the model"
    )


# ---------------------------------------------------------------------- check and info


@main.command()
@click.option("--max-layers", type=click.IntRange(1), default=3, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@backend_option
@click.option("--json", "as_json", is_flag=True)
@one_sentence
def check(max_layers: int, seed: int, backend: str, as_json: bool) -> None:  # noqa: FBT001 - click passes options by name
    """Check the gradients of every cell, depth and direction on this machine, and print the largest errors."""
    from minirnn.testing.selfcheck import METHODS, check_everything

    table = Table(
        "cell",
        "layers",
        "bidirectional",
        "lengths",
        *METHODS,
        title="largest |gradient - derivative| / max(1, |derivative|)",
    )
    records, failed = [], 0
    with console.status("checking"):
        for result in check_everything(max_layers, seed, backend):
            records.append(result.record())
            failed += not result.ok
            table.add_row(*result.words(), style=None if result.ok else "bold red")
    if as_json:
        click.echo(json.dumps({"ok": not failed, "checks": records}))
    else:
        output.print(table)
        click.echo(f"{len(records)} layers checked, {failed} wrong")
    if failed:
        sys.exit(1)


@main.command()
@click.option("--json", "as_json", is_flag=True)
@one_sentence
def info(as_json: bool) -> None:  # noqa: FBT001 - click passes options by name
    """Versions, backends, threads; compiles the kernels, and says how long each cell's took."""
    record = {
        "minirnn": minirnn.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        **{name: _version(name) for name in ("click", "rich", "safetensors", "numba")},
        "backends": {name: list(backend.dtypes) for name, backend in BACKENDS.items()},
        "auto": minirnn.backend.get_backend("auto").name,
        "blas": _blas(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": {
            k: os.environ[k] for k in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS") if k in os.environ
        },
    }
    record |= _devices()
    if find_spec("numba"):
        with console.status("compiling kernels"):
            record |= _kernels()
    if as_json:
        click.echo(json.dumps(record))
        return
    for name, value in record.items():
        click.echo(f"{name:12} {_words(value) or 'as the libraries choose'}")


def _devices() -> dict[str, Any]:
    """CuPy's version and the devices it can use, or why it can use none."""
    if not find_spec("cupy"):
        return {"cupy": "not installed"}
    import cupy

    found = minirnn.backend.devices()
    names = [
        cupy.cuda.runtime.getDeviceProperties(k)["name"].decode() for k in range(found if isinstance(found, int) else 0)
    ]
    return {"cupy": cupy.__version__, "devices": names or f"no CUDA device: {found}"}


def _kernels() -> dict[str, Any]:
    """What the kernels are compiled for, where they are kept, and the seconds until each cell's were ready."""
    from minirnn.kernels.cpu.runtime import describe

    seconds: dict[str, float] = {}
    for name, layer in {
        "rnn": RNN(1, 1),
        "relu": RNN(1, 1, nonlinearity="relu"),
        "gru": GRU(1, 1),
        "lstm": LSTM(1, 1),
    }.items():
        begun = time.perf_counter()
        layer.init(backend="numba")
        y, _, backward = layer.forward(np.zeros((1, 1, 1), np.float32))
        backward(y)
        layer(y)
        seconds[name] = round(time.perf_counter() - begun, 2)
    return describe() | {
        "seconds until kernels were ready": seconds,
        "without kernels": ["GRU(reset='before')", "cells of your own"],
    }


def _words(value: Any) -> str:
    """A value of ``info`` for a person: ``numpy (float32, float64, complex128)``, ``OMP_NUM_THREADS=2``."""
    if isinstance(value, list):
        return ", ".join(value)
    if isinstance(value, dict):
        return "; ".join(f"{k} ({', '.join(v)})" if isinstance(v, list) else f"{k}={v}" for k, v in value.items())
    return str(value)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _blas() -> str:
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()
