"""The command line: its jobs, its words, and one sentence with exit code 2 for what it cannot do."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from killing import newest
from places import ROOT
from safetensors.numpy import load_file, save_file

import minirnn
from minirnn.cli.app import main
from minirnn.language.model import LanguageModel
from minirnn.language.text import Text
from minirnn.optim.optimisers import AdamW
from minirnn.testing import selfcheck
from minirnn.training.loop import train

TEXT = "the quick brown fox jumps over the lazy dog. " * 60
SMALL = ["--hidden-size", "16", "--embedding-size", "8", "--batch-size", "4", "--num-steps", "10"]


def invoke(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A trained model for each task."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    made = {}
    for task in ("next", "fill"):
        made[task] = folder / f"{task}.safetensors"
        options = ["--task", task, "--steps", 250, "--lr", 0.01, "--out", made[task], "--hidden-size", 32]
        result = invoke("train", folder / "text.txt", "--batch-size", 8, "--num-steps", 12, *options)
        assert result.exit_code == 0, result.stderr
    return made


# ---------------------------------------------------------------------- train


def test_train_prints_one_json_line_and_saves_a_model(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.safetensors"
    result = invoke("train", text, *SMALL, "--steps", 30, "--out", out, "--json")
    assert result.exit_code == 0, result.stderr
    (line,) = result.stdout.splitlines()
    record = json.loads(line)
    assert record["steps"] == 30
    assert record["file"] == str(out)
    assert record["tokens_per_second"] > 0
    assert 0 < record["seconds"] < 60
    assert 1 < record["train_perplexity"] < 28
    lm = minirnn.load(out)
    assert isinstance(lm, LanguageModel)
    held_out = Text.from_string(TEXT, lm.vocab).split()[1]
    assert record["validation_perplexity"] == pytest.approx(lm.perplexity(held_out))


def test_train_shows_progress_validation_and_a_sample(text: Path, tmp_path: Path) -> None:
    result = invoke("train", text, *SMALL, "--steps", 5, "--out", tmp_path / "m.safetensors")
    for part in ("2,700 characters, 28 symbols, 270 held out", "GRU(8, 16)", "step 5/5"):
        assert part in result.stderr, part  # lines are not wrapped
    for part in ("validation perplexity", "saved", "sample"):
        assert part in result.stdout, part


@pytest.mark.parametrize(
    "options",
    [
        ["--cell", "rnn", "--optimizer", "sgd", "--lr", "0.5", "--epochs", "1"],
        ["--cell", "lstm", "--num-layers", "2", "--dropout", "0.2", "--time", "0.3"],
        ["--cell", "mingru", "--num-layers", "2", "--epochs", "1", "--backend", "numpy"],
        ["--sampling", "random", "--optimizer", "rmsprop", "--embedding-size", "0", "--steps", "3"],
        ["--task", "fill", "--dtype", "float64", "--optimizer", "adamw", "--weight-decay", "0.1", "--steps", "3"],
        ["--clip", "0", "--schedule", "constant", "--seed", "7", "--backend", "numpy", "--steps", "3"],
    ],
    ids=lambda o: o[1],
)
def test_every_option_of_train(options: list[str], text: Path, tmp_path: Path) -> None:
    result = invoke("train", text, *SMALL, *options, "--out", tmp_path / "m.safetensors", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["steps"] >= 1


def test_options_of_train_reach_what_they_name(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def spy(lm: Any, learn: Any, optimizer: Any, **options: Any) -> Any:
        seen.update(options, optimizer=optimizer, lm=lm, learn=len(learn))
        return train(lm, learn, optimizer, **options)

    monkeypatch.setattr("minirnn.cli.options.train", spy)
    options = "--task fill --cell lstm --hidden-size 5 --num-layers 2 --embedding-size 3 --dropout 0.3 --batch-size 4"
    options += " --num-steps 6 --sampling sequential --optimizer adamw --lr 0.25 --schedule constant --weight-decay 0.5"
    options += " --locked --weight-dropout 0.2 --zoneout 0.1,0.4"
    options += " --clip 0.75 --epochs 7 --steps 2 --time 50 --held-out 0.25 --seed 9 --dtype float64 --backend numpy"
    assert invoke("train", text, *options.split(), "--out", tmp_path / "m.safetensors").exit_code == 0
    limits = {"epochs": 7, "steps": 2, "seconds": 50.0}
    expected = {"batch_size": 4, "num_steps": 6, "sampling": "sequential", "seed": 9, **limits}
    assert {name: seen[name] for name in expected} == expected
    optimizer, network = seen["optimizer"], seen["lm"].network
    assert type(optimizer) is AdamW
    assert (optimizer.clip, optimizer.weight_decay, optimizer.lr, optimizer.schedule(99)) == (0.75, 0.5, 0.25, 0.25)
    assert seen["learn"] == len(TEXT) * 3 // 4
    assert network.bound.seed == 9
    assert network.bound.dtype == np.float64
    layers = [layer.describe() for layer in network.layers]
    assert layers[:3] == [
        "Embedding(30, 3)",
        (
            "LSTM(3, 5, num_layers=2, bidirectional=True, dropout=0.3, locked=True, weight_dropout=0.2, "
            "zoneout=(0.1, 0.4))"
        ),
        "Dropout(p=0.3, locked=True)",
    ]


def test_the_cosine_ends_where_training_ends(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def spy(lm: Any, learn: Any, optimizer: Any, **options: Any) -> Any:
        seen["optimizer"] = optimizer
        return train(lm, learn, optimizer, **options)

    monkeypatch.setattr("minirnn.cli.options.train", spy)
    text.write_text(TEXT[:99], encoding="utf-8")
    sizes = ["--batch-size", 4, "--num-steps", 10, "--hidden-size", 4]
    result = invoke("train", text, *sizes, "--epochs", 30, "--out", tmp_path / "m.safetensors", "--json")
    steps = json.loads(result.stdout)["steps"]
    optimizer = seen["optimizer"]
    assert optimizer.steps == steps
    assert optimizer.schedule(steps) == 0 < optimizer.schedule(steps - 1)


def test_options_of_generate_reach_the_model(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def spy(_: Any, *arguments: Any, **options: Any) -> Any:
        seen.append((arguments, options))
        return iter("x")

    monkeypatch.setattr(LanguageModel, "generate", spy)
    words = ["--length", "9", "--temperature", "0.5", "--top-k", "3", "--top-p", "0.25", "--seed", "4"]
    assert invoke("generate", "the", "--model", models["next"], *words).stdout == "thex\n"
    invoke("generate", "the", "--model", models["next"])
    invoke("generate", "the", "--model", models["next"], "--greedy")
    none = {"top_k": None, "top_p": None, "seed": None}
    assert seen == [
        (("the", 9), {"temperature": 0.5, "top_k": 3, "top_p": 0.25, "seed": 4}),
        (("the", 200), {"temperature": 1.0, **none}),
        (("the", 200), {"temperature": 0.0, **none}),
    ]


def test_text_that_looks_like_markup_is_shown_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a[red]b[" / "x].txt"  # a folder and a file
    path.parent.mkdir()
    path.write_text(r"regex \[a-z] [/b] \[/b] [bold]x[/bold] " * 40, encoding="utf-8")
    result = invoke("train", path, *SMALL, "--steps", 2, "--out", tmp_path / "m.safetensors")
    assert result.exit_code == 0, result.stderr
    assert "a[red]b[/x].txt: " in result.stderr
    shown = path.read_text(encoding="utf-8")
    assert shown[len(shown) - len(shown) // 10 :][:40] in result.stdout


def test_a_model_replaces_neither_its_text_nor_what_is_no_file(text: Path, tmp_path: Path) -> None:
    result = invoke("train", text, *SMALL, "--steps", 1, "--out", text)
    assert result.exit_code == 2
    assert "must not be a file that is read" in result.stderr
    assert text.read_text(encoding="utf-8") == TEXT
    os.mkfifo(tmp_path / "pipe")
    for out, words in (("pipe", "a file that can be replaced"), ("n" * 300, "File name too long")):
        result = invoke("train", text, *SMALL, "--steps", 1, "--out", tmp_path / out)
        assert result.exit_code == 2
        assert words in result.stderr
    (tmp_path / "link").symlink_to(tmp_path / "real.safetensors")
    assert invoke("train", text, *SMALL, "--steps", 1, "--out", tmp_path / "link").exit_code == 0
    assert (tmp_path / "link").is_symlink()
    assert isinstance(minirnn.load(tmp_path / "real.safetensors"), LanguageModel)


def test_ctrl_c_before_the_first_step_and_during_the_evaluation(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "m.safetensors"

    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LanguageModel, "forward", interrupted)
        result = invoke("train", text, *SMALL, "--steps", 3, "--out", out)
        assert result.exit_code == 130
        assert "nothing to save" in result.stderr
        assert not out.exists()
    monkeypatch.setattr(LanguageModel, "evaluate", interrupted)
    result = invoke("train", text, *SMALL, "--steps", 3, "--out", out, "--json")
    assert result.exit_code == 130
    assert json.loads(result.stdout)["validation_perplexity"] is None
    assert isinstance(minirnn.load(out), LanguageModel)


def test_a_model_that_lost_its_way_is_told_of_without_warnings(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    options = ["--optimizer", "sgd", "--lr", "1e5", "--steps", 20, "--out", out, "--json"]
    result = invoke("train", text, *SMALL, *options)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["train_perplexity"] is None  # exp of it is infinite
    assert json.loads(invoke("evaluate", text, "--model", out, "--json").stdout)["perplexity"] is None


def test_adamw_keeps_its_own_weight_decay(text: Path, tmp_path: Path) -> None:
    files: list[Path] = []
    for name, more in (("adam", []), ("adamw", []), ("adamw", ["--weight-decay", "0"])):
        files.append(tmp_path / f"{len(files)}.safetensors")
        invoke("train", text, *SMALL, "--optimizer", name, *more, "--steps", 3, "--out", files[-1])
    adam, adamw, without = (load_file(path)["1.0.U"] for path in files)
    assert not np.array_equal(adam, adamw)
    np.testing.assert_array_equal(adam, without)


def test_python_m_minirnn_is_the_command_line() -> None:
    done = subprocess.run([sys.executable, "-m", "minirnn", "--version"], capture_output=True, text=True, check=True)
    assert minirnn.__version__ in done.stdout


def test_the_same_seed_trains_the_same_weights(text: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"{k}.safetensors" for k in range(3)]
    for seed, path in zip((1, 1, 2), files, strict=True):
        invoke("train", text, *SMALL, "--dropout", "0.2", "--steps", 5, "--seed", seed, "--out", path)
    a, b, c = (load_file(path) for path in files)
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert not np.array_equal(a["1.0.U"], c["1.0.U"])


def test_without_files_train_learns_pythons_own_help(tmp_path: Path) -> None:
    result = invoke("train", *SMALL, "--steps", 2, "--out", tmp_path / "m.safetensors")
    assert result.exit_code == 0, result.stderr
    assert "pydoc_data.topics" in result.stderr


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT as a terminal does")
def test_ctrl_c_saves_what_there_is_and_says_where(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    run = tmp_path / "run"
    options = ["--time", "600", "--out", str(out), "--json", "--checkpoint", str(run), "--every", "5"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from minirnn.cli.app import main; main()", "train", str(text), *SMALL, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not newest(run) and process.poll() is None:  # kernels are loaded, and some steps taken
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert f"stopped; saved {out}" in re.sub(r"\n", "", stderr)
    record = json.loads(stdout)
    assert record["interrupted"]
    assert record["steps"] > 0
    assert isinstance(minirnn.load(out), LanguageModel)


def test_a_diverging_run_stops_names_the_weight_and_leaves_no_broken_model(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    result = invoke(
        "train", text, *SMALL, "--cell", "rnn", "--optimizer", "sgd", "--lr", "1e38", "--clip", 0, "--out", out
    )
    assert result.exit_code == 2
    assert re.search(r"step \d+: the gradient of \S+ is not finite", result.stderr.replace("\n", " "))
    assert "nothing was saved" in result.stderr.replace("\n", " ")
    assert not out.exists()


# ---------------------------------------------------------------------- using a model


def test_generate_greedy_reproduces_what_was_learnt(models: dict[str, Path]) -> None:
    result = invoke("generate", "the quick", "--model", models["next"], "--greedy", "--length", 30)
    assert result.stdout == "the quick brown fox jumps over the lazy\n"


def test_generate_by_every_method(models: dict[str, Path]) -> None:
    for how in (["--temperature", "0.5"], ["--top-k", "3"], ["--top-p", "0.5"], ["--beam", "3"]):
        result = invoke("generate", "the ", "--model", models["next"], "--length", 12, "--seed", 0, *how)
        assert result.exit_code == 0, result.stderr
        assert result.stdout.startswith("the ")
        assert len(result.stdout) == 4 + 12 + 1


def test_the_same_seed_generates_the_same_text(models: dict[str, Path]) -> None:
    texts = [
        invoke("generate", "the ", "--model", models["next"], "--temperature", 2, "--seed", s).stdout for s in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_fill_restores_missing_characters(models: dict[str, Path]) -> None:
    assert invoke("fill", "th_ q_ick br_wn fox", "--model", models["fill"]).stdout == "the quick brown fox\n"
    assert invoke("fill", "th? quick", "--model", models["fill"], "--blank", "?").stdout == "the quick\n"


def test_evaluate(models: dict[str, Path], text: Path) -> None:
    plain = invoke("evaluate", text, "--model", models["next"])
    record = json.loads(invoke("evaluate", text, "--model", models["next"], "--json").stdout)
    assert f"perplexity {record['perplexity']:.3f} on 2,700 characters, 0 unknown" in plain.stdout
    assert 1 <= record["perplexity"] < 1.5
    text.write_text(TEXT + "Ω", encoding="utf-8")
    assert json.loads(invoke("evaluate", text, "--model", models["next"], "--json").stdout)["unknown"] == 1


def test_evaluate_says_what_fewer_bits_would_cost(models: dict[str, Path], text: Path, tmp_path: Path) -> None:
    both = ("--quantize", "int8", "--quantize", "f16")
    lines = invoke("evaluate", text, "--model", models["next"], *both).stdout.splitlines()
    record = json.loads(invoke("evaluate", text, "--model", models["next"], *both, "--json").stdout)
    assert [line.split()[0] for line in lines] == ["perplexity", "int8", "f16"]
    for kind, most in (("int8", 0.4), ("f16", 0.6)):
        found = record[kind]
        assert abs(found["loss"]) < 0.01
        assert found["loss"] == pytest.approx(found["perplexity"] / record["perplexity"] - 1)
        assert found["bytes"] < most * record["bytes"]
    small = minirnn.load(models["next"]).quantize("int8")
    minirnn.save(small, tmp_path / "small")
    line = invoke("evaluate", text, "--model", tmp_path / "small").stdout
    assert line.startswith(f"perplexity {record['int8']['perplexity']:.3f}")
    assert line.endswith("weights int8\n")


# ---------------------------------------------------------------------- check and info


@pytest.mark.parametrize(
    "cells",
    [("RNN relu", "GRU weight dropout"), pytest.param(tuple(selfcheck.KINDS), marks=pytest.mark.long)],
    ids=["two", "all"],
)
def test_check_reports_every_cell_within_its_bound(cells: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfcheck, "KINDS", {name: selfcheck.KINDS[name] for name in cells})
    result = invoke("check", "--max-layers", 1, "--json")
    record = json.loads(result.stdout)
    assert result.exit_code == 0
    assert record["ok"]
    assert {c["cell"] for c in record["checks"]} == set(cells)
    assert len(record["checks"]) == len(cells) * 2 * 2
    assert all(0 < c["complex_step"] <= 1e-10 and 0 < c["difference"] <= 1e-6 for c in record["checks"])


def test_check_knows_every_cell() -> None:
    assert set(selfcheck.KINDS) == {
        "RNN tanh",
        "RNN relu",
        "GRU reset after",
        "GRU reset before",
        "LSTM",
        "LSTM projected",
        "GRU weight dropout",
        "LSTM zoneout",
    }


def test_check_prints_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfcheck, "KINDS", {"RNN tanh": selfcheck.KINDS["RNN tanh"]})
    assert "4 layers checked, 0 wrong" in invoke("check", "--max-layers", 1).stdout


def test_check_fails_on_a_wrong_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    right = minirnn.cells.LSTMCell.unstep
    monkeypatch.setattr(minirnn.cells.LSTMCell, "unstep", staticmethod(lambda d, s: right((d[0], d[1] * 0.5), s)))
    monkeypatch.setattr(selfcheck, "KINDS", {name: selfcheck.KINDS[name] for name in ("RNN tanh", "LSTM projected")})
    result = invoke("check", "--max-layers", 1, "--backend", "numpy", "--json")
    record = json.loads(result.stdout)
    assert result.exit_code == 1
    assert {c["cell"] for c in record["checks"] if not c["ok"]} == {"LSTM projected"}


def test_check_proves_a_cell_and_refutes_another() -> None:
    place = ROOT / "examples/own_cell.py"
    proved = json.loads(invoke("check", "--prove", f"{place}:PeepholeLSTM", "--json").stdout)
    assert proved["ok"]
    assert proved["proofs"][0]["log10_error"] < -100
    refuted = invoke("check", "--prove", f"{place}:Forgotten")
    assert refuted.exit_code == 1
    assert "Forgotten: refuted\n  dp of i" in refuted.stdout
    no_cell = invoke("check", "--prove", f"{ROOT / 'examples/exercises/4_first_lstm.py'}:FirstLSTM")
    assert no_cell.exit_code == 2
    assert "does not run on one row of numbers" in no_cell.output


def test_info() -> None:
    record = json.loads(invoke("info", "--json").stdout)
    assert record["minirnn"] == minirnn.__version__
    assert record["backends"]["numpy"] == ["float32", "float64", "complex128"]
    assert record["compute"] == {"bfloat16": ["numpy", "numba"]}
    if find_spec("numba"):
        assert record["bfloat16 products"] in ("two at a time (vdpbf16ps)", "widened to float32 in registers")
        assert record["int8 products"] in ("four at a time (vpdpbusd)", "widened to int16 in registers")
    assert record["cores"] >= 1
    assert "backends" in invoke("info").stdout


# ---------------------------------------------------------------------- one sentence, exit code 2


def broken(kind: str, good: Path, tmp_path: Path) -> Path:
    """A model file that is wrong in one way."""
    path = tmp_path / f"{kind}.safetensors"
    data = good.read_bytes()
    if kind == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "a text":
        path.write_text(TEXT)
    elif kind == "foreign":
        save_file({"weight": np.zeros(3, np.float32)}, path)
    elif kind == "layers only":
        minirnn.save(minirnn.GRU(2, 3).init(0), path)
    elif kind == "nan":
        tensors = load_file(good)
        tensors["1.0.U"][0, 0] = np.nan
        from safetensors import safe_open

        with safe_open(good, framework="numpy") as file:
            metadata = file.metadata()
        save_file(tensors, path, metadata=metadata)
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no model file at"),
        ("truncated", "not a whole safetensors file"),
        ("empty", "must be a model file"),
        ("a text", "must be a model file"),
        ("foreign", "its modules"),
        ("layers only", "must hold a language model"),
        ("nan", "weight 1.0.U must be finite"),
    ],
)
def test_a_bad_model_file(kind: str, message: str, models: dict[str, Path], text: Path, tmp_path: Path) -> None:
    path = broken(kind, models["next"], tmp_path)
    for command in (["generate", "a"], ["fill", "_"], ["evaluate", str(text)]):
        result = invoke(*command, "--model", path)
        assert result.exit_code == 2
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
        assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "{missing}"], "cannot be read"),
        (["train", "{empty}"], "it is empty"),
        (["train", "{latin}"], "must be UTF-8"),
        (["train", "{short}"], "too short"),
        (["train", "{text}", "--batch-size", "400"], "too short for a batch of 400 rows"),
        (["train", "{text}", "--out", "{folder}"], "is a directory"),
        (["train", "{text}", "--out", "{folder}/none/m.safetensors"], "does not"),
        (["train", "{text}", "--lr", "nan"], "--lr must be a finite number"),
        (["train", "{text}", "--held-out", "0.0001", "--batch-size", "2"], "too short to hold out"),
        (["train", "{text}", "--hidden-size", "10000000"], "not enough memory"),
        (["train", "{text}", "--dropout", "1"], "dropout"),
        (["train", "{text}", "--weight-dropout", "1"], "weight-dropout"),
        (["train", "{text}", "--zoneout", "1"], "zoneout must be a number from 0 up to"),
        (
            ["train", "{text}", "--zoneout", "0.1,0.2"],
            "or one for each state (h); got 2",
        ),
        (["train", "{text}", "--zoneout", "some"], "'some' is not a number, nor several"),
        (["train", "{text}", "--hidden-size", "0"], "hidden-size"),
        (["train", "{text}", "--cell", "transformer"], "cell"),
        (["train", "{text}", "--backend", "torch"], "backend"),
        (["train", "{text}", "--time", "1", "--schedule", "cosine"], "cosine needs"),
        (["generate", "", "--model", "{next}"], "at least one character"),
        (["generate", "a", "--model", "{fill}"], "use fill"),
        (["generate", "a", "--model", "{next}", "--greedy", "--beam", "2"], "exclude each other; got --greedy, --beam"),
        (["generate", "a", "--model", "{next}", "--greedy", "--top-k", "2"], "got --greedy, --top-k"),
        (["fill", "_", "--model", "{next}"], "use generate"),
        (["fill", "_", "--model", "{fill}", "--blank", "__"], "one character"),
        (["evaluate", "{empty}", "--model", "{next}"], "it is empty"),
        (["evaluate", "{missing}", "--model", "{next}"], "cannot be read"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else None,
)
def test_bad_input_gets_one_sentence(
    arguments: list[str], message: str, models: dict[str, Path], text: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    (tmp_path / "short.txt").write_text("a")
    names = {name: tmp_path / f"{name}.txt" for name in ("missing", "empty", "latin", "short")}
    known = {**names, **models, "text": text, "folder": tmp_path}
    before = sorted(tmp_path.rglob("*"))
    words = [a.format(**known) for a in arguments]
    if words[0] == "train" and "--out" not in words:
        words += ["--out", str(tmp_path / "out.safetensors")]
    result = invoke(*words)
    assert result.exit_code == 2
    assert message in result.stderr.replace("\n", " ")
    assert "Traceback" not in result.stderr
    assert result.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before  # no file, whole or half
