"""Conditional random fields behind a model: the scores that they choose among are loaded, and the rest is said."""

from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from minirnn import LSTM, Linear, ModelFileError, ModelFileWarning, Sequential
from minirnn.formats import torch as torch_files
from minirnn.formats.torch import from_state_dict

Array: TypeAlias = NDArray[Any]

TAGS = 5
NAMES = ("start_transitions", "end_transitions", "transitions")  # pytorch-crf's
SIZES = ((TAGS,), (TAGS,), (TAGS, TAGS))


def scores() -> dict[str, Array]:
    model = Sequential(LSTM(3, 4), Linear(4, TAGS)).init(seed=0)
    names = {"0": "lstm", "1": "fc"}
    arrays = torch_files.arrays_of(model)
    return {f"{names[name[0]]}{name[1:]}": array for name, array in arrays.items()}


@pytest.mark.parametrize("before", ["crf.", "", "model.crf."])
@pytest.mark.parametrize("names", [NAMES, NAMES[2:]], ids=["pytorch-crf", "one matrix"])
def test_a_field_is_left_out_with_a_warning(before: str, names: tuple[str, ...]) -> None:
    arrays = scores()
    field = {f"{before}{n}": np.ones(s, np.float32) for n, s in zip(NAMES, SIZES, strict=True) if n in names}
    with pytest.warns(ModelFileWarning, match="is a conditional random field, which chooses among the scores") as seen:
        model = from_state_dict({**arrays, **field})
    assert len(seen) == 1
    assert isinstance(model, Sequential)
    assert [type(layer) for layer in model.layers] == [LSTM, Linear]
    x = np.random.default_rng(0).normal(size=(6, 2, 3)).astype(np.float32)
    np.testing.assert_array_equal(model(x)[0], from_state_dict(arrays)(x)[0])
    stated = from_state_dict({**arrays, **field}, modules=["lstm", "fc"])  # and nothing is assumed
    np.testing.assert_array_equal(stated(x)[0], model(x)[0])


@pytest.mark.parametrize(
    "field",
    [
        {"crf.transitions": np.ones((TAGS, TAGS + 1), np.float32)},
        {"crf.transitions": np.ones((TAGS, TAGS), np.float32), "crf.start_transitions": np.ones(TAGS, np.float32)},
        {"crf.transitions": np.ones((TAGS, TAGS), np.float32), "crf.mask": np.ones(TAGS, np.float32)},
    ],
)
def test_what_is_like_no_field_is_not_left_out(field: dict[str, Array]) -> None:
    with pytest.raises(ModelFileError, match="'crf' unknown, with 'transitions'"):
        from_state_dict({**scores(), **field})


def test_a_field_alone_is_no_model() -> None:
    with pytest.raises(ModelFileError, match="unknown, with 'start_transitions'"):
        from_state_dict({n: np.ones(s, np.float32) for n, s in zip(NAMES, SIZES, strict=True)})
