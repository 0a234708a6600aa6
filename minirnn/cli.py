"""The command line: ``minirnn train | generate | fill | evaluate | check | info``."""

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

import minirnn
from minirnn.backend import BACKENDS
from minirnn.lm import CELLS, TASKS, LanguageModel
from minirnn.optim import SGD, Adam, AdamW, NonFiniteGradientError, Optimizer, RMSProp
from minirnn.schedules import constant, cosine
from minirnn.text import Text, pydoc_topics
from minirnn.train import Step, steps_per_epoch, train

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSProp}
DEFAULT_LR = {"sgd": 1.0, "adam": 6e-3, "adamw": 6e-3, "rmsprop": 2e-3}
DEFAULT_STEPS = 1600  # about 45 s on two cores
OUT = "minirnn.safetensors"

console = Console(stderr=True, highlight=False)  # progress and tables are for a person; stdout is for results


def one_sentence(command: Callable[..., None]) -> Callable[..., None]:
    """Turn what a user can cause, bad input and missing files, into one sentence and exit code 2."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (ValueError, ArithmeticError, OSError, ImportError) as error:
            console.print(f"minirnn: {error}", style="bold red", markup=False, soft_wrap=True)
            sys.exit(2)

    return wrapped


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
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
@click.option("--lr", type=click.FloatRange(0, min_open=True), help=f"[default: {DEFAULT_LR}]")
@click.option("--schedule", type=click.Choice(["cosine", "constant"]), help="[default: cosine; constant with --time]")
@click.option("--weight-decay", type=click.FloatRange(0), default=0.0, show_default=True)
@click.option("--clip", type=click.FloatRange(0), default=1.0, show_default=True, help="Gradient norm; 0: no clipping.")
@click.option("--epochs", type=click.IntRange(1))
@click.option("--steps", type=click.IntRange(1), help=f"[default: {DEFAULT_STEPS}]")
@click.option("--time", "seconds", type=click.FloatRange(0, min_open=True), help="Seconds of training.")
@click.option("--held-out", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.1, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--backend", type=click.Choice(["auto", *BACKENDS]), default="auto", show_default=True)
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=OUT, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line at the end, and nothing else on stdout.")
@one_sentence
def train_command(files: tuple[Path, ...], **options: Any) -> None:
    """Learn FILES character by character, UTF-8; without FILES, the help texts that every Python carries.

    The last tenth is held out.  Training ends at the first of --steps, --epochs and --time; Ctrl-C ends it at once.
    Either way the model is saved.
    """
    out: Path = options["out"]
    check_writable(out)
    text = Text.read(files) if files else Text.from_string(pydoc_topics())
    learn, held_out = text.split(options["held_out"])
    lm = LanguageModel.build(
        text.vocab,
        **{k: options[k] for k in ("task", "cell", "hidden_size", "num_layers", "embedding_size", "dropout")},
    ).init(options["seed"], backend=options["backend"], dtype=options["dtype"])
    limits = {k: options[k] for k in ("epochs", "steps", "seconds")}
    if not any(limits.values()):
        limits["steps"] = DEFAULT_STEPS
    planned = planned_steps(limits, learn, options["batch_size"], options["num_steps"])
    optimizer = make_optimizer(lm, options, planned)
    sampling = options["sampling"] or ("random" if options["task"] == "fill" else "sequential")

    source = ", ".join(str(f) for f in files) or "pydoc_data.topics"
    console.print(f"{source}: {len(text):,} characters, {len(text.vocab) - 1} symbols, {len(held_out):,} held out")
    console.print(str(lm.network), markup=False)
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
        raise ValueError("training was stopped before its first step: there is nothing to save")
    if run.error:
        with np.errstate(over="ignore", invalid="ignore"):
            if not np.isfinite(lm.perplexity(held_out)):
                raise NonFiniteGradientError(f"{run.error}; the model has diverged, and nothing was saved")
    minirnn.save(lm, out)
    console.print(f"{'stopped; ' if run.interrupted or run.error else ''}saved {out}", markup=False, soft_wrap=True)
    if run.error:
        raise run.error
    perplexity = lm.perplexity(held_out)
    console.print(f"validation perplexity [bold]{perplexity:.3f}[/] on {len(held_out):,} characters held out")
    show_samples(lm, held_out, options["seed"])
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
        click.echo(json.dumps(record))
    if run.interrupted:
        sys.exit(130)  # as a shell reports a program that Ctrl-C ended


def planned_steps(limits: dict[str, Any], text: Text, batch_size: int, num_steps: int) -> int | None:
    """How many steps training will take, if a number of steps or epochs says so."""
    by_epochs = limits["epochs"] and limits["epochs"] * steps_per_epoch(text, batch_size, num_steps)
    known = [n for n in (limits["steps"], by_epochs) if n]
    return min(known, default=None)


def make_optimizer(lm: LanguageModel, options: dict[str, Any], planned: int | None) -> Optimizer:
    """The optimiser that the options ask for; a cosine needs to know how many steps there will be."""
    name = options["optimizer"]
    lr = options["lr"] or DEFAULT_LR[name]
    kind = options["schedule"] or ("cosine" if planned and name != "sgd" else "constant")
    if kind == "cosine" and not planned:
        raise ValueError("--schedule cosine needs --steps or --epochs: it ends at a known step")
    schedule = cosine(lr, planned, warmup=min(50, planned // 10)) if kind == "cosine" and planned else constant(lr)
    return OPTIMIZERS[name](lm.network, schedule, clip=options["clip"] or None, weight_decay=options["weight_decay"])


@dataclass
class Run:
    """What training came to: the last step, the characters read, the running perplexity, and how it ended."""

    last: Step | None = None
    tokens: int = 0
    loss: float = float("nan")  # running mean, decaying over about 50 steps
    interrupted: bool = False
    error: NonFiniteGradientError | None = None

    @property
    def perplexity(self) -> float:
        return float(np.exp(self.loss))

    def add(self, step: Step) -> None:
        """Count a step in."""
        weight = max(0.02, 1 / step.step)
        self.loss = step.loss if self.last is None else (1 - weight) * self.loss + weight * step.loss
        self.last, self.tokens = step, self.tokens + step.tokens


def follow(steps: Any, planned: int | None, seconds: float | None) -> Run:
    """Run the training under a progress bar until it ends, is interrupted, or diverges."""
    run = Run()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn(
            "loss {task.fields[loss]:.3f}  perplexity {task.fields[perplexity]:.2f}  {task.fields[rate]:,.0f} tokens/s"
        ),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, refresh_per_second=5) as progress:
        nan = float("nan")
        bar = progress.add_task("training", total=1.0, loss=nan, perplexity=nan, rate=0.0)
        try:
            for step in steps:
                run.add(step)
                done = max(
                    step.step / planned if planned else 0.0,
                    step.seconds / seconds if seconds else 0.0,
                )
                rate = run.tokens / step.seconds
                progress.update(
                    bar,
                    completed=min(1.0, done),
                    description=f"step {step.step}" + (f"/{planned}" if planned else ""),
                    loss=run.loss,
                    perplexity=run.perplexity,
                    rate=rate,
                )
            progress.update(bar, completed=1.0)
        except KeyboardInterrupt:
            run.interrupted = True
        except NonFiniteGradientError as error:
            if run.last is None:
                raise
            run.error = NonFiniteGradientError(f"step {run.last.step + 1}: {error}")
    return run


def show_samples(lm: LanguageModel, held_out: Text, seed: int) -> None:
    """What the model can do now: a continuation, or a restored stretch of the held-out text."""
    start = str(held_out)[:200]
    if lm.task == "next":
        prefix = start.partition("\n")[0][:40] or start[:1]
        sample = "".join(lm.generate(prefix, 200, temperature=0.7, seed=seed))
        console.print("sample at temperature 0.7:", style="dim")
        console.print(f"[bold]{_escape(prefix)}[/]{_escape(sample)}")
        return
    blank = next(c for c in "_•■▢" if c not in start)
    holes = np.random.default_rng(seed).random(len(start)) < 0.15
    holed = "".join(blank if h and not c.isspace() else c for c, h in zip(start, holes, strict=True))
    console.print("restored from the held-out text:", style="dim")
    console.print(holed, markup=False)
    console.print("→", style="dim")
    console.print(lm.fill(holed, blank=blank), markup=False)


def _escape(text: str) -> str:
    return text.replace("[", r"\[")


def check_writable(path: Path) -> None:
    """Find out before the work, not after it, that the result could not be written."""
    if path.is_dir():
        raise IsADirectoryError(f"--out must be a file; {path} is a directory")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"--out must be in a directory that exists; {path.parent} does not")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"--out must be in a directory that can be written; {path.parent} cannot")


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
@click.option("--temperature", type=click.FloatRange(0), default=1.0, show_default=True)
@click.option("--top-k", type=click.IntRange(1))
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True))
@click.option("--beam", type=click.IntRange(1), help="Beam search of this width.")
@click.option("--seed", type=click.IntRange(0), help="[default: a new one each time]")
@one_sentence
def generate(prefix: str, model: Path, backend: str, length: int, greedy: bool, beam: int | None, **how: Any) -> None:  # noqa: FBT001 - click passes options by name
    """Go on from PREFIX."""
    lm = load_lm(model, backend)
    if greedy and beam:
        raise ValueError("--greedy and --beam are two ways of choosing; give one")
    if beam:
        click.echo(prefix + lm.beam(prefix, length, width=beam)[0][0])
        return
    if greedy:
        how["temperature"] = 0
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
        click.echo(json.dumps(record))
        return
    click.echo(
        f"perplexity {record['perplexity']:.3f} on {len(text):,} characters, {record['unknown']} unknown to the model"
    )


# ---------------------------------------------------------------------- check and info


@main.command()
@click.option("--max-layers", type=click.IntRange(1), default=3, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True)
@one_sentence
def check(max_layers: int, seed: int, as_json: bool) -> None:  # noqa: FBT001 - click passes options by name
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
    for result in check_everything(max_layers, seed):
        records.append(result.record())
        failed += not result.ok
        table.add_row(*result.words(), style=None if result.ok else "bold red")
    if as_json:
        click.echo(json.dumps({"ok": not failed, "checks": records}))
    else:
        Console().print(table)
        click.echo(f"{len(records)} layers checked, {failed} wrong")
    if failed:
        sys.exit(1)


@main.command()
@click.option("--json", "as_json", is_flag=True)
@one_sentence
def info(as_json: bool) -> None:  # noqa: FBT001 - click passes options by name
    """Versions, backends and threads."""
    record = {
        "minirnn": minirnn.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        **{name: _version(name) for name in ("click", "rich", "safetensors")},
        "backends": {name: list(backend.dtypes) for name, backend in BACKENDS.items()},
        "auto": minirnn.backend.get_backend("auto").name,
        "blas": _blas(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": {
            k: os.environ[k] for k in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS") if k in os.environ
        },
    }
    if as_json:
        click.echo(json.dumps(record))
        return
    for name, value in record.items():
        click.echo(f"{name:12} {_words(value) or '-'}")


def _words(value: Any) -> str:
    """A value of ``info`` for a person: ``numpy (float32, float64, complex128)``, ``OMP_NUM_THREADS=2``."""
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
