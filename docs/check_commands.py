"""Run what README, docs/ and the examples' READMEs show, each line in the environment that its page names.

    python docs/check_commands.py [--wheel dist/minirnn-0.1.0-py3-none-any.whl] [PAGE ...]

Fenced blocks of ``sh`` run line by line, those of ``python`` from the top of a page to its end in one namespace, both
in one directory that has README.md, examples/ and docs/notebooks/, as a clone has.  An environment is a venv with the
wheel, the extras that its name lists, and what these depend on: nothing that only the tests install.  It is the one
that a page's own
``pip install ".[fast]"`` makes, at first ``base``, which is ``pip install .``.

What a page cannot say to its reader stands in comments of its Markdown, which nobody sees:

    <!-- check
    in: fast,mpi
    also in: base
    before: minirnn train --steps 20
    as: `minirnn train` -> `minirnn train --steps 20`: 20 seconds otherwise
    not: `docker build`: needs Docker
    exit 2: `minirnn check FILE`: nothing is filled in
    -->

``in`` names the environment from there on, ``also in`` one to run the whole page in once more, whatever it installs.
``before`` is a command that runs first and is not shown.  The others are about lines of the next block, those that
contain the text: each must be there, has a reason, and is listed at the end.  ``torch`` is an environment that has
torch alone.
"""

import argparse
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BASE = "base"
SECONDS = 600  # for one line
SLOW = 10  # seconds from which on a line is named
OTHERS = {"PYTHONUTF8": "1", "COLUMNS": "120", "OPENBLAS_NUM_THREADS": "1"}  # two pages run at a time
NOT_CODE = ("text", "toml")
PART = re.compile(
    r"^<!-- check\n(?P<comment>.*?)^-->$|^```(?P<language>\S*)[^\n]*\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)
INDENTED = re.compile(r"^(?: {4}|\t)\s*(?:\$ |minirnn |python3? |pip |import \w|from \w+ import )", re.MULTILINE)
INSTALL = re.compile(r"""(?:\.venv/bin/)?pip install (?:--quiet )?["']?\.(?:\[([\w,]+)\])?["']?""")
ABOUT_LINES = re.compile(r"(?P<key>as|not|exit \d+): `(?P<text>[^`]+)`(?: -> `(?P<other>[^`]+)`)?: (?P<reason>.+)")
# runs blocks that come as JSON on its input, in one namespace, and answers with a traceback or nothing
PYTHON = """
import json, linecache, sys, traceback
answers, sys.stdout, names = sys.stdout, sys.stderr, {"__name__": "__main__"}
for line in sys.stdin:
    where, code = json.loads(line)
    linecache.cache[where] = len(code), None, code.splitlines(True), where
    try:
        exec(compile(code, where, "exec"), names)
    except BaseException:
        print(json.dumps(traceback.format_exc()), file=answers, flush=True)
    else:
        print('""', file=answers, flush=True)
"""


class DocumentationError(Exception):
    """A page that says what does not hold: one message, which begins with page and line."""


@dataclass(frozen=True)
class Step:
    """A line of a shell or a block of Python, and where it runs."""

    where: str  # page and line
    kind: str  # "sh", "python"
    code: str
    environment: str
    code_expected: int = 0


@dataclass
class Page:
    """What a page runs in an order, and what it declares."""

    steps: list[Step] = field(default_factory=list)
    also: list[str] = field(default_factory=list)  # environments to run all of it in once more
    notes: list[str] = field(default_factory=list)  # what is not run, or not as it stands


# ---------------------------------------------------------------------- reading a page


def read(path: Path) -> Page:
    """A page's steps in order.  DocumentationError for a declaration that does not fit and code that cannot be run."""
    text, name = path.read_text(encoding="utf-8"), shown(path)
    page, environment, declared = Page(), BASE, list[tuple[str, re.Match[str]]]()
    if hidden := INDENTED.search(PART.sub(lambda part: "\n" * part[0].count("\n"), text)):
        raise DocumentationError(
            f"{name}:{line_of(text, hidden.start())}: code must be fenced, to be run: {hidden[0].strip()} ..."
        )
    for part in PART.finditer(text):
        line = line_of(text, part.start())
        if part["comment"] is not None:
            for number, entry in enumerate(part["comment"].splitlines(), line + 1):
                key, _, value = entry.partition(": ")
                about = ABOUT_LINES.fullmatch(entry)
                if about and bool(about["other"]) == (key == "as"):
                    declared.append((f"{name}:{number}", about))
                elif key == "in":
                    environment = value
                elif key == "also in":
                    page.also.append(value)
                elif key == "before":
                    page.steps.append(Step(f"{name}:{number}", "sh", value, environment))
                else:
                    raise DocumentationError(f"{name}:{number}: {entry!r} is no declaration")
        elif part["language"] == "python":
            page.steps.append(Step(f"{name}:{line + 1}", "python", part["body"], environment))
        elif part["language"] == "sh":
            unused = dict(declared)
            for number, command in commands(part["body"], line + 1):
                step, environment = settled(command, f"{name}:{number}", environment, declared, unused, page.notes)
                page.steps += step
            for place, about in unused.items():
                raise DocumentationError(f"{place}: no line of the next block contains `{about['text']}`")
            declared = []
        elif part["language"] not in NOT_CODE and not part["language"].startswith("{"):
            raise DocumentationError(
                f"{name}:{line}: a block must be sh, python or one of {NOT_CODE}; got {part['language']!r}"
            )
    for place, about in declared:
        raise DocumentationError(f"{place}: no block of sh follows that contains `{about['text']}`")
    return page


def shown(path: Path) -> str:
    """A page's name: within the repository where it is there."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


def line_of(text: str, position: int) -> int:
    """The number of the line."""
    return text.count("\n", 0, position) + 1


def commands(body: str, first: int) -> Iterator[tuple[int, str]]:
    """The commands of a block with the numbers of their lines; one that ends in a backslash goes on in the next."""
    number = first
    for command in re.split(r"(?<!\\)\n", body):
        if command.strip() and not command.lstrip().startswith("#"):
            yield number, command
        number += command.count("\n") + 1


def settled(
    command: str,
    where: str,
    environment: str,
    declared: list[tuple[str, re.Match[str]]],
    unused: dict[str, re.Match[str]],
    notes: list[str],
) -> tuple[list[Step], str]:
    """What is run of a command, if anything, and the environment after it."""
    code, code_expected = command, 0
    for place, about in declared:
        if about["text"] not in command:
            continue
        unused.pop(place, None)
        if about["key"] == "not":
            notes.append(f"{where}: not run, {about['reason']}: {command}")
            return [], environment
        if about["key"] == "as":
            code = code.replace(about["text"], about["other"])
            notes.append(f"{where}: run as {code!r}, {about['reason']}")
        else:
            code_expected = int(about["key"].removeprefix("exit "))
            notes.append(f"{where}: ends in {code_expected}, {about['reason']}: {command}")
    rest = []
    for clause in re.split(r" +&& +", code):
        if install := INSTALL.fullmatch(clause.partition("  #")[0].strip()):
            environment = install[1] or BASE
        elif clause != "python3 -m venv .venv":
            rest.append(clause)
    return [Step(where, "sh", " && ".join(rest), environment, code_expected)] * bool(rest), environment


# ---------------------------------------------------------------------- environments


class Environments:
    """Venvs by name in a folder, made from one wheel; ``have`` are those that are there already."""

    def __init__(self, folder: Path, wheel: Path, have: dict[str, Path]) -> None:
        self.folder, self.wheel, self.have = folder.resolve(), wheel.resolve(), have
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        self.extras: dict[str, list[str]] = project["optional-dependencies"]

    def requirement(self, name: str) -> str:
        """What is installed."""
        if name == BASE:
            return str(self.wheel)
        if name == "torch":
            return next(entry for entry in self.extras["oracles"] if entry.startswith("torch"))
        if unknown := set(name.split(",")) - set(self.extras):
            raise DocumentationError(f"environment {name}: minirnn has no extra {', '.join(sorted(unknown))}")
        return f"{self.wheel}[{name}]"

    def place(self, name: str) -> Path:
        """The environment's folder."""
        return self.have.get(name, self.folder / name)

    def make(self, name: str) -> None:
        """Make an environment, unless it is there."""
        if self.place(name).exists():
            return
        folder = str(self.folder / name)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)  # noqa: S603 - our own words
        pip = [sys.executable, "-m", "pip", "--python", f"{folder}/bin/python", "install", "--quiet", "--no-compile"]
        subprocess.run([*pip, self.requirement(name)], check=True)  # noqa: S603 - what pyproject.toml says


# ---------------------------------------------------------------------- running


class Running:
    """One page in one directory: a shell for each line, a Python for each environment that has blocks."""

    def __init__(self, environments: Environments, folder: Path) -> None:
        self.environments, self.folder = environments, folder
        self.pythons: dict[str, subprocess.Popen[str]] = {}
        self.log = (folder / ".log").open("w+", encoding="utf-8")
        shutil.copy(ROOT / "README.md", folder)
        for part in ("examples", "docs/notebooks"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.ipynb"))

    def variables(self, name: str) -> dict[str, str]:
        """The environment variables of a reader whose venv is active: none of those that tests are run with."""
        place = self.environments.place(name)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MINIRNN", "HYPOTHESIS", "PYTEST"))}
        outside = [p for p in os.get_exec_path() if not Path(p).resolve().is_relative_to(Path(sys.prefix).resolve())]
        path = os.pathsep.join([str(place / "bin"), *outside])
        return kept | {"PATH": path, "VIRTUAL_ENV": str(place), **OTHERS}

    def run(self, step: Step) -> None:
        """Run a step; DocumentationError where it does not end as it should."""
        venv = self.folder / ".venv"
        venv.unlink(missing_ok=True)
        venv.symlink_to(self.environments.place(step.environment).resolve())
        said = self.in_python(step) if step.kind == "python" else self.in_shell(step)
        if said:
            raise DocumentationError(
                f"{step.where}: in the environment {step.environment}\n{indented(step.code)}\n{said.rstrip()}"
            )

    def in_shell(self, step: Step) -> str:
        """What is wrong with a line."""
        bash = ["bash", "-euo", "pipefail", "-c", step.code]
        try:
            done = subprocess.run(  # noqa: S603 - our own pages
                bash,
                cwd=self.folder,
                env=self.variables(step.environment),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"has not ended after {SECONDS} seconds"
        absent = "No module named" in done.stderr  # which may end in the same code as what is expected
        if done.returncode == step.code_expected and not (absent and done.returncode):
            return ""
        return f"{done.stdout}{done.stderr}\nended in {done.returncode}, not in {step.code_expected}"

    def in_python(self, step: Step) -> str:
        """What is wrong with a block."""
        if step.environment not in self.pythons:
            self.pythons[step.environment] = subprocess.Popen(  # noqa: S603 - our own pages
                [self.folder / ".venv/bin/python", "-W", "error", "-c", PYTHON],
                cwd=self.folder,
                env=self.variables(step.environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.log,
                text=True,
            )
        process = self.pythons[step.environment]
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps([step.where, step.code]) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            self.log.seek(0)
            return f"{self.log.read()}\nPython ended in {process.wait()}"
        said: str = json.loads(answer)
        return said

    def close(self) -> None:
        """End the Pythons."""
        for process in self.pythons.values():
            process.communicate()
        self.log.close()


def indented(code: str) -> str:
    """Code in a report."""
    return "".join(f"    {line}" for line in code.splitlines(keepends=True)).rstrip()


def run_page(name: str, steps: list[Step], environments: Environments, report: Any = print) -> str:
    """Run a page's steps in a new directory; the fault that ended it, or nothing."""
    began, fault, slow = time.monotonic(), "", list[str]()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        running = Running(environments, Path(folder))
        try:
            for step in steps:
                start = time.monotonic()
                running.run(step)
                if (took := time.monotonic() - start) > SLOW:
                    slow.append(f"\n         {took:5.1f} s {step.where}")
        except DocumentationError as error:
            fault = str(error)
        finally:
            running.close()
    used = " and ".join(dict.fromkeys(step.environment for step in steps))
    blocks = sum(step.kind == "python" for step in steps)
    what = f"{name}, {len(steps) - blocks} lines, {blocks} blocks, in {used}{': FAILED' if fault else ''}"
    report(f"{time.monotonic() - began:5.1f} s  {what}{''.join(slow)}", flush=True)
    return fault


def built(folder: str) -> Path:
    """A wheel of this checkout."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, str(ROOT)]
    subprocess.run(pip, check=True)  # noqa: S603 - our own words
    (wheel,) = Path(folder).glob("*.whl")
    return wheel


def pages_of_the_repository() -> list[Path]:
    """README, docs and examples."""
    return sorted(itertools.chain(ROOT.glob("*.md"), ROOT.glob("docs/**/*.md"), ROOT.glob("examples/**/*.md")))


def main(arguments: list[str]) -> int:
    """Run pages; 1 where anything does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pages", nargs="*", type=Path, help="[default: README.md, docs/, examples/]")
    parser.add_argument("--wheel", type=Path, help="of minirnn  [default: it is built]")
    parser.add_argument("--environments", type=Path, help="where venvs are kept  [default: a temporary folder]")
    parser.add_argument("--have", action="append", default=[], metavar="NAME=VENV", help="an environment that is there")
    chosen = parser.parse_args(arguments)
    have = {name: Path(place).resolve() for name, _, place in (entry.partition("=") for entry in chosen.have)}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary, ThreadPoolExecutor(2) as pool:
        environments = Environments(chosen.environments or Path(temporary), chosen.wheel or built(temporary), have)
        try:
            read_pages = {shown(p): read(p) for p in map(Path.resolve, chosen.pages or pages_of_the_repository())}
            runs: list[tuple[str, list[Step]]] = []
            for name, page in read_pages.items():
                runs.append((name, page.steps))
                runs += [(name, [replace(step, environment=other) for step in page.steps]) for other in page.also]
            runs = [run for run in runs if run[1]]
            needed = sorted({step.environment for _, steps in runs for step in steps})
            list(pool.map(environments.requirement, needed))
            list(pool.map(environments.make, needed))
        except DocumentationError as error:
            print(error)
            return 1
        print(f"{time.monotonic() - BEGAN:5.1f} s  environments: {'; '.join(needed)}", flush=True)
        faults = [fault for fault in pool.map(lambda run: run_page(run[0], run[1], environments), runs) if fault]
    notes = [note for page in read_pages.values() for note in page.notes]
    print(f"\nnot run as they stand, {len(notes)}:", *notes, sep="\n  ")
    print(*("", *faults), sep="\n\n")
    print(f"{len(faults)} faults in {len(runs)} runs of {len(read_pages)} pages, {time.monotonic() - BEGAN:.0f} s")
    return 1 if faults else 0


BEGAN = time.monotonic()

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
