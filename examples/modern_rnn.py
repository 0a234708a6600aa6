"""The five networks of *Dive into Deep Learning*'s chapter on modern recurrent networks, on its text.

    python examples/modern_rnn.py time_machine.txt [--epochs 500] [--seed 0]

The text is The Time Machine as the chapter prepares it: letters only, lower case, lines joined without a space, the
first 10,000 characters.  256 hidden units, one-hot input, batches of 32 rows of 35 steps, sequential; SGD with learning
rate 1 and gradients clipped to norm 1.  The chapter's initialisation (normal, 0.01) for one layer, torch's (uniform)
for the deep and the bidirectional network.  Perplexities are means over the last ten epochs, on the training text, as
published.

The chapter lets the bidirectional network predict the next character, which its reverse direction has already read.
Here it learns to restore masked characters instead, and its perplexity is that of the masked ones.
"""

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from minirnn import GRU, LSTM, RNN, SGD, Layer, Linear, Sequential
from minirnn.core.parameters import Scheme
from minirnn.language import LanguageModel, Text, Vocabulary
from minirnn.training import Step, Training, train

V, H = 28, 256  # 26 letters, the space, the unknown symbol; hidden units


@dataclass(frozen=True)
class Network:
    """One row of the table; perplexities as the chapter prints them, from scratch and with torch's layer."""

    name: str
    recurrent: Callable[[], Layer]
    scheme: Scheme
    from_scratch: str
    concise: str
    task: str = "next"


NETWORKS = [
    Network("RNN", lambda: RNN(V, H), "normal", "1.0", "1.3"),
    Network("GRU", lambda: GRU(V, H, reset="before"), "normal", "1.1", "1.0"),
    Network("LSTM", lambda: LSTM(V, H), "normal", "1.3", "1.1"),
    Network("LSTM, 2 layers", lambda: LSTM(V, H, num_layers=2), "uniform", "-", "1.0 (lr 2)"),
    Network(
        "LSTM, bidirectional", lambda: LSTM(V + 1, H, bidirectional=True), "uniform", "-", "1.1 (has read it)", "fill"
    ),
]


def prepare(path: Path) -> Text:
    """The first 10,000 characters of the chapter's corpus, in the vocabulary of all of it."""
    lines = [re.sub("[^A-Za-z]+", " ", line).strip().lower() for line in path.read_text(encoding="utf-8").splitlines()]
    corpus = "".join(lines)
    return Text.from_string(corpus[:10_000], Vocabulary.of(corpus))


def training(network: Network, text: Text, epochs: int, seed: int) -> Training:
    """One network's training, from its beginning."""
    recurrent = network.recurrent()
    model = Sequential(recurrent, Linear(recurrent.output_size or 0, V))
    lm = LanguageModel(model, text.vocab, network.task).init(seed, scheme=network.scheme)
    return train(lm, text, SGD(model, lr=1.0, clip=1.0), batch_size=32, num_steps=35, epochs=epochs, seed=seed)


def perplexities(steps: list[Step]) -> list[float]:
    """The perplexity of each epoch."""
    return [float(np.exp(np.mean([s.loss for s in part]))) for _, part in groupby(steps, lambda s: s.epoch)]


def learn(network: Network, text: Text, epochs: int, seed: int) -> tuple[float, float]:
    """Train one network; its perplexity over the last ten epochs, and characters a second."""
    steps = list(training(network, text, epochs, seed))
    return float(np.mean(perplexities(steps)[-10:])), sum(s.tokens for s in steps) / steps[-1].seconds


def main() -> None:
    parser = argparse.ArgumentParser(description="The chapter's five networks on The Time Machine.")
    parser.add_argument("path", type=Path, help="The Time Machine, plain text")
    parser.add_argument("--epochs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    text = prepare(arguments.path)
    row = "| {:19} | {:>10} | {:>12} | {:>17} | {:>8} |".format
    print(f"{len(text):,} characters, {text.vocab_size} symbols, {arguments.epochs} epochs")
    print(row("perplexity", "minirnn", "from scratch", "torch's layer", "tokens/s"))
    print(row("-" * 19, "-" * 10, "-" * 12, "-" * 17, "-" * 8))
    for network in NETWORKS:
        perplexity, rate = learn(network, text, arguments.epochs, arguments.seed)
        print(row(network.name, f"{perplexity:.3f}", network.from_scratch, network.concise, f"{rate:,.0f}"), flush=True)


if __name__ == "__main__":
    main()
