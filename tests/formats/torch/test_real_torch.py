"""A trained model as its authors published it: arabic-morph-segmenter, whose ``.pt`` is a training checkpoint.

``pip install --no-deps arabic-morph-segmenter==0.1.0``: an Embedding, two layers of an LSTM in both directions and a
Linear, whose three numbers a letter (prefix, stem or suffix) a conditional random field makes labels of.  With
``pytorch-crf`` its own code runs too, and must segment words alike.
"""

from importlib import import_module
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from minirnn import LSTM, Embedding, Linear, ModelFileWarning, Sequential, load
from minirnn.formats.torch import read, save, to_torch

pytestmark = pytest.mark.extras

Array: TypeAlias = NDArray[Any]

MODULES = ("embedding", "lstm", "classifier")
PREFIXES = ("", "و", "ال", "وال", "فبال", "س")
STEMS = ("كتاب", "مدرسة", "ندد", "ناس", "فلسطيني", "تفرق", "Zx")  # the last in letters that it does not know
SUFFIXES = ("", "ون", "ها", "هم", "ت")


@pytest.fixture(scope="module")
def path() -> Path:
    spec = find_spec("arabic_morph_segmenter")
    if spec is None or spec.origin is None:
        pytest.skip("arabic-morph-segmenter is not installed: pip install --no-deps arabic-morph-segmenter")
    return Path(spec.origin).parent / "assets" / "arabic_morph_segmenter_bilstm_crf.pt"


@pytest.fixture(scope="module")
def model(path: Path) -> Sequential:
    found = load(path, modules=MODULES)
    assert isinstance(found, Sequential)
    return found


@pytest.fixture(scope="module")
def torch() -> Any:
    found = pytest.importorskip("torch", reason="torch is not installed: the same weights are not run in it")
    found.set_num_threads(1)
    return found


def modules_of(torch: Any) -> Any:
    """torch's modules, by the names that the file has for them."""
    lstm = torch.nn.LSTM(128, 256, num_layers=2, bidirectional=True)
    parts = {"embedding": torch.nn.Embedding(176, 128), "lstm": lstm, "classifier": torch.nn.Linear(512, 3)}
    return torch.nn.ModuleDict(parts).eval()


def emissions_of(torch: Any, net: Any, index: Array, lengths: Array) -> tuple[Array, list[Array]]:
    """What torch computes of letters (T, B): three numbers each, and the final states; 0 past a word's end."""
    rnn = torch.nn.utils.rnn
    with torch.no_grad():
        x = rnn.pack_padded_sequence(net["embedding"](torch.tensor(index)), lengths.tolist(), enforce_sorted=False)
        y, final = net["lstm"](x)
        emissions = net["classifier"](rnn.pad_packed_sequence(y, total_length=len(index))[0]).numpy()
    return np.where((np.arange(len(index))[:, None] < lengths)[:, :, None], emissions, 0), [a.numpy() for a in final]


def letters(T: int = 13, B: int = 9) -> tuple[Array, Array]:
    """Letters (T, B), and how many of each row are a word's."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 176, (T, B)), rng.permutation(np.linspace(1, T, B).astype(int))


def assert_close(found: Array, expected: Array) -> None:
    bound = 5e-6 if found.dtype == np.float32 else 1e-13  # in float32 either of the two is off by about half of it
    np.testing.assert_allclose(found, expected, rtol=0, atol=bound * max(1.0, np.abs(expected).max()))


def test_the_file_is_opened_and_what_it_has_beside_is_named(path: Path, model: Sequential) -> None:
    assert [type(layer) for layer in model.layers] == [Embedding, LSTM, Linear]
    assert model[1].describe() == "LSTM(128, 256, num_layers=2, bidirectional=True)"
    stored = sum(a.size for name, a in read(path).items() if not name.startswith("crf."))
    assert model.bound.count == stored - 4 * 1024  # of two biases each their sum
    with pytest.warns(ModelFileWarning, match="'crf' is a conditional random field"):
        assert load(path).describe() == model.describe()
    assert type(load(path, prefix="lstm")) is LSTM


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_its_outputs_and_final_states_are_those_of_torch(path: Path, torch: Any, dtype: str) -> None:
    net = modules_of(torch)
    state = torch.load(path, weights_only=True)["model_state_dict"]
    net.load_state_dict({name: tensor for name, tensor in state.items() if not name.startswith("crf.")}, strict=True)
    index, lengths = letters()
    expected, (h, c) = emissions_of(torch, net.to(getattr(torch, dtype)), index, lengths)
    y, (_, (h1, c1), _) = load(path, modules=MODULES, dtype=dtype)(index, lengths=lengths)
    y[np.arange(len(index))[:, None] >= lengths] = 0
    assert np.abs(expected).max() > 5  # a model that has learnt something
    for found, wanted in ((y, expected), (h1, h), (c1, c)):
        assert_close(found, wanted)


@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
def test_written_again_it_is_loaded_by_torch(ending: str, model: Sequential, torch: Any, tmp_path: Path) -> None:
    index, lengths = letters()
    wanted, _ = model(index, lengths=lengths)
    wanted[np.arange(len(index))[:, None] >= lengths] = 0
    net = modules_of(torch)
    net.load_state_dict(to_torch(model, names=MODULES), strict=True)
    assert_close(emissions_of(torch, net, index, lengths)[0], wanted)
    save(model, tmp_path / f"again{ending}", names=MODULES)
    again = load(tmp_path / f"again{ending}", modules=MODULES)
    np.testing.assert_array_equal(again.weights, model.weights)


def best_labels(emissions: Array, start: Array, end: Array, steps: Array) -> list[int]:
    """The likeliest labels of one word under a linear conditional random field, by Viterbi's algorithm."""
    score, back = start + emissions[0], []
    for row in emissions[1:]:
        ways = score[:, None] + steps + row  # from the label before, to this one
        back.append(ways.argmax(axis=0))
        score = ways.max(axis=0)
    found = [int((score + end).argmax())]
    for before in reversed(back):
        found.append(int(before[found[-1]]))
    return found[::-1]


def test_words_are_segmented_as_the_package_does(path: Path, model: Sequential, torch: Any) -> None:
    pytest.importorskip(
        "torchcrf", reason="the package's own code needs pytorch-crf: pip install --no-deps pytorch-crf"
    )
    theirs = import_module("arabic_morph_segmenter").ArabicMorphSegmenter()
    arrays, labels = read(path), set()
    crf = [arrays[f"crf.{name}"] for name in ("start_transitions", "end_transitions", "transitions")]
    for word in map("".join, product(PREFIXES, STEMS, SUFFIXES)):
        index = np.array([theirs.char2id.get(letter, theirs.char2id["<UNK>"]) for letter in word])[:, None]
        y, _ = model(index)
        found = [theirs.id2label[k] for k in best_labels(y[:, 0], *crf)]
        assert found == theirs.segment_word(word)["labels"], word
        labels.add("".join(found))
    assert len(labels) > 20  # they differ from word to word
