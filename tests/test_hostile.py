"""A few hundred spoilt files of every format, and faults planted in loaders that the harness must find.

``python tests/hostile.py`` loads ten thousand.
"""

import re
import select
from pathlib import Path
from random import Random

import hostile
import pytest
from corpora import FORMATS, Format
from mutations import mutated

if not hasattr(select, "poll"):
    pytest.skip("pipes cannot be waited for on this system", allow_module_level=True)

LOAD = ("loads_infinity",)  # a model, for which modules are imported when the first one is made
FAULTS = {
    "hangs": "no answer in",
    "takes_long": "s of processor time",
    "takes_memory": "bytes of memory for",
    "asks_for_all_memory": "MemoryError",
    "dies": "the process died, status -6",
    "exits": "the process died, status 0",
    "raises_key_error": "KeyError: 'weights'",
    "recurses": "RecursionError",
    "says_nothing": "a refusal in one line that names the file was expected",
    "says_too_much": "a refusal in one line that names the file was expected",
    "loads_nothing": "a model was expected; got dict",
    "loads_infinity": "not finite",
    "runs_code": "did what no loader may: compile",
    "compiles": "did what no loader may: compile",
    "unpickles": "did what no loader may: pickle.find_class",
    "starts_a_program": "did what no loader may: subprocess.Popen",
    "calls_the_shell": "did what no loader may: os.system",
    "connects": "did what no loader may: socket.",
    "writes_beside": "did what no loader may: open",
    "removes": "did what no loader may: os.remove",
    "imports": "did what no loader may: import",
    "hides_what_it_did": "did what no loader may: os.system",
}


@pytest.mark.parametrize("name", FORMATS)
def test_spoilt_files_end_in_a_model_or_a_refusal(name: str, tmp_path: Path) -> None:
    tally = hostile.run(name, FORMATS[name], count=300, seed=1, keep=tmp_path)
    assert not tally.failures, "\n".join(tally.failures)
    assert tally.files == 300
    assert tally.loaded + tally.refused == 300
    assert tally.loaded  # some changes are harmless
    assert tally.refused > 100


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "file"
    path.write_bytes(b"pass")
    return path


@pytest.mark.parametrize(("fault", "words"), FAULTS.items(), ids=FAULTS.keys())
def test_a_planted_fault_is_found(fault: str, words: str, file: Path) -> None:
    file.write_bytes(b"pass")
    with hostile.Worker(f"planted:{fault}", [str(file)] if fault in LOAD else []) as worker:
        worker.hangs = 1 if fault == "hangs" else 30
        found = worker.load(str(file))
        if fault == "takes_memory" and found[3] is None:
            pytest.skip("growth of memory cannot be measured on this system")
        assert words in hostile.verdict(*found, size=4)
        assert list(file.parent.iterdir()) == [file]  # what it would have done did not happen
        again = worker.load(str(file))  # and the next file is loaded as if nothing had been
        assert words in hostile.verdict(*again, size=4)


@pytest.mark.parametrize(("loader", "outcome"), [("sound", "loaded"), ("refuses", "refused")])
def test_a_sound_loader_passes(loader: str, outcome: str, file: Path) -> None:
    with hostile.Worker(f"planted:{loader}", [str(file)]) as worker:
        found = worker.load(str(file))
        assert found[0] == outcome
        assert hostile.verdict(*found, size=4) == ""


def test_a_file_that_breaks_a_rule_is_kept_and_can_be_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hostile, "FORMATS", {"bad": Format(lambda: [b"some bytes"], "planted:raises_key_error")})
    monkeypatch.setattr(hostile, "WARM", 1)
    arguments = ["--format", "bad", "--seed", "5", "--keep", str(tmp_path)]
    assert hostile.main([*arguments, "--count", "3"]) == 1
    said = capsys.readouterr().out
    assert "bad: a valid file does not load: KeyError" in said
    assert re.search(r"bad +3 +0 +0 +4 ", said)
    assert "--format 'bad' --seed 5 --first 2 --count 1" in said
    kept = (tmp_path / "bad-5-2").read_bytes()
    (tmp_path / "bad-5-2").unlink()
    hostile.main([*arguments, "--first", "2", "--count", "1"])
    assert (tmp_path / "bad-5-2").read_bytes() == kept


def test_the_command_says_what_became_of_every_format(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert hostile.main(["--format", "native", "--count", "20", "--keep", str(tmp_path / "kept")]) == 0
    assert re.search(r"native +20 ", capsys.readouterr().out)
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("name", FORMATS)
def test_mutations_reach_far_and_are_the_same_for_a_seed(name: str) -> None:
    files = FORMATS[name].files()
    made = [mutated(files[0], Random(k), files) for k in range(100)]  # noqa: S311 - no secret
    assert made == [mutated(files[0], Random(k), files) for k in range(100)]  # noqa: S311 - no secret
    assert len(set(made)) > 80
    assert sum(one == files[0] for one in made) < 10
