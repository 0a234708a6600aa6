"""The maps of the kernel folders: each names every module of its folder, and no other."""

import re
from pathlib import Path

import pytest

from minirnn.kernels import cpu, cuda

SUFFIXES = {".py", ".cu", ".cuh"}


@pytest.mark.parametrize("package", [cpu, cuda])
def test_a_map_names_the_files_that_there_are(package: object) -> None:
    folder = Path(str(getattr(package, "__file__", ""))).parent
    files = {path.name for path in folder.iterdir() if path.suffix in SUFFIXES} - {"__init__.py"}
    listed = re.findall(r"^    (\w+\.\w+)  ", str(package.__doc__), flags=re.MULTILINE)
    assert sorted(listed) == sorted(files)
