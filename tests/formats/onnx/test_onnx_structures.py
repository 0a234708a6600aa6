"""Small files that ask for far more than they hold: what each makes and walks is counted before it is done.

Each is loaded, and run where it runs, in a watched process.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import hostile
import numpy as np
import pytest
from onnx_structures import NAMED, ints, on, structure

from minirnn import ModelFileError
from minirnn.formats.onnx import read
from minirnn.formats.onnx.running.meter import Meter, extent, memory_of

DRAWN = 150
HANGS = 3.0  # seconds after which a loader that has a fault is stopped


def started(loader: str, folder: Path) -> hostile.Worker:
    """A process that has loaded and run a file already."""
    warm = folder / "warm"
    warm.write_bytes(NAMED["final states doubled, as an output"]())
    return hostile.Worker(loader, [str(warm)])


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[hostile.Worker]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIRNN_BACKEND", "numpy")
        with started("minirnn:load", tmp_path_factory.mktemp("structures")) as process:
            yield process


def broken(worker: hostile.Worker, path: Path, data: bytes) -> str:
    """The rule that a file breaks, or nothing."""
    path.write_bytes(data)
    return hostile.verdict(*worker.load(str(path)), size=len(data))


@pytest.mark.parametrize("name", NAMED)
def test_a_small_file_takes_little(name: str, worker: hostile.Worker, tmp_path: Path) -> None:
    assert not broken(worker, tmp_path / "file", NAMED[name]())


def test_drawn_graphs_take_little(worker: hostile.Worker, tmp_path: Path) -> None:
    faults = {}
    for seed in range(DRAWN):
        words = broken(worker, tmp_path / "file", structure(Random(seed)))  # noqa: S311 - no secret
        if words:
            faults[seed] = words
    assert not faults


def test_drawn_graphs_are_many_and_some_run() -> None:
    made = [structure(Random(seed)) for seed in range(DRAWN)]  # noqa: S311 - no secret
    assert made == [structure(Random(seed)) for seed in range(DRAWN)]  # noqa: S311 - no secret
    assert len(set(made)) > DRAWN - 10
    ran = 0
    for data in made:
        with suppress(ModelFileError):
            read(data, backend="numpy").run({})
            ran += 1
    assert ran > DRAWN // 5


PLANTED = {
    "counts_nothing_of_empty_arrays": "TopK of none",
    "walks_for_nothing": "a Scan of no nodes",
    "lists_whatever_comes": "axes from a large array",
}


@pytest.mark.parametrize(("fault", "name"), PLANTED.items(), ids=PLANTED.keys())
def test_a_loader_that_does_not_count_is_found(
    fault: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIRNN_BACKEND", "numpy")
    with started(f"planted:{fault}", tmp_path) as worker:
        worker.hangs = HANGS
        assert broken(worker, tmp_path / "file", NAMED[name]())


def test_drawn_graphs_find_a_loader_that_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIRNN_BACKEND", "numpy")
    with started("planted:counts_nothing_of_empty_arrays", tmp_path) as worker:
        worker.hangs = HANGS
        drawn = (structure(Random(seed)) for seed in range(DRAWN))  # noqa: S311 - no secret
        assert any(broken(worker, tmp_path / "file", data) for data in drawn)


def test_an_array_counts_for_what_it_spans_though_it_is_empty() -> None:
    assert extent((3, 4)) == 12
    assert extent((2**31, 0)) == 2**31
    assert extent(()) == 1
    meter = Meter(100, 1000)
    with pytest.raises(ModelFileError, match="results must take at most 100 bytes"):
        meter.claim((30, 0), 4)
    with pytest.raises(ModelFileError, match="takes longer"):
        meter.walk((0, 1001), ns=1)


def test_memory_that_arrays_share_is_counted_once() -> None:
    a, b = np.zeros(10, np.float32), np.zeros((3, 4), np.int64)
    assert memory_of([a, a[2:5], a.reshape(2, 5), b.T, np.zeros((5, 0))]) == 40 + 96
    assert memory_of([]) == 0


def test_the_mean_of_nothing_is_no_number_and_no_warning() -> None:
    """NumPy warns of it; a sum of nothing by a count of 0 is NaN."""
    found = read(on((3, 0), "ReduceMean", "x one", ints("one", 1))).run({})["y"]
    assert found.shape == (3, 1)
    assert np.isnan(found).all()
