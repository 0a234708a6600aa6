"""``minirnn generate``, ``fill`` and ``evaluate``: what a trained language model is used for."""

import time
from pathlib import Path
from typing import Any

import click
import numpy as np

import minirnn
from minirnn.cli.shared import backend_option, model_option, one_sentence
from minirnn.cli.terminal import evaluated, in_words, output, say
from minirnn.inference.quantize import STORED
from minirnn.language.evaluation import SAMPLE
from minirnn.language.model import LanguageModel
from minirnn.language.text import UNKNOWN, Text
from minirnn.training.metrics import as_json_line, finite

SHOWN = 8  # characters that are named one by one


def load_lm(path: Path, backend: str = "auto") -> LanguageModel:
    """A language model from a file, or one sentence."""
    lm = minirnn.load(path, backend=backend)
    if not isinstance(lm, LanguageModel):
        raise minirnn.ModelFileError(
            f"{path} must hold a language model; it holds a {type(lm).__name__} without vocabulary"
        )
    return lm


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
    say_unseen(lm, prefix)
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


@click.command()
@click.argument("text")
@model_option
@backend_option
@click.option("--blank", default="_", show_default=True, help="The character that stands for a missing one.")
@one_sentence
def fill(text: str, model: Path, backend: str, blank: str) -> None:
    """Restore the missing characters of TEXT: th_ q_ick br_wn."""
    lm = load_lm(model, backend)
    restored = lm.fill(text, blank=blank)
    say_unseen(lm, text.replace(blank, ""))
    click.echo(restored)


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@model_option
@backend_option
@click.option("--quantize", "kinds", type=click.Choice(STORED), multiple=True, help="What fewer bits would cost.")
@click.option("--all", "whole", is_flag=True, help=f"Not a sample of {SAMPLE:,} characters of a text that is longer.")
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
    """Perplexity on FILES, in the model's vocabulary; with --quantize, what it would be with smaller weights."""
    lm = load_lm(model, backend)
    text = Text.read(files, lm.vocab)
    begun = time.perf_counter()
    found, size = evaluated(lm, text, whole=whole), lm.network.bound.nbytes
    perplexity = found.perplexity
    record = {
        "perplexity": perplexity,
        "standard_error": found.margin,
        "characters": len(text),
        "evaluated": found.characters,
        "unknown": len(text) - int(np.count_nonzero(text.indices)),
        "bytes": size,
        "quantized": lm.network.bound.quantized,
        "seconds": round(time.perf_counter() - begun, 3),
    }
    smaller: dict[str, dict[str, Any]] = {}
    for kind in kinds:
        small = lm.quantize(kind)
        its = evaluated(small, text, whole=whole).perplexity
        smaller[kind] = {"perplexity": its, "loss": its / perplexity - 1, "bytes": small.network.bound.nbytes}
    if as_json:
        click.echo(as_json_line(record | {kind: finite(numbers) for kind, numbers in smaller.items()}))
        return
    weights = f", weights {record['quantized']}" if record["quantized"] else ""
    say(*in_words(found, text, f"characters, {record['unknown']} unknown to the model{weights}", "--all"), to=output)
    for kind, numbers in smaller.items():
        click.echo(
            f"{kind:4} would give {numbers['perplexity']:.3f}, {100 * numbers['loss']:+.2f} %, "
            f"with {numbers['bytes']:,} bytes of weights instead of {size:,}"
        )
