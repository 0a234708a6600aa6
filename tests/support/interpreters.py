"""New interpreters: what a process that starts afresh does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import minirnn

PACKAGE = Path(minirnn.__file__).resolve().parent


def python(code: str, *arguments: str, without: tuple[str, ...] = (), **environment: str) -> Any:
    """What a new interpreter prints, as JSON."""
    env = os.environ | {"PYTHONPATH": str(PACKAGE.parent)} | environment
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments],  # -P: the working directory is not searched for modules
        capture_output=True,
        text=True,
        env={name: value for name, value in env.items() if name not in without},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
