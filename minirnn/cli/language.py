"""``minirnn generate``, ``fill`` and ``evaluate``: a trained language model in use."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from minirnn.cli.shared import backend_option, model_option, one_sentence
from minirnn.cli.terminal import evaluated, in_words, output, say
from minirnn.core.files import Json, ModelFileError
from minirnn.formats.load import load
from minirnn.inference.quantize import STORED
from minirnn.language.evaluation import SAMPLE
from minirnn.language.model import LanguageModel
from minirnn.language.text import UNKNOWN, Text
from minirnn.training.metrics import as_json_line, finite

SHOWN = 8  # characters that are named one by one


def load_lm(path: Path, backend: str = "auto") -> LanguageModel:
    """A language model from a file, or one sentence."""
    lm = load(path, backend=backend)
    if not isinstance(lm, LanguageModel):
        raise ModelFileError(f"{path} must hold a language model; it holds a {type(lm).__name__} without vocabulary")
    return lm


@dataclass(frozen=True)
class Sampling:
    """How characters are drawn."""

    temperature: float | None
    top_k: int | None
    top_p: float | None
    seed: int | None

    @property
    def chosen(self) -> list[str]:
        """The options that ask for sampling, as they are written."""
        values = {"--temperature": self.temperature, "--top-k": self.top_k, "--top-p": self.top_p}
        return [option for option, value in values.items() if value is not None]


def say_unseen(lm: LanguageModel, text: str) -> None:
    """Say, on stderr, which characters of ``text`` the model has never seen, and how it reads them."""
    symbols = lm.vocab.unseen(text)
    if symbols:
        more = f" and {len(symbols) - SHOWN} more" if len(symbols) > SHOWN else ""
        say(
            f"the model has never seen {', '.join(map(repr, symbols[:SHOWN]))}{more}: "
            f"each is read as {UNKNOWN}, the unknown symbol, which no text has taught it"
        )


@click.command()
@click.argument("prefix")
@model_option
@backend_option
@click.option(
    "--length", type=click.IntRange(1), default=200, show_default=True, help="Number of characters to generate."
)
@click.option("--greedy", is_flag=True, help="Always take the most likely character.")
@click.option("--temperature", type=click.FloatRange(0), help="Below 1 sharper, above 1 flatter.  [default: 1.0]")
@click.option("--top-k", type=click.IntRange(1), help="Sample from the K most likely characters.")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), help="Sample from the top P of the probability.")
@click.option("--beam", type=click.IntRange(1), help="Beam width: search for a likely continuation.")
@click.option("--seed", type=click.IntRange(0), help="[default: a new one each time]")
@one_sentence
def generate(prefix: str, model: Path, backend: str, length: int, greedy: bool, beam: int | None, **how: Any) -> None:  # noqa: FBT001 - click passes options by name
    """Generate text that continues PREFIX."""
    lm, sampling = load_lm(model, backend), Sampling(**how)
    if greedy + bool(beam) + bool(sampling.chosen) > 1:
        options = ["--greedy"] * greedy + ["--beam"] * bool(beam) + sampling.chosen
        raise ValueError(f"--greedy, --beam and sampling exclude each other; got {', '.join(options)}")
    say_unseen(lm, prefix)
    if beam:
        click.echo(prefix + lm.beam(prefix, length, width=beam)[0][0])
        return
    characters = lm.generate(
        prefix,
        length,
        temperature=(0.0 if greedy else 1.0) if sampling.temperature is None else sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        seed=sampling.seed,
    )
    click.echo(prefix, nl=False)
    for character in characters:
        click.echo(character, nl=False)
    click.echo()


@click.command()
@click.argument("text")
@model_option
@backend_option
@click.option("--blank", default="_", show_default=True, help="The character that stands for a missing one.")
@one_sentence
def fill(text: str, model: Path, backend: str, blank: str) -> None:
    """Fill in the missing characters of TEXT: th_ q_ick br_wn."""
    lm = load_lm(model, backend)
    restored = lm.fill(text, blank=blank)
    say_unseen(lm, text.replace(blank, ""))
    click.echo(restored)


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@model_option
@backend_option
@click.option(
    "--quantize",
    "kinds",
    type=click.Choice(STORED),
    multiple=True,
    help="Also report the perplexity with quantized weights.",
)
@click.option("--all", "whole", is_flag=True, help=f"Evaluate on all characters, not on {SAMPLE:,}.")
@click.option("--json", "as_json", is_flag=True)
@one_sentence
def evaluate(
    files: tuple[Path, ...],
    model: Path,
    backend: str,
    kinds: tuple[str, ...],
    whole: bool,  # noqa: FBT001 - click passes options by name
    as_json: bool,  # noqa: FBT001
) -> None:
    """Compute the perplexity on FILES; with --quantize, also with quantized weights."""
    lm = load_lm(model, backend)
    text = Text.read(files, lm.vocab)
    begun = time.perf_counter()
    evaluation, size = evaluated(lm, text, whole=whole), lm.network.bound.nbytes
    perplexity = evaluation.perplexity
    record = {
        "perplexity": perplexity,
        "standard_error": evaluation.margin,
        "characters": len(text),
        "evaluated": evaluation.characters,
        "unknown": len(text) - int(np.count_nonzero(text.indices)),
        "bytes": size,
        "quantized": lm.network.bound.quantized,
        "seconds": round(time.perf_counter() - begun, 3),
    }
    smaller: dict[str, Json] = {}
    for kind in kinds:
        small = lm.quantize(kind)
        its = evaluated(small, text, whole=whole).perplexity
        smaller[kind] = {"perplexity": its, "loss": its / perplexity - 1, "bytes": small.network.bound.nbytes}
    if as_json:
        click.echo(as_json_line(record | {kind: finite(numbers) for kind, numbers in smaller.items()}))
        return
    weights = f", weights {record['quantized']}" if record["quantized"] else ""
    say(
        *in_words(evaluation, text, f"characters, {record['unknown']} unknown to the model{weights}", "--all"),
        to=output,
    )
    for kind, numbers in smaller.items():
        click.echo(
            f"{kind:4} would give {numbers['perplexity']:.3f}, {100 * numbers['loss']:+.2f} %, "
            f"with {numbers['bytes']:,} bytes of weights instead of {size:,}"
        )
