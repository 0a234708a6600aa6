"""``minirnn train``: from text to a model file."""

import re
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

import minirnn
from minirnn.cli.resuming import LIMITS, Saved, begin_or_go_on, check_something_to_resume
from minirnn.cli.shared import OUT, Shares, check_writable, one_sentence
from minirnn.cli.terminal import Run, Signals, console, evaluated, follow, in_words, output, say, show_samples
from minirnn.cli.together import last_words, together
from minirnn.core.backend import BACKENDS, get_backend
from minirnn.kernels.cpu.threads import get_num_threads
from minirnn.language.evaluation import SAMPLE
from minirnn.language.model import CELLS, TASKS, LanguageModel
from minirnn.language.text import Text, TextError, pydoc_topics
from minirnn.optim.on_device import NonFiniteGradientError
from minirnn.optim.optimisers import SGD, Adam, AdamW, Optimizer, RMSProp
from minirnn.optim.schedules import constant, cosine
from minirnn.training.checkpoints import Folder
from minirnn.training.keeper import Keeper
from minirnn.training.loop import NONFINITE, Step, Training, count_steps, train
from minirnn.training.metrics import Record, as_json_line, circumstances
from minirnn.training.plots import plot_runs
from minirnn.training.ranks import Ranks, world

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSProp}
DEFAULT_LR = {"sgd": 1.0, "adam": 6e-3, "adamw": 6e-3, "rmsprop": 2e-3}
LR_HELP = "; ".join(f"{lr:g} for {name}" for name, lr in DEFAULT_LR.items())
DEFAULT_STEPS = 1600  # about 45 s on two cores
SIZES = ("hidden_size", "num_layers", "embedding_size")
BUILD = ("task", "cell", *SIZES, "dropout", "locked", "weight_dropout", "zoneout")  # what says how a model is built
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@click.command("train")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--task", type=click.Choice(TASKS), default="next", show_default=True, help="Predict, or restore.")
@click.option("--cell", type=click.Choice(list(CELLS)), default="gru", show_default=True)
@click.option("--hidden-size", type=click.IntRange(1), default=256, show_default=True)
@click.option("--num-layers", type=click.IntRange(1), default=1, show_default=True)
@click.option("--embedding-size", type=click.IntRange(0), default=64, show_default=True, help="0: one-hot input.")
@click.option("--dropout", type=click.FloatRange(0, 1, max_open=True), default=0.0, show_default=True)
@click.option("--locked", is_flag=True, help="Dropout with one mask for all steps of a batch.")
@click.option("--weight-dropout", type=click.FloatRange(0, 1, max_open=True), default=0.0, help="Of recurrent weights.")
@click.option("--zoneout", type=Shares(), default=0.0, help="Of states; P or, of an lstm's h and c, P,P.")
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True)
@click.option("--num-steps", type=click.IntRange(1), default=35, show_default=True, help="Characters a row and step.")
@click.option("--stride", type=click.IntRange(1), help="Characters from step to step  [default: --num-steps]")
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
@click.option("--evaluate-all", is_flag=True, help=f"Not {SAMPLE:,} characters of a text held out that is longer.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--backend", type=click.Choice(["auto", *BACKENDS]), default="auto", show_default=True)
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32", show_default=True)
@click.option("--on-nonfinite", type=click.Choice(NONFINITE), default="stop", show_default=True, help="Of gradients.")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="A directory that keeps the run; see --resume.")
@click.option("--every", default="60s", show_default=True, help="Between checkpoints: steps, or a time: 90s, 5m, 2h.")
@click.option("--keep", type=click.IntRange(1), default=3, show_default=True, help="Checkpoints that stay.")
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint, as the run began.")
@click.option("--patience", type=click.IntRange(1), help="Stop after so many checkpoints that were not better.")
@click.option("--log-every", type=click.IntRange(1), default=10, show_default=True, help="Steps a line of the record.")
@click.option("--out", type=click.Path(path_type=Path), default=OUT, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line at the end, and nothing else, on stdout.")
@click.pass_context
@one_sentence
def train_command(ctx: click.Context, files: tuple[Path, ...], **options: Any) -> None:
    """Learn FILES character by character, UTF-8; without FILES, the help texts that every Python carries.

    The last tenth is held out.  Training ends at the first of --steps, --epochs and --time; Ctrl-C and SIGTERM end it
    after the step that is being taken.  However it ends, the model is saved.

    With --checkpoint DIR the run is kept there as it goes: checkpoints from which --resume goes on as if nothing had
    happened, the best model by validation perplexity, and a record for ``minirnn plot``.

    ``mpiexec -n 4 minirnn train ...`` splits every batch between four processes.
    """
    ranks = world()
    with together(ranks):
        folder = None if options["checkpoint"] is None else Folder(options["checkpoint"], options["keep"])
        if folder is None and (options["resume"] or options["patience"]):
            raise ValueError(f"{'--resume' if options['resume'] else '--patience'} needs --checkpoint DIR")
        options["every"] = interval(options["every"])
        if folder and options["resume"] and ranks.rank == 0:
            check_something_to_resume(ctx, files, folder)
        with folder.locked() if folder and ranks.rank == 0 else nullcontext():
            begun = begin_or_go_on(ctx, files, options, folder) if ranks.rank == 0 else None
            files, options, saved = ranks.agree(begun)
            code = run_training(files, options, folder, saved, ranks)
        if code:
            sys.exit(code)


@click.command("plot")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default="runs.png", show_default=True, help="PNG, SVG or PDF.")
@click.option("--by", type=click.Choice(["step", "seconds"]), default="step", show_default=True)
@one_sentence
def plot_command(runs: tuple[Path, ...], out: Path, by: str) -> None:
    """Draw RUNS, directories of train --checkpoint: loss, perplexity, gradient norms, learning rate, speed."""
    check_writable(out)
    plot_runs(runs, out, by=by)
    say(f"saved {out}", to=output)


def run_training(
    files: tuple[Path, ...], options: dict[str, Any], folder: Folder | None, saved: Saved | None, ranks: Ranks
) -> int:
    """Train from the beginning, or go on with a ``saved`` run; save, and say what came of it.

    Returns the exit code.  Called by every rank; the first alone reads and writes files.
    """
    for name in ("lr", "clip", "seconds", "weight_decay"):
        if options[name] is not None and not np.isfinite(options[name]):
            raise ValueError(f"--{'time' if name == 'seconds' else name.replace('_', '-')} must be a finite number")
    text = ranks.agree(read_text(files, options["out"], folder if saved else None) if ranks.rank == 0 else None)
    training, planned, held_out = set_up(text, options, ranks)
    source = ", ".join(str(f) for f in files) or "pydoc_data.topics"
    say(f"{source}: {len(text):,} characters, {len(text.vocab) - 1} symbols, {len(held_out):,} held out")
    say(str(training.lm.network))
    if ranks.size > 1:
        say(f"{ranks.size} ranks, the first with {get_num_threads()} of its machine's processors")
    keeper = keep_run(training, text, held_out, files, options, folder, saved) if folder else None
    with last_words(ranks, lambda: f"minirnn: a rank was lost, and with it all others{stands(keeper)}") as renew:

        def after(step: Step) -> bool:
            stop = keeper(step) if keeper else False
            renew()
            return stop

        run = follow(training, planned, after)
        if run.last is None and not training.done:
            say("stopped before the first step: there is nothing to save")
            return 128 + (run.signal or signal.SIGINT)
        if keeper and not run.error and not keeper.up_to_date():
            if not run.signal:
                keeper.evaluate()
            keeper.keep()
        if ranks.rank == 0:
            return int(ranks.agree(finish(run, training, keeper, held_out, options)))
        with Signals():  # one that was sent to all is for the first, which is at work
            return int(ranks.agree(None))


def set_up(text: Text, options: dict[str, Any], ranks: Ranks) -> tuple[Training, int | None, Text]:
    """The training that the options ask for, how many steps it will take if that is known, and the text held out."""
    learn, held_out = text.split(options["held_out"])
    if len(held_out) < 2:
        raise TextError(f"a text of {len(text)} characters is too short to hold out {options['held_out']:.0%} of it")
    learn.num_batches(options["batch_size"], options["num_steps"], stride=options["stride"])  # says so if there is none
    ranks.settle(get_backend(options["backend"], options["dtype"]))
    lm = LanguageModel.build(text.vocab, **{k: options[k] for k in BUILD})
    lm.init(options["seed"], backend=options["backend"], dtype=options["dtype"])
    limits = {k: options[k] for k in LIMITS}
    if not any(limits.values()):
        limits["steps"] = DEFAULT_STEPS
    planned = planned_steps(limits, learn, options)
    training = train(
        lm,
        learn,
        make_optimizer(lm, options, planned),
        sampling=options["sampling"] or ("random" if options["task"] == "fill" else "sequential"),
        **{k: options[k] for k in ("batch_size", "num_steps", "stride", "seed", "on_nonfinite")},
        **limits,
        ranks=ranks,
    )
    return training, planned, held_out


def read_text(files: tuple[Path, ...], out: Path, resumed: Folder | None = None) -> Text:
    """The text to learn, after a look whether ``out`` can be written; ``resumed`` is where a run goes on with it."""
    check_writable(out, files)
    try:
        return Text.read(files) if files else Text.from_string(pydoc_topics())
    except TextError as error:
        if resumed is None:
            raise
        raise TextError(
            f"{error}; the run in {resumed.path} began with it: bring it back, or say where it is now: "
            f"minirnn train FILE --checkpoint {resumed.path} --resume"
        ) from None


def stands(keeper: Keeper | None) -> str:
    """What there is to go on from."""
    if keeper is None:
        return "; without --checkpoint nothing was kept"
    if not keeper.kept:
        return f"; {keeper.folder.path} has no checkpoint yet"
    return f"; {keeper.folder.path} has the run up to step {keeper.kept}: --resume goes on from there"


def keep_run(
    training: Training,
    text: Text,
    held_out: Text,
    files: tuple[Path, ...],
    options: dict[str, Any],
    folder: Folder,
    saved: Saved | None,
) -> Keeper:
    """What keeps the run in ``folder``; ``training`` goes on from what was saved there."""
    begun = {k: v for k, v in options.items() if k not in ("checkpoint", "resume")}
    begun["out"] = str(options["out"].absolute())  # the run may go on from another working directory
    begun["files"] = [str(path.resolve()) for path in files]
    more = {"options": begun, "text": text.digest()}
    record = Record(folder.path, options["log_every"])
    steps, seconds = options["every"]
    examine = partial(evaluated, whole=options["evaluate_all"])
    keeper = Keeper(training, folder, record, held_out, say, steps, seconds, options["patience"], more, examine)
    if saved:
        if saved.text != more["text"]:
            raise TextError(
                f"the text is not what the run in {folder.path} began with: bring that back to go on, "
                "or begin anew in another --checkpoint directory"
            )
        if saved.state:
            training.restore(saved.state)
            keeper.go_on(saved.more)
            say(f"going on after step {training.done}")
        else:
            say(f"{folder.path} has no checkpoint yet: going on from step 0, as the run began")
    if training.ranks.rank == 0:
        about = {"options": begun, "text": more["text"], "resumed_at": training.done, **circumstances()}
        about |= {"backend": training.lm.network.bound.backend.name, "ranks": training.ranks.size}
        record.begin(about, training.done, training.elapsed)
    return keeper


def finish(run: Run, training: Training, keeper: Keeper | None, held_out: Text, options: dict[str, Any]) -> int:
    """After the last step: save what there is, and say what came of it; returns the exit code."""
    lm, out = training.lm, options["out"]
    going_on = stands(keeper) if keeper else ""
    if run.error and not usable(lm, held_out):
        hint = f"{going_on}, with a smaller --lr or --clip, or --on-nonfinite skip" if going_on else ""
        raise NonFiniteGradientError(f"{run.error}; the model has diverged, and nothing was saved{hint}")
    try:
        minirnn.save(lm, out)
    except OSError as error:
        raise OSError(f"{out} could not be written: {error}{going_on}") from None
    results = console if options["as_json"] else output
    how = "stopped; " if run.signal or run.error else "stopped early; " if run.early else ""
    say(f"{how}saved {out}{going_on if run.signal else ''}", to=results)
    if run.error:
        raise NonFiniteGradientError(f"{run.error}{going_on}")
    perplexity = sure = None
    if run.signal != signal.SIGTERM:  # whoever sent that is waiting
        try:
            found = evaluated(lm, held_out, whole=options["evaluate_all"])
            perplexity, sure = found.perplexity, found.margin
            say("validation ", *in_words(found, held_out, "characters held out", "--evaluate-all"), to=results)
            if keeper and keeper.best < perplexity:
                say(f"best was {keeper.best:.3f}, after step {keeper.best_step}: {keeper.folder.best}", to=results)
            show_samples(lm, held_out, options["seed"], results)
        except KeyboardInterrupt:
            run.signal = signal.SIGINT
    if options["as_json"]:
        record = {
            "steps": training.done,
            "tokens_per_second": round(run.rate),
            "train_perplexity": run.perplexity,
            "validation_perplexity": perplexity,
            "standard_error": sure,
            "seconds": round(run.last.seconds if run.last else training.elapsed, 3),
            "file": str(out),
            "interrupted": bool(run.signal),
        }
        if keeper:
            record |= {"best_perplexity": keeper.best, "best_step": keeper.best_step}
        click.echo(as_json_line(record))
    return 128 + run.signal if run.signal else 0


def interval(words: str) -> tuple[int | None, float | None]:
    """``"500"`` steps, or ``"90s"``, ``"5m"``, ``"2h"`` as seconds: one of the two."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])|([1-9]\d*)", words.strip())
    if not found or (found[1] and float(found[1]) == 0):
        raise ValueError(f"--every must be a number of steps, or a time as in 90s, 5m or 2h; got {words!r}")
    return (int(found[3]), None) if found[3] else (None, float(found[1]) * UNITS[found[2]])


def usable(lm: LanguageModel, text: Text) -> bool:
    """Whether a model that diverged still says something finite about ``text``."""
    start = Text(text.vocab, text.indices[:10_000])
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(lm.perplexity(start)))


def planned_steps(limits: dict[str, Any], text: Text, options: dict[str, Any]) -> int | None:
    """How many steps training will take, if a number of steps or epochs says so."""
    known = [limits["steps"]] if limits["steps"] else []
    if limits["epochs"]:
        sizes = options["batch_size"], options["num_steps"]
        known.append(count_steps(text, *sizes, limits["epochs"], options["seed"], stride=options["stride"]))
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
