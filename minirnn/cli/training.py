"""``minirnn train``: from text to a model file."""

import signal
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from minirnn.cli.options import DEFAULT_LR, DEFAULT_STEPS, OPTIMIZERS, TrainOptions
from minirnn.cli.resuming import Saved, begin_or_go_on, check_something_to_resume
from minirnn.cli.shared import OUT, Shares, check_writable, one_sentence
from minirnn.cli.terminal import Outcome, Signals, console, evaluated, follow, in_words, output, say, show_samples
from minirnn.cli.together import last_words, together
from minirnn.core.backend import BACKENDS, BFLOAT16, get_backend
from minirnn.formats.native import save
from minirnn.kernels.cpu.threads import get_num_threads
from minirnn.language.evaluation import SAMPLE
from minirnn.language.model import CELLS, TASKS, LanguageModel
from minirnn.language.text import Text, TextError, pydoc_topics
from minirnn.optim.on_device import NonFiniteGradientError
from minirnn.training.checkpoints import Folder
from minirnn.training.keeper import Keeper
from minirnn.training.loop import NONFINITE, Step, Training
from minirnn.training.metrics import Record, as_json_line, circumstances
from minirnn.training.plots import plot_runs
from minirnn.training.ranks import Ranks, world

LR_HELP = "; ".join(f"{lr:g} for {name}" for name, lr in DEFAULT_LR.items())


@click.command("train")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--task",
    type=click.Choice(TASKS),
    default="next",
    show_default=True,
    help="Predict the next character, or fill in missing ones.",
)
@click.option("--cell", type=click.Choice(list(CELLS)), default="gru", show_default=True)
@click.option("--hidden-size", type=click.IntRange(1), default=256, show_default=True)
@click.option("--num-layers", type=click.IntRange(1), default=1, show_default=True)
@click.option("--embedding-size", type=click.IntRange(0), default=64, show_default=True, help="0 for one-hot input.")
@click.option("--dropout", type=click.FloatRange(0, 1, max_open=True), default=0.0, show_default=True)
@click.option("--locked", is_flag=True, help="Use one dropout mask for all steps of a batch.")
@click.option(
    "--weight-dropout", type=click.FloatRange(0, 1, max_open=True), default=0.0, help="Dropout probability of U."
)
@click.option("--zoneout", type=Shares(), default=0.0, help="Zoneout probability; for an LSTM, P or P_h,P_c.")
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True)
@click.option(
    "--num-steps",
    type=click.IntRange(1),
    default=35,
    show_default=True,
    help="Length of each training sequence, in characters.",
)
@click.option(
    "--stride", type=click.IntRange(1), help="Characters from one sequence to the next.  [default: --num-steps]"
)
@click.option("--sampling", type=click.Choice(["sequential", "random"]), help="[default: sequential; random for fill]")
@click.option("--optimizer", type=click.Choice(list(OPTIMIZERS)), default="adam", show_default=True)
@click.option("--lr", type=click.FloatRange(0, min_open=True), help=f"[default: {LR_HELP}]")
@click.option("--schedule", type=click.Choice(["cosine", "constant"]), help="[default: cosine; constant with --time]")
@click.option("--weight-decay", type=click.FloatRange(0), help="[default: the optimizer's]")
@click.option(
    "--clip", type=click.FloatRange(0), default=1.0, show_default=True, help="Largest gradient norm; 0 for no clipping."
)
@click.option("--epochs", type=click.IntRange(1), help="Stop after so many epochs.")
@click.option("--steps", type=click.IntRange(1), help=f"Stop after so many steps.  [default: {DEFAULT_STEPS}]")
@click.option("--time", "seconds", type=click.FloatRange(0, min_open=True), help="Stop after so many seconds.")
@click.option(
    "--held-out",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.1,
    show_default=True,
    help="Fraction of the text held out for validation.",
)
@click.option("--evaluate-all", is_flag=True, help=f"Validate on all of it, not on {SAMPLE:,} characters.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--backend", type=click.Choice(["auto", *BACKENDS]), default="auto", show_default=True)
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32", show_default=True)
@click.option("--compute", type=click.Choice([BFLOAT16]), help="Round what products multiply.  [default: --dtype]")
@click.option("--on-nonfinite", type=click.Choice(NONFINITE), default="stop", show_default=True, help="For gradients.")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Directory for checkpoints; see --resume.")
@click.option("--every", default="60s", show_default=True, help="Write a checkpoint every N steps, or 90s, 5m, 2h.")
@click.option("--keep", type=click.IntRange(1), default=3, show_default=True, help="Checkpoints to keep.")
@click.option("--resume", is_flag=True, help="Resume from the newest checkpoint in --checkpoint.")
@click.option("--patience", type=click.IntRange(1), help="Stop after N checkpoints without improvement.")
@click.option(
    "--log-every", type=click.IntRange(1), default=10, show_default=True, help="Write a record every N steps."
)
@click.option("--out", type=click.Path(path_type=Path), default=OUT, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line at the end and nothing else.")
@click.pass_context
@one_sentence
def train_command(ctx: click.Context, files: tuple[Path, ...], **values: Any) -> None:
    """Train a character-level language model on FILES (UTF-8), or without FILES on Python's own help texts.

    The last tenth of the text is held out for validation.  Training stops at the first of --steps, --epochs and --time.
    Ctrl-C and SIGTERM stop it after the current step.  However it stops, the model is saved.

    --checkpoint DIR keeps the run in a directory: checkpoints that --resume continues from as if nothing had happened,
    the best model by validation perplexity, and a record for ``minirnn plot``.

    ``mpiexec -n 4 minirnn train ...`` splits every batch between four processes.
    """
    ranks = world()
    with together(ranks):
        options = TrainOptions.parsed(**values)
        folder = None if options.checkpoint is None else Folder(options.checkpoint, options.keep)
        if folder is None and (options.resume or options.patience):
            raise ValueError(f"{'--resume' if options.resume else '--patience'} needs --checkpoint DIR")
        if folder and options.resume and ranks.rank == 0:
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
    """Plot loss, perplexity, gradient norms, learning rate and speed of RUNS (directories of train --checkpoint)."""
    check_writable(out)
    plot_runs(runs, out, by=by)
    say(f"saved {out}", to=output)


def run_training(
    files: tuple[Path, ...], options: TrainOptions, folder: Folder | None, saved: Saved | None, ranks: Ranks
) -> int:
    """Train from the beginning, or continue a ``saved`` run; save the model and print the results.

    Returns the exit code.  Called by every rank; the first alone reads and writes files.
    """
    options.check_finite()
    text = ranks.agree(read_text(files, options.out, folder if saved else None) if ranks.rank == 0 else None)
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


def set_up(text: Text, options: TrainOptions, ranks: Ranks) -> tuple[Training, int | None, Text]:
    """The training that the options ask for, how many steps it will take if that is known, and the text held out."""
    learn, held_out = text.split(options.held_out)
    if len(held_out) < 2:
        raise TextError(f"a text of {len(text)} characters is too short to hold out {options.held_out:.0%} of it")
    learn.num_batches(options.batch_size, options.num_steps, stride=options.stride)  # says so if there is none
    ranks.settle(get_backend(options.backend, options.dtype))
    lm, planned = options.model(text.vocab), options.planned_steps(learn)
    training = options.training(lm, learn, planned, ranks)
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
    """From which step the run can be resumed."""
    if keeper is None:
        return "; without --checkpoint nothing was kept"
    if not keeper.saved:
        return f"; {keeper.folder.path} has no checkpoint yet"
    return f"; {keeper.folder.path} has the run up to step {keeper.saved}: --resume goes on from there"


def keep_run(
    training: Training,
    text: Text,
    held_out: Text,
    files: tuple[Path, ...],
    options: TrainOptions,
    folder: Folder,
    saved: Saved | None,
) -> Keeper:
    """The keeper of the run in ``folder``; ``training`` resumes from what was saved there."""
    begun = options.recorded(files)
    more = {"options": begun, "text": text.digest()}
    record = Record(folder.path, options.log_every)
    steps, seconds = options.every
    examine = partial(evaluated, whole=options.evaluate_all)
    keeper = Keeper(training, folder, record, held_out, say, steps, seconds, options.patience, more, examine)
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


def finish(run: Outcome, training: Training, keeper: Keeper | None, held_out: Text, options: TrainOptions) -> int:
    """After the last step: save the model and print the results; returns the exit code."""
    lm, out = training.lm, options.out
    going_on = stands(keeper) if keeper else ""
    if run.error and not usable(lm, held_out):
        hint = f"{going_on}, with a smaller --lr or --clip, or --on-nonfinite skip" if going_on else ""
        raise NonFiniteGradientError(f"{run.error}; the model has diverged, and nothing was saved{hint}")
    try:
        save(lm, out)
    except OSError as error:
        raise OSError(f"{out} could not be written: {error}{going_on}") from None
    results = console if options.as_json else output
    how = "stopped; " if run.signal or run.error else "stopped early; " if run.early else ""
    say(f"{how}saved {out}{going_on if run.signal else ''}", to=results)
    if run.error:
        raise NonFiniteGradientError(f"{run.error}{going_on}")
    perplexity = sure = None
    if run.signal != signal.SIGTERM:  # whoever sent that is waiting
        try:
            evaluation = evaluated(lm, held_out, whole=options.evaluate_all)
            perplexity, sure = evaluation.perplexity, evaluation.margin
            say("validation ", *in_words(evaluation, held_out, "characters held out", "--evaluate-all"), to=results)
            if keeper and keeper.best < perplexity:
                say(f"best was {keeper.best:.3f}, after step {keeper.best_step}: {keeper.folder.best}", to=results)
            show_samples(lm, held_out, options.seed, results)
        except KeyboardInterrupt:
            run.signal = signal.SIGINT
    if options.as_json:
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


def usable(lm: LanguageModel, text: Text) -> bool:
    """Whether a model that diverged still says something finite about ``text``."""
    start = Text(text.vocab, text.indices[:10_000])
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(lm.perplexity(start)))
