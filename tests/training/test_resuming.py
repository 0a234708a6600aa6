"""``--resume`` where there is no checkpoint: from ``run.json`` at step 0, or a refusal that changes nothing.

And a directory that vanishes while a run is kept in it.
"""

import json
import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from killing import same
from meeting import together

from minirnn import Adam
from minirnn.cli.app import main
from minirnn.language.model import LanguageModel
from minirnn.language.text import Text
from minirnn.training.checkpoints import Folder, read
from minirnn.training.keeper import Keeper
from minirnn.training.loop import Training, train
from minirnn.training.metrics import Record, read_lines
from minirnn.training.ranks import Ranks

TEXT = "the quick brown fox jumps over the lazy dog. " * 40
SIZES = {"--hidden-size": 8, "--embedding-size": 5, "--batch-size": 4, "--num-steps": 10}
LEARNING = {"--dropout": 0.2, "--zoneout": "0.1,0.3", "--schedule": "constant", "--lr": 0.01, "--steps": 12}
SMALL = [word for pair in {**SIZES, "--backend": "numpy", "--cell": "lstm", "--seed": 3}.items() for word in pair]
MORE = [word for pair in {**LEARNING, "--every": 7}.items() for word in pair] + ["--locked"]
CORPUS = Text.from_string("she sells sea shells\nby the sea shore" * 3)


class Killed(BaseException):
    """In the place of a signal that nothing catches."""


def invoke(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def said(result: Result) -> str:
    return result.stderr.replace("\n", " ")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, but for the lock, which is empty."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def early(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a run that was killed in its fourth step, before its first checkpoint."""
    run, steps, forward = tmp_path / "run", iter(range(99)), LanguageModel.forward

    def dies(lm: LanguageModel, *arguments: Any, **options: Any) -> Any:
        if next(steps) == 3:
            raise Killed
        return forward(lm, *arguments, **options)

    monkeypatch.chdir(tmp_path)
    kept = ["--log-every", 1, "--checkpoint", "run", "--out", "mine.safetensors"]
    monkeypatch.setattr(LanguageModel, "forward", dies)
    with pytest.raises(Killed):
        main([str(word) for word in ("train", "text.txt", *SMALL, *MORE, *kept)])
    monkeypatch.setattr(LanguageModel, "forward", forward)
    assert sorted(contents(run)) == ["metrics.jsonl", "run.json"]
    return run


# ---------------------------------------------------------------------- before the first checkpoint


def test_a_run_killed_before_its_first_checkpoint_goes_on_as_it_began(
    early: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    result = invoke("train", "--checkpoint", early, "--resume")
    assert result.exit_code == 0, result.output
    assert f"{early} has no checkpoint yet: going on from step 0, as the run began" in said(result)
    assert not list(elsewhere.iterdir())
    whole = tmp_path / "whole.safetensors"
    assert invoke("train", text, *SMALL, *MORE, "--out", whole).exit_code == 0
    assert same(whole, tmp_path / "mine.safetensors")
    steps = [line["step"] for line in read_lines(early / "metrics.jsonl") if "loss" in line]
    assert steps == list(range(1, 13))  # those of before the kill came again


def test_what_may_be_changed_may_be_changed_and_nothing_else(early: Path) -> None:
    before = contents(early.parent)
    for option, words in (
        (["--hidden-size", 16], "--hidden-size must be 8, as the run began; got 16"),
        (["--zoneout", 0.2], "--zoneout must be [0.1, 0.3], as the run began; got 0.2"),
        (["--seed", 4], "--seed must be 3, as the run began; got 4"),
    ):
        result = invoke("train", "--checkpoint", early, "--resume", *option)
        assert (result.exit_code, words in said(result)) == (2, True), said(result)
    assert contents(early.parent) == before
    result = invoke("train", "--checkpoint", early, "--resume", "--seed", 3, "--steps", 2, "--lr", 0.1, "--json")
    assert json.loads(result.stdout)["steps"] == 2


def test_a_text_that_is_not_there_or_another_one_is_refused(early: Path, text: Path, tmp_path: Path) -> None:
    moved, before = tmp_path / "moved.txt", contents(early)
    text.rename(moved)
    result = invoke("train", "--checkpoint", early, "--resume")
    assert result.exit_code == 2
    assert f"{text} cannot be read: No such file or directory; the run in {early} began with it" in said(result)
    assert f"minirnn train FILE --checkpoint {early} --resume" in said(result)
    text.write_text(TEXT + "more", encoding="utf-8")
    for files in ([], [text]):
        result = invoke("train", *files, "--checkpoint", early, "--resume")
        assert result.exit_code == 2
        assert f"the text is not what the run in {early} began with" in said(result)
    assert contents(early) == before
    result = invoke("train", moved, "--checkpoint", early, "--resume")
    assert result.exit_code == 0, said(result)
    assert json.loads((early / "run.json").read_text())["options"]["files"] == [str(moved)]


def spoilt(about: dict[str, Any], how: str) -> str:
    """``run.json`` after something has happened to it."""
    options = about["options"]
    if how == "cut":
        return json.dumps(about)[:200]
    if how == "deep":
        return "[" * 100_000
    if how in ("options", "text"):
        del about[how]
    elif how == "list":
        return "[]"
    else:
        options.update(json.loads(how))
    return json.dumps(about)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("cut", "it must be JSON"),
        ("deep", "it must be JSON"),
        ("list", "it has no options"),
        ("options", "it has no options"),
        ("text", "it does not say which text it is of"),
        ('{"hidden_size": -1}', "hidden_size cannot be -1"),
        ('{"hidden_size": "eight"}', "hidden_size cannot be 'eight'"),
        ('{"hidden_size": 8.5}', "hidden_size cannot be 8.5"),
        ('{"cell": "transformer"}', "cell cannot be 'transformer'"),
        ('{"cell": ["gru"]}', "cell cannot be ['gru']"),
        ('{"zoneout": ["much"]}', "zoneout cannot be ['much']"),
        ('{"out": 3}', "out cannot be 3"),
        ('{"files": "text.txt"}', "files must be a list of paths"),
        ('{"every": [null, null]}', "every must be a number of steps or of seconds"),
        ('{"every": [0, null]}', "every must be above 0"),
    ],
)
def test_a_damaged_description_is_refused_and_nothing_changed(how: str, words: str, early: Path) -> None:
    path = early / "run.json"
    path.write_text(spoilt(json.loads(path.read_text(encoding="utf-8")), how), encoding="utf-8")
    before = contents(early.parent)
    result = invoke("train", "--checkpoint", early, "--resume")
    assert result.exit_code == 2
    assert f"{path} is damaged: {words}" in said(result)
    assert contents(early.parent) == before


def test_a_run_that_does_not_say_how_it_began_is_refused(early: Path, text: Path) -> None:
    (early / "run.json").unlink()
    before = contents(early.parent)
    result = invoke("train", text, *SMALL, "--steps", 3, "--checkpoint", early, "--resume")
    assert result.exit_code == 2
    assert "without checkpoint, and without run.json, which says how it began" in said(result)
    assert contents(early.parent) == before


def test_damaged_checkpoints_alone_are_refused(early: Path, text: Path) -> None:
    assert invoke("train", "--checkpoint", early, "--resume", "--steps", 4).exit_code == 0
    for path in early.glob("*.checkpoint"):
        path.write_bytes(b"damaged")
    before = contents(early.parent)
    result = invoke("train", "--checkpoint", early, "--resume")
    assert result.exit_code == 2
    assert "there is none before" in said(result)
    assert f"no checkpoint in {early} is sound" in said(result)
    assert contents(early.parent) == before


def test_a_misspelt_directory_is_refused_and_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("train", "--checkpoint", "rum", "--resume")
    assert result.exit_code == 2
    assert "nothing to resume in rum: it holds no run" in said(result)
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------- a state in Python


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 4}, "another seed: seed was 3, and is 4"),
        ({"num_steps": 6}, "another num steps: num_steps was 5, and is 6"),
        ({"stride": 2}, "another stride: stride was 5, and is 2"),
        ({"sampling": "random"}, "another sampling: sampling was sequential, and is random"),
        ({"text": Text.from_string("another text of the same letters, sea shells by hby" * 3, CORPUS.vocab)}, "text"),
    ],
)
def test_a_state_does_not_go_on_where_other_batches_come(change: dict[str, Any], words: str) -> None:
    training, other = begun(), begun(**change)
    list(islice(training, 3))
    before = other.lm.network.weights.copy()
    with pytest.raises(ValueError, match=f"the state is of a training with {words}|with another {words}"):
        other.restore(training.state())
    assert np.array_equal(other.lm.network.weights, before)
    assert other.done == 0
    older = training.state()
    del older.about["of"]  # as checkpoints had it once
    begun().restore(older)


def begun(ranks: Ranks | None = None, text: Text = CORPUS, **options: Any) -> Training:
    lm = LanguageModel.build(CORPUS.vocab, hidden_size=4).init(backend="numpy")
    chosen = {"batch_size": 3, "num_steps": 5, "steps": 12, "seed": 3} | options
    return train(lm, text, Adam(lm.network, 0.01), ranks=ranks, **chosen)


# ---------------------------------------------------------------------- a directory that vanishes


def kept(ranks: Ranks, path: Path, vanishes: set[int], *, every: int = 3) -> tuple[Keeper, list[str], Any]:
    """A run whose directory is removed after some steps; what was said, and the weights at its end."""
    training, folder, reports = begun(ranks), Folder(path), list[str]()
    keeper = Keeper(training, folder, Record(path, 1), CORPUS, reports.append, steps=every, more={"text": "x"})
    path.mkdir(exist_ok=True)
    if ranks.rank == 0:
        keeper.record.begin({"options": {"cell": "gru"}, "text": "x"}, 0)
    for step in training:
        keeper(step)
        if step.step in vanishes and ranks.rank == 0:
            shutil.rmtree(path)
    if not keeper.up_to_date():
        keeper.evaluate()
        keeper.keep()
    return keeper, reports, training.lm.network.weights.copy()


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("step", [4, 5, 6, 12])
def test_a_directory_that_vanished_is_said_to_have_and_made_again(size: int, step: int, tmp_path: Path) -> None:
    """While lines are written, just before a checkpoint, just after one, and at the end."""
    calm = together(size, lambda ranks: kept(ranks, tmp_path / "calm", set()))
    rough = together(size, lambda ranks: kept(ranks, tmp_path / "rough", {step}))
    (keeper, reports, _), path = rough[0], tmp_path / "rough"
    (sentence,) = reports
    assert sentence.startswith(f"step {min(step + 1, 12)}: {path} is gone, and with it all that was kept there")
    assert keeper.folder.steps() == [s for s in (12, 9, 6) if s > step or s == 12]
    assert json.loads((path / "run.json").read_text()) == {"options": {"cell": "gru"}, "text": "x"}
    assert [line["step"] for line in read_lines(path / "metrics.jsonl") if "loss" in line] == list(range(step + 1, 13))
    assert keeper.folder.best.exists()
    state, more = read(keeper.folder.at(12))
    assert state.about["step"] == 12
    assert more["best_step"] > step or step == 12
    for (one, _, weights), (other, _, others) in zip(calm, rough, strict=True):
        assert np.array_equal(weights, others)
        assert one.saved == other.saved == 12
    assert len({(k.best, k.best_step, k.saved) for k, _, _ in rough}) == 1


def test_a_directory_that_cannot_be_made_again_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(_: Any) -> None:
        raise PermissionError("not here")

    monkeypatch.setattr(Folder, "remake", refuses)
    keeper, reports, _ = kept(Ranks(), tmp_path / "run", {5})
    assert keeper.training.done == 12
    assert keeper.saved == 0
    assert all("is gone" in each or "not here; there is no checkpoint yet" in each for each in reports)


def test_a_directory_that_was_made_again_is_locked_again(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "run")
    with folder.locked():
        assert not folder.vanished()
        shutil.rmtree(folder.path)
        assert folder.vanished()
        folder.path.mkdir()
        assert folder.vanished()  # another directory of the same name
        folder.remake()
        assert not folder.vanished()
        with pytest.raises(BlockingIOError, match="another process trains in"), Folder(folder.path).locked():
            pass
        shutil.rmtree(folder.path)
        with Folder(folder.path).locked(), pytest.raises(BlockingIOError, match="another process trains in"):
            folder.remake()
    with Folder(folder.path).locked():
        pass
