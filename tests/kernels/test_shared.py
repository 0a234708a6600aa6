"""Functions that are compiled once for all kernels, and called by name."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba", reason="Numba is not installed: pip install 'minirnn[fast]'")

from numba.core.errors import TypingError

from minirnn.kernels.cpu import compiling, dispatch, memory

DTYPES = ("float32", "float64")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINIRNN_CACHE_DIR", str(tmp_path))
    return tmp_path


def _tripled(a: Any, n: Any, c: Any) -> None:
    for k in range(n):
        memory.put(3 * memory.get(a, k), c, k)  # type: ignore[call-arg]  # an intrinsic's first is Numba's


def kernel_of(function: Any, name: str, calls: Any) -> compiling.Kernel:
    """A kernel that calls ``function`` of two addresses and a number."""

    def run(like: Any, arguments: Any, part: Any, parts: Any, sync: Any) -> None:
        block: Any = memory.integers(arguments)  # type: ignore[call-arg]  # an intrinsic's first is Numba's
        source, target, n = memory.get(block, 0), memory.get(block, 1), memory.get(block, 2)
        function(memory.numbers(source, like), n, memory.numbers(target, like))

    return compiling.Kernel(name, run, calls)


@pytest.mark.parametrize("dtype", DTYPES)
def test_kernels_call_what_was_compiled_once(dtype: str, folder: Path) -> None:
    tripled, kind = compiling.shared("a", "c")(compiling.named(_tripled, f"tripled-{dtype}")), np.dtype(dtype)
    for name in ("one", "other"):
        a, c = np.arange(5, dtype=dtype), np.zeros(5, dtype)
        block = [a.ctypes.data, c.ctypes.data, 5]
        dispatch.run(kernel_of(tripled, f"{name}-of-{dtype}", [tripled]), kind, block, 1.0)
        np.testing.assert_array_equal(c, [0, 3, 6, 9, 12])
    files = [file.name.rpartition("-")[0] for file in folder.iterdir()]
    assert sorted({*files} - {"lead"}) == [
        f"one-of-{dtype}-{dtype}",
        f"other-of-{dtype}-{dtype}",
        f"tripled-{dtype}-{dtype}",
    ]


def test_a_kernel_names_what_it_calls() -> None:
    tripled = compiling.shared("a", "c")(compiling.named(_tripled, "tripled-unnamed"))
    words = "tripled-unnamed is called, and not among the ``calls`` of what is compiled"
    with pytest.raises(TypingError, match=re.escape(words)):
        kernel_of(tripled, "careless", [])[np.dtype("float32")]


def test_every_shared_function_of_the_package_is_one_and_has_a_name_of_its_own() -> None:
    import minirnn.kernels.cpu.runtime  # noqa: F401 - imports them all

    names = [one.name for one in compiling.SHARED.values() if one.function.__module__.startswith("minirnn.")]
    assert len(set(names)) == len(names)
    assert {"product", "add-transposed-product", "pack", "pack-transposed", "product-of-copy"} <= set(names)
