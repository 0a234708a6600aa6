"""A ``Run`` describes one pass to every layer; a ``Result`` is what a layer makes of it."""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

from minirnn.core.backend import Array
from minirnn.core.parameters import Parameters

State: TypeAlias = Any  # an array, a tuple of arrays, None, or a tuple of those: each layer documents its own
Pull: TypeAlias = Callable[[Array | None, State], tuple[Array | None, State]]
Reader: TypeAlias = Callable[[], Array]  # computes a saved quantity for all steps when someone asks
Saved: TypeAlias = Mapping[str, Reader]


class Run(NamedTuple):
    """One pass, as every layer of the model sees it."""

    parameters: Parameters
    training: bool
    call: int  # number of this training pass, for dropout
    past: Array | None = None  # (T, B) True where t >= lengths[b]; None without lengths
    flipped: Array | None = None  # (T, B) the step that a reverse direction reads at t; None without lengths
    skip: Array | None = None  # (T, B) True where a mask, or a row's end, has a step skipped; None without a mask
    every: int = 0  # steps between the states that are stored, with gradient checkpointing; 0: all are
    first_row: int = 0  # of x, in the batch that it is a part of
    first_step: int = 0  # of those that a direction takes, in the whole of them
    again: bool = False  # backward computes again what it needs, and nothing is saved for it

    def in_segments(self, T: int) -> bool:
        """Whether T steps are computed a segment at a time, with gradient checkpointing."""
        return self.training and 0 < self.every < T

    @property
    def saves(self) -> bool:
        """Whether what backward needs is saved."""
        return self.training and not self.again

    @property
    def skipped(self) -> Array | None:
        """(T, B) True at every step that is skipped, for whatever reason; None where there is none."""
        return self.past if self.skip is None else self.skip


class Result(NamedTuple):
    """A layer's answer to the layer around it: ``pull`` is its transpose, ``saved`` names what pull will use.

    ``run`` is for the layers after it, where theirs differs from this layer's: it has a mask.
    """

    y: Array
    state: State
    pull: Pull
    saved: Saved
    run: Run | None = None


class Later(Mapping[str, Reader]):
    """Readers by name, made when the first is asked for: few passes are looked into, and each would pay for it."""

    def __init__(self, make: Callable[[], Saved]) -> None:
        self._make = make

    @cached_property
    def _readers(self) -> Saved:
        return self._make()

    def __getitem__(self, name: str) -> Reader:
        return self._readers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


def joined(parts: "list[tuple[str, Saved]]") -> Saved:
    """The readers of several layers, each under ``name.…``."""
    return Later(lambda: {f"{name}.{key}": read for name, saved in parts for key, read in saved.items()})
