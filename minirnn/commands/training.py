"""``minirnn train``: from text to a model file."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

import minirnn
from minirnn.backend import BACKENDS
from minirnn.commands.shared import OUT, as_json_line, check_writable, one_sentence
from minirnn.lm import CELLS, TASKS, LanguageModel
from minirnn.optim import SGD, Adam, AdamW, NonFiniteGradientError, Optimizer, RMSProp
from minirnn.schedules import constant, cosine
from minirnn.terminal import console, follow, output, say, show_samples
from minirnn.text import Text, TextError, pydoc_topics
from minirnn.train import count_steps, train

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSProp}
DEFAULT_LR = {"sgd": 1.0, "adam": 6e-3, "adamw": 6e-3, "rmsprop": 2e-3}
LR_HELP = "; ".join(f"{lr:g} for {name}" for name, lr in DEFAULT_LR.items())
INTERRUPTED = 130  # the exit code that shells give a program ended by Ctrl-C
DEFAULT_STEPS = 1600  # about 45 s on two cores


@click.command("train")
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
