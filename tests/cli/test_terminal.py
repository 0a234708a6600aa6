"""What a person sees at a terminal: Ctrl-C at any time, NO_COLOR, narrow windows, symbols a model has never seen."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

import minirnn
from minirnn.cli.app import main
from minirnn.core import interrupts
from minirnn.explain.engine.scene import Scene
from minirnn.explain.terminal import step_table, time_table
from minirnn.language.model import LanguageModel
from minirnn.language.text import UNKNOWN, Vocabulary

# says on stdout when the interpreter is about to import numpy, which the package does once it is prepared
HOOK = """
import os, sys
def hook(event, arguments, said=[]):
    if event == "import" and arguments[0] == "numpy" and not said:
        said.append(os.write(1, b"importing\\n"))
sys.addaudithook(hook)
"""


def invoke(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, made = tmp_path_factory.mktemp("models"), {}
    for task in ("next", "fill"):
        lm = LanguageModel.build(Vocabulary.of("abcd "), task=task, hidden_size=3).init(backend="numpy")
        made[task] = folder / task
        minirnn.save(lm, made[task])
    return made


# ---------------------------------------------------------------------- Ctrl-C


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT as a terminal does")
def test_ctrl_c_while_modules_are_imported_ends_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
    (tmp_path / "t.txt").write_text("the quick brown fox " * 500, encoding="utf-8")
    (tmp_path / "minirnn").write_text(
        "from minirnn.cli.app import main\nmain()\n", encoding="utf-8"
    )  # as pip writes it
    paths = [str(tmp_path), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "MINIRNN_BACKEND": "numpy"}
    rng = Random(0)  # noqa: S311 - no secret
    for k in range(16):
        command = [sys.executable, *(["-m", "minirnn"] if k % 2 else [str(tmp_path / "minirnn")])]
        with subprocess.Popen(
            [*command, "train", "t.txt", "--steps", "1000000", "--hidden-size", "4"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=tmp_path,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "importing\n"
            time.sleep(rng.uniform(0, 0.3))
            process.send_signal(signal.SIGINT)
            out, errors = process.communicate(timeout=60)
        assert process.returncode == 130, errors
        assert "Traceback" not in errors
        assert "rror" not in errors
        assert "Traceback" not in out


@pytest.mark.parametrize(
    ("argv", "original", "wanted"),
    [
        (["-m", "train"], ["python", "-W", "error", "-m", "minirnn", "train"], True),
        (["-m"], ["python", "-m", "other"], False),
        (["-m"], ["python", "-m"], False),
        (["/usr/bin/minirnn", "train"], ["python", "/usr/bin/minirnn", "train"], True),
        (["notebook.py"], ["python", "notebook.py", "-m", "minirnn"], False),
        ([""], ["python"], False),
        ([], ["python"], False),
    ],
)
def test_only_the_command_takes_the_interrupt(argv: list[str], original: list[str], wanted: bool) -> None:
    assert interrupts.is_command(argv, original) is wanted


def test_importing_the_package_leaves_signals_alone() -> None:
    code = "import signal, minirnn; assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("becomes", [KeyboardInterrupt, ImportError, SystemError])
def test_an_interrupt_ends_any_command_in_one_line(
    becomes: type[BaseException], model: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        except KeyboardInterrupt:
            raise becomes("numpy could not be imported") from None

    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(LanguageModel, "generate", interrupted)
        result = invoke("generate", "ab", "--model", model["next"])
    assert (result.exit_code, result.stderr) == (130, "minirnn: interrupted\n")
    assert signal.getsignal(signal.SIGINT) is handler
    assert invoke("generate", "ab", "--model", model["next"]).exit_code == 0
    assert invoke("generate", "", "--model", model["next"]).exit_code == 2  # an error after it is an error


# ---------------------------------------------------------------------- colours and widths


@pytest.mark.parametrize("command", [["explain", "hello"], ["info"]])
def test_no_color_is_plain(command: list[str], tmp_path: Path) -> None:
    def escapes(**more: str) -> set[str]:
        environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"FORCE_COLOR": "1", "TERM": "xterm"}
        done = subprocess.run(
            [sys.executable, "-m", "minirnn", *command],
            capture_output=True,
            text=True,
            check=True,
            env=environment | more,
            cwd=tmp_path,
        )
        return set(re.findall(r"\x1b\[[0-9;]*m", done.stdout + done.stderr))

    assert escapes(NO_COLOR="1") == set()
    assert escapes(NO_COLOR="") or command == ["info"]  # which is not coloured at all


@pytest.mark.parametrize("width", [30, 40, 60, 80, 120])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_explain_cuts_nothing_off_however_narrow_the_terminal(width: int, cell: str) -> None:
    take = Scene("hello", cell=cell).trace()

    def shown(columns: int) -> str:
        console = Console(width=columns, highlight=False, color_system=None)
        with console.capture() as capture:
            console.print(time_table(take, columns))
            console.print(step_table(take, 2, columns))
        return capture.get()

    narrow, wide = shown(width), shown(300)
    assert "…" not in narrow
    assert all(len(line.rstrip()) <= width for line in narrow.splitlines())
    assert re.findall(r"[+-]\d\.\d{4}", narrow) == re.findall(r"[+-]\d\.\d{4}", wide)
    for number, loss in enumerate(take.losses):
        assert re.search(rf"^{number} +'.' +{loss:.3f}", narrow, re.MULTILINE)
    if width <= 60:
        assert max(map(len, re.findall(r"(?:[+-]\d\.\d{4} ?)+", narrow))) >= min(width - 16, 32)  # side by side


# ---------------------------------------------------------------------- symbols that a model has never seen


def test_symbols_that_a_model_has_never_seen_are_named(model: dict[str, Path]) -> None:
    for how in ([], ["--greedy"], ["--beam", 2]):
        result = invoke("generate", "abΩc☃Ω", "--model", model["next"], "--length", 3, *how)
        assert result.exit_code == 0
        assert result.stdout.startswith("abΩc☃Ω")
        said = result.stderr.replace("\n", " ")
        assert f"the model has never seen 'Ω', '☃': each is read as {UNKNOWN}, the unknown symbol" in said
    result = invoke("fill", "a_Ω", "--model", model["fill"])
    assert "the model has never seen 'Ω': each" in result.stderr
    assert invoke("fill", "a_☃", "--model", model["fill"], "--blank", "☃").stderr.count("'☃'") == 0
    many = invoke("generate", "abcdefghijklmnop", "--model", model["next"], "--length", 3).stderr.replace("\n", " ")
    assert "'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l' and 4 more: each" in many
    assert invoke("generate", "abcd ", "--model", model["next"], "--length", 3).stderr == ""
