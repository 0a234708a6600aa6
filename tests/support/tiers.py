"""Parameters of which only some run with every change: the others carry a marker, and a longer command runs them."""

import os
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import strategies as st

from minirnn.cells import GRUCell, LSTMCell, ProjectedLSTMCell
from minirnn.testing.strategies import CELLS, Case, Chain, cases, chains

PLAIN = os.environ.get("MINIRNN_BACKEND") == "numpy"
# cells whose kernels drawn cases meet: few, since those of all would be compiled for a minute
DRAWN = CELLS if PLAIN else (GRUCell, LSTMCell, ProjectedLSTMCell(2))


def either(**options: Any) -> st.SearchStrategy[Case]:
    """Cases of every cell on the plain equations, and of some on kernels."""
    plain = cases(CELLS, backend="numpy", **options)
    return plain if PLAIN else plain | cases(DRAWN, backend="auto", **options)


def any_model(*, dropout: bool = True, indices: bool = True) -> st.SearchStrategy[Case | Chain]:
    """``either``, and layers around a recurrence."""
    return either(dropout=dropout, indices=indices) | chains(dropout=dropout)


def marked_but(shown: Iterable[Any], every: Iterable[Any], marker: str, name: Callable[[Any], str] = str) -> list[Any]:
    """All of them, by name; those that are not shown carry the marker."""
    names, mark = {name(one) for one in shown}, getattr(pytest.mark, marker)
    return [pytest.param(one, marks=[] if name(one) in names else mark, id=name(one)) for one in every]


def mostly_slow(values: Iterable[Any], shown: int = 1) -> list[Any]:
    """Parameters of which the first stand for the others: each is a compilation."""
    return [pytest.param(value, marks=pytest.mark.slow if k >= shown else []) for k, value in enumerate(values)]
