"""Spoilt files of every format, by the dozen and by the thousand; faults in loaders, each of which must be found."""

import re
import select
from pathlib import Path
from random import Random

import hostile
import pytest
from corpora import FORMATS, Format
from mutations import mutated
from structures import KINDS

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


# read by what reads formats beside them: dozens of these run where the hundreds do
ALIKE = ("torch before 1.6", "torch script", "torch export", "torch trainers", "torch lightning")
RUNS = ((60, 2, ()), (100, 1, pytest.mark.fuzz), (10_000, 0, pytest.mark.long))


@pytest.mark.parametrize(
    ("name", "count", "seed"),
    [
        pytest.param(name, count, seed, marks=pytest.mark.fuzz if name in ALIKE and not marks else marks)
        for name in FORMATS
        for count, seed, marks in RUNS
    ],
)
def test_spoilt_files_end_in_a_model_or_a_refusal(name: str, count: int, seed: int, tmp_path: Path) -> None:
    tally = hostile.run(name, FORMATS[name], count=count, seed=seed, keep=tmp_path)
    assert not tally.failures, "\n".join(tally.failures)
    assert tally.files == count
    assert tally.loaded + tally.refused == count
    assert tally.loaded  # some changes are harmless
    assert tally.refused > count // 3


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "file"
    path.write_bytes(b"pass")
    return path


SHOWN = ("takes_memory", "dies", "unpickles", "writes_beside")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        pytest.param(fault, words, id=fault, marks=[] if fault in SHOWN else pytest.mark.fuzz)
        for fault, words in FAULTS.items()
    ],
)
def test_a_planted_fault_is_found(fault: str, words: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_bytes(b"pass")
    if fault == "takes_long":  # a second
        monkeypatch.setattr(hostile, "SECONDS", 0.1)
    with hostile.Worker(f"planted:{fault}", [str(file)] if fault in LOAD else []) as worker:
        worker.hangs = 1 if fault == "hangs" else 30
        found = worker.load(str(file))
        if fault == "takes_memory" and found[3] is None:
            pytest.skip("growth of memory cannot be measured on this system")
        assert words in hostile.verdict(*found, size=4)
        assert list(file.parent.iterdir()) == [file]  # what it would have done did not happen
        again = worker.load(str(file))  # and the next file is loaded as if nothing had been
        assert words in hostile.verdict(*again, size=4)


UNBOUNDED = {  # a loader that lacks a bound, a file that shows it, and what is wrong then
    "counts_no_bytes": ("torch zip", "a_string_encoded_many_times", "bytes of memory for"),
    "takes_any_key": ("torch zip", "tuples_of_one_hash_as_keys", "s of processor time"),
    "walks_any_module": ("torch whole", "each_module_twice_in_the_next", "s of processor time"),
    "expands_any_chunk": ("keras h5", "a_chunk_larger_than_its_dataset", "bytes of memory for"),
    "makes_up_any_array": ("keras zip", "an_array_that_was_never_written_in_a_zip", "bytes of memory for"),
    "parses_any_header": ("torch safetensors", "a_header_of_many_tensors", "for|processor time"),
    "builds_any_number_of_layers": ("native", "many_layers", "for|processor time"),
    "builds_layers_of_any_depth": ("native", "layers_within_layers", "loaded, but cannot be used"),
    "parses_any_description": ("native", "a_description_of_many_values", "bytes of memory for"),
    "takes_any_seed": ("native", "counters_at_their_end", "loaded, but cannot be used"),
}


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Files of each format that load."""
    folder = tmp_path_factory.mktemp("warm")
    paths: dict[str, list[str]] = {}
    for form in KINDS:
        for k, data in enumerate(FORMATS[form].files()):
            path = folder / f"{form}{k}"
            path.write_bytes(data)
            paths.setdefault(form, []).append(str(path))
    return paths


def marks_of(form: str) -> list[pytest.MarkDecorator]:
    if form.startswith("keras"):
        return [pytest.mark.extras]
    return [pytest.mark.fuzz] if form in (*ALIKE, "torch whole") else []


@pytest.mark.parametrize("form", [pytest.param(form, marks=marks_of(form)) for form in KINDS])
def test_a_file_takes_no_more_than_it_is_worth(form: str, warm: dict[str, list[str]], tmp_path: Path) -> None:
    problems = []
    with hostile.Worker(FORMATS[form].loader, warm[form]) as worker:
        for name, make in KINDS[form].items():
            data = make(Random(1))  # noqa: S311 - no secret
            (tmp_path / name).write_bytes(data)
            problem = hostile.verdict(*worker.load(str(tmp_path / name)), size=hostile.declared(data))
            problems += [f"{name}: {problem}"] if problem else []
    assert not problems


@pytest.mark.parametrize(
    ("loader", "what"),
    # Keras' files are made by h5py: where that is not installed, they are left out here as in KINDS
    [
        pytest.param(loader, what, id=loader, marks=[] if loader == "takes_any_key" else pytest.mark.fuzz)
        for loader, what in UNBOUNDED.items()
        if what[0] in KINDS
    ],
)
def test_a_loader_without_one_of_its_bounds_is_found(
    loader: str, what: tuple[str, str, str], warm: dict[str, list[str]], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form, kind, words = what
    if "time" in words:  # with its bounds a loader takes less than a tenth of a second
        monkeypatch.setattr(hostile, "SECONDS", 0.4)
    data = KINDS[form][kind](Random(1))  # noqa: S311 - no secret
    file.write_bytes(data)
    with hostile.Worker(f"planted:{loader}", warm[form], hangs=120) as worker:
        found = worker.load(str(file))
        if "memory" in words and found[3] is None and found[0] != "failed":
            pytest.skip("growth of memory cannot be measured on this system")
        assert re.search(words, hostile.verdict(*found, size=hostile.declared(data)))


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
