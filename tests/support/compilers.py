"""Files of C, compiled and run on rows of numbers."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
SANITIZERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
DRIVER = """\
#include "{stem}.h"
#include <stdio.h>
#include <stdlib.h>

static {stem}_state s;

/* Reads as many calls as there are: the number of steps and x of each; writes the number of steps and y. */
int main(void) {{
    int steps;
    {stem}_reset(&s);
    while (fread(&steps, sizeof steps, 1, stdin) == 1) {{
        {kind} *x = malloc(sizeof *x * (size_t)(steps * {width} + 1));
        float *y = malloc(sizeof *y * {outputs} * (size_t)(steps + {more}));
        int n;
        if (!x || !y || fread(x, sizeof *x, (size_t)(steps * {width}), stdin) != (size_t)(steps * {width})) return 2;
        n = {stem}_run(&s, x, steps, y);
        fwrite(&n, sizeof n, 1, stdout);
        if (n > 0) fwrite(y, sizeof *y, {outputs} * (size_t)n, stdout);
        free(x);
        free(y);
    }}
    return 0;
}}
"""
Array = NDArray[Any]


def needed(name: str) -> str:
    """A program that the machine must have."""
    path = shutil.which(name)
    assert path, f"{name} is not on this machine"
    return path


def compiled(source: Path, *, compiler: str = "gcc", flags: Sequence[str] = ("-O1",), test: bool = False) -> Path:
    """The program of a file: its self-test, or one that runs it on what it reads."""
    out = source.with_suffix(".test" if test else ".run")
    stem, files = source.stem, [source.name]
    if test:
        flags = (*flags, "-DMODEL_TEST")
    else:
        text = source.with_suffix(".h").read_text()
        index, width = "const int *x" in text, int(text.split(f"{stem.upper()}_INPUTS ")[1].split()[0])
        driver = DRIVER.format(
            stem=stem,
            kind="int" if index else "float",
            width=1 if index else width,
            outputs=f"{stem.upper()}_OUTPUTS",
            more=8,
        )
        source.with_name(f"{stem}_driver.c").write_text(driver)
        files.append(f"{stem}_driver.c")
    command = [needed(compiler), *WARNINGS, *flags, *files, "-o", out.name, "-lm"]
    result = subprocess.run(command, cwd=source.parent, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    return out


def run(program: Path, *calls: Array, emulator: Sequence[str] = ()) -> list[Array | None]:
    """What each call gives, (steps, outputs); None where it is refused."""
    data = b"".join(
        np.int32(len(x)).tobytes() + (x.astype(np.int32) if x.dtype.kind in "iu" else x).tobytes() for x in calls
    )
    command = [*emulator, str(program)]
    result = subprocess.run(command, input=data, capture_output=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr.decode()
    text = next(program.parent.glob(f"{program.stem}.h")).read_text()
    outputs = int(text.split(f"{program.stem.upper()}_OUTPUTS ")[1].split()[0])
    answers: list[Array | None] = []
    at = 0
    while at < len(result.stdout):
        steps = int(np.frombuffer(result.stdout, np.int32, 1, at)[0])
        at += 4
        count = max(0, steps) * outputs
        y = np.frombuffer(result.stdout, np.float32, count, at).reshape(-1, outputs)
        answers.append(y if steps >= 0 else None)
        at += 4 * count
    return answers
