"""A trained model as its authors published it: g2p_en, which spells English words out in phonemes.

``pip install --no-deps g2p_en==2.1.0``: a GRU that reads letters and one that writes phonemes, in an ``.npz`` under
names of its own and in torch's layouts.  The package computes with NumPy; NLTK and inflect, which it needs for whole
sentences alone, are replaced, since its import would download NLTK's data.
"""

import sys
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from minirnn import Sequential
from minirnn.formats.torch import from_state_dict

pytestmark = pytest.mark.extras

Array: TypeAlias = NDArray[Any]

START, END = 2, 3  # of a word in phonemes
LONGEST = 20  # phonemes that it writes
WORDS = [
    "a", "of", "time", "people", "water", "number", "sound",
    "family", "mountain", "children", "question", "river", "morning", "language",
    "measure", "minirnn", "backpropagation", "recurrent", "gradient", "sigmoid", "hyperbolic",
    "tangent", "projection", "numba", "hypothesis", "quixotic", "zephyr", "rhythm",
    "knight", "gnome", "pneumonia", "psychology", "chrysanthemum", "colonel", "queue",
    "bourgeois", "jalapeno", "activationist", "tokenizer", "floccinaucinihilipilification", "xkcd", "zzz",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaa", "o'clock", "mother-in-law", "naïve", "2nd", "straße", "brrr",
    "qwerty", "ptarmigan", "syzygy", "uncopyrightable",
]  # fmt: skip


@pytest.fixture(scope="module")
def g2p() -> Iterator[Any]:
    """The package's own model."""
    if find_spec("g2p_en") is None:
        pytest.skip("g2p_en is not installed: pip install --no-deps g2p_en")
    nltk: Any = ModuleType("nltk")
    nltk.pos_tag, nltk.data = None, SimpleNamespace(find=lambda name: name)
    corpus: Any = ModuleType("nltk.corpus")
    corpus.cmudict = SimpleNamespace(dict=dict)  # no word is known: all are spelled out
    tokenize: Any = ModuleType("nltk.tokenize")
    tokenize.TweetTokenizer = lambda: SimpleNamespace(tokenize=str.split)
    inflect: Any = ModuleType("inflect")
    inflect.engine = lambda: None
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in its patterns, where it is compiled here
        for module in (nltk, corpus, tokenize, inflect):
            patch.setitem(sys.modules, module.__name__, module)
        model = import_module("g2p_en").G2p()
    yield model
    model.variables.close()


@pytest.fixture(scope="module")
def ours(g2p: Any) -> tuple[Sequential, Sequential]:
    """Its encoder and its decoder as layers."""
    encoder = layers_of(g2p, "enc")
    decoder = layers_of(g2p, "dec", **{"fc.weight": g2p.fc_w, "fc.bias": g2p.fc_b})
    assert "".join(encoder.describe().split()) == "Sequential((0):Embedding(29,256)(1):GRU(256,256))"
    assert "".join(decoder.describe().split()) == "Sequential((0):Embedding(74,256)(1):GRU(256,256)(2):Linear(256,74))"
    return encoder, decoder


def layers_of(g2p: Any, part: str, dtype: str = "float32", **more: Array) -> Sequential:
    """An Embedding, a GRU and what comes ``more``, from arrays in torch's layouts."""
    names = {"weight_ih": "w_ih", "weight_hh": "w_hh", "bias_ih": "b_ih", "bias_hh": "b_hh"}
    gru = {f"gru.{name}_l0": g2p.variables[f"{part}_{theirs}"] for name, theirs in names.items()}
    found = from_state_dict({"embedding.weight": g2p.variables[f"{part}_emb"], **gru, **more}, dtype=dtype)
    assert isinstance(found, Sequential)
    return found


def letters(g2p: Any, word: str) -> list[int]:
    """What the encoder reads."""
    return [g2p.g2idx.get(letter, g2p.g2idx["<unk>"]) for letter in [*word, "</s>"]]


def spelled(g2p: Any, first: Array, step: Callable[[int], Array]) -> list[str]:
    """The phonemes that are likeliest one after another, until the end of the word."""
    found: list[str] = []
    y = first
    while len(found) < LONGEST and (symbol := int(y.argmax())) != END:
        found.append(g2p.idx2p[symbol])
        y = step(symbol)
    return found


def test_there_are_fifty_words_and_some_letters_that_it_does_not_know(g2p: Any) -> None:
    assert len(set(WORDS)) >= 50
    assert any(set(word) - set(g2p.g2idx) for word in WORDS)


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-5), ("float64", 1e-13)])
def test_the_encoder_is_in_the_same_state_after_every_letter(g2p: Any, dtype: str, bound: float) -> None:
    read = [letters(g2p, word) for word in WORDS]
    lengths = [len(one) for one in read]
    x = np.zeros((max(lengths), len(WORDS)), np.int64)
    for b, one in enumerate(read):
        x[: len(one), b] = one
    y, (_, h) = layers_of(g2p, "enc", dtype)(x, lengths=lengths)  # all words at once, which the package does not
    weights = [getattr(g2p, f"enc_{name}").astype(dtype) for name in ("w_ih", "w_hh", "b_ih", "b_hh")]
    for b, word in enumerate(WORDS):
        state, embedded = np.zeros((1, 256), dtype), g2p.encode(word)
        for t in range(lengths[b]):
            state = g2p.grucell(embedded[:, t], state, *weights)
            np.testing.assert_allclose(y[t, b], state[0], rtol=0, atol=bound, err_msg=f"{word}, letter {t}")
        np.testing.assert_array_equal(h[0, b], y[lengths[b] - 1, b])


@pytest.mark.parametrize("word", WORDS)
def test_the_phonemes_are_those_that_the_package_predicts(
    word: str, g2p: Any, ours: tuple[Sequential, Sequential]
) -> None:
    encoder, decoder = ours
    expected = g2p.predict(word)
    assert expected

    state = encoder(np.array(letters(g2p, word))[:, None])[1][1]
    held = [(None, state, None)]

    def by_calls(symbol: int) -> Array:
        y, held[0] = decoder(np.array([[symbol]]), held[0])
        logits: Array = y[0, 0]
        return logits

    assert spelled(g2p, by_calls(START), by_calls) == expected

    reader, writer = encoder.stream(), decoder.stream()
    for letter in letters(g2p, word):
        reader(np.array([letter]))
    writer.state = (None, reader.state[1], None)

    def by_stream(symbol: int) -> Array:
        logits: Array = writer(np.array([symbol]))[0]
        return logits

    assert spelled(g2p, by_stream(START), by_stream) == expected
