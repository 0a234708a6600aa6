"""Calls planted in every way in which torch's models are saved: Python would run them, minirnn does not."""

import pickle
import select
from contextlib import suppress
from pathlib import Path
from random import Random

import hostile
import pytest
from corpora import FORMATS
from structures import KINDS
from torch_attacks import CALLS

if not hasattr(select, "poll"):
    pytest.skip("pipes cannot be waited for on this system", allow_module_level=True)

PLANTED = {
    "torch whole": "a_call_in_a_module",
    "torch before 1.6": "a_call_in_a_module",
    "torch trainers": "a_call_in_a_checkpoint",
    "torch lightning": "a_call_in_a_checkpoint_of_lightning",
    "torch script": "a_call_in_a_program",
    "torch export": "a_call_in_an_exported_program",
}
DRAWN = 100


@pytest.mark.parametrize("name", CALLS)
def test_each_would_run_elsewhere(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is planted does run where Python's own machine reads it."""
    monkeypatch.chdir(tmp_path)
    with suppress(pickle.UnpicklingError, AttributeError, TypeError):  # for what is wrong after it has run
        pickle.loads(b"\x80\x04" + CALLS[name] + b".")  # noqa: S301 - our own
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("form", [pytest.param(form, marks=pytest.mark.fuzz) for form in PLANTED])
def test_no_call_runs(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process that is watched, which works in an empty folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "files"
    folder.mkdir()
    warm = []
    for k, data in enumerate(FORMATS[form].files()):
        (folder / f"warm{k}").write_bytes(data)
        warm.append(str(folder / f"warm{k}"))
    with hostile.Worker(FORMATS[form].loader, warm) as worker:
        for k in range(DRAWN):
            data = KINDS[form][PLANTED[form]](Random(k))  # noqa: S311 - no secret
            (folder / "file").write_bytes(data)
            found = worker.load(str(folder / "file"))
            assert hostile.verdict(*found, size=hostile.declared(data)) == "", k
    assert [one.name for one in tmp_path.iterdir()] == ["files"]
