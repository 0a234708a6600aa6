"""Compiled kernels on disk: no file is ever taken for what it is not, and nothing is recompiled in silence."""

import compileall
import hashlib
import importlib
import importlib.machinery
import json
import os
import pickle
import py_compile
import re
import shutil
import subprocess
import sys
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import CodeType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from interpreters import PACKAGE, python
from tiers import marked_but

# modules of kernels/cpu, whose functions have no types
cache, compiling, runtime, team, updates = (
    import_module(f"minirnn.kernels.cpu.{name}") for name in ("cache", "compiling", "runtime", "team", "updates")
)

DESCEND = """
import json
import numpy as np
from minirnn.kernels.cpu import cache, runtime, updates

w = np.arange(20, dtype="float32")
runtime.descend(w, np.ones(20, "float32"), 0.5)
hits = updates.descend.compiled[w.dtype]._cache.hits
print(json.dumps([w.tolist(), hits, str(cache.cache_folder())]))
"""
DESCENDED = (np.arange(20) - 0.5).tolist()


def descend() -> int:
    """Run a kernel that nothing in memory has compiled; how often its file was read."""
    kernel = compiling.Kernel("descend", updates.descend.function)
    w, g = np.arange(20, dtype="float32"), np.ones(20, "float32")
    arguments = np.array(updates.Update(20, w.ctypes.data, g.ctypes.data, runtime.bits(0.5)))
    team.lead(0, kernel[w.dtype], arguments.ctypes.data, 1, 0)
    assert w.tolist() == DESCENDED
    return int(kernel.compiled[w.dtype]._cache.hits)


@pytest.fixture(autouse=True)
def _as_if_nothing_had_been_said() -> None:
    cache.warn_once.cache_clear()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for compiled kernels."""
    monkeypatch.setenv("MINIRNN_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_second_process_reads_what_the_first_has_compiled(folder: Path) -> None:
    assert python(DESCEND) == [DESCENDED, 0, str(folder)]
    files = sorted(folder.iterdir())
    assert [re.sub("[0-9a-f]{32}", "*", file.name) for file in files] == ["descend-float32-*.kernel", "lead-*.kernel"]
    before = [(file.stat().st_mtime_ns, file.read_bytes()) for file in files]
    assert python(DESCEND) == [DESCENDED, 1, str(folder)]
    assert [(file.stat().st_mtime_ns, file.read_bytes()) for file in files] == before
    assert descend() == 1  # nor is it compiled here: the names agree between processes
    assert sorted(folder.iterdir()) == files


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "only a checksum": lambda content: content[:32],
    "less than a checksum": lambda content: content[:9],
    "truncated": lambda content: content[: len(content) // 2],
    "one byte short": lambda content: content[:-1],
    "one byte more": lambda content: content + b"\0",
    "a bit of its checksum flipped": lambda content: flipped(content, 5),
    "a bit of its code flipped": lambda content: flipped(content, len(content) // 2),
    "zeros": lambda content: bytes(len(content)),
}


NONSENSE: dict[str, bytes] = {
    "nothing": b"",
    "no pickle": b"nonsense",
    "half a pickle": pickle.dumps(tuple(range(100)))[:50],
    "a pickle of something else": pickle.dumps("kernel"),
    "a pickle of too little": pickle.dumps((1, 2)),
    "a class that is not there": b"cminirnn.nowhere\nNothing\n.",
}


@pytest.mark.parametrize("name", marked_but(["half a pickle", "a class that is not there"], NONSENSE, "slow"))
def test_a_right_checksum_over_nonsense_is_compiled_anew(name: str, folder: Path) -> None:
    assert descend() == 0
    (file,) = folder.iterdir()
    rest = file.read_bytes()[cache.CHECKSUM :]
    start = cache.LENGTH + int.from_bytes(rest[: cache.LENGTH], "little")
    rest = rest[:start] + NONSENSE[name]
    file.write_bytes(hashlib.sha256(rest).digest() + rest)
    assert descend() == 0
    assert list(folder.iterdir()) == [file]
    assert descend() == 1


BOTH = """
import json
import numpy as np
from minirnn.kernels.cpu import runtime, updates

seen = []
for dtype in map(np.dtype, ("float32", "float64")):
    w = np.arange(20, dtype=dtype)
    runtime.descend(w, np.ones(20, dtype), 0.5)
    seen.append([w.tolist(), updates.descend.compiled[dtype]._cache.hits])
print(json.dumps(seen))
"""


@pytest.mark.slow
def test_files_that_were_exchanged_are_not_used(folder: Path) -> None:
    assert python(BOTH) == [[DESCENDED, 0]] * 2
    one, other = sorted(folder.glob("descend-*"))
    contents = one.read_bytes(), other.read_bytes()
    one.write_bytes(contents[1])
    other.write_bytes(contents[0])
    assert python(BOTH) == [[DESCENDED, 0]] * 2
    assert (one.read_bytes() == contents[1], other.read_bytes() == contents[0]) == (False, False)
    assert python(BOTH) == [[DESCENDED, 1]] * 2


def test_a_file_is_used_for_its_own_key_alone() -> None:
    content = cache.wrapped(b"code", b"key")
    assert cache.unwrapped(content, b"key") == b"code"
    for key in (b"", b"kez", b"ke", b"keyc", b"keycode"):
        assert cache.unwrapped(content, key) is None


def test_names_depend_on_every_version(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codegen = SimpleNamespace(magic_tuple=lambda: ("triple", "processor", "+features"))
    kernels = cache.KernelCache("one")
    keys = {kernels.key(("float32",), codegen)}
    for module, name in (
        ("minirnn", "__version__"),
        ("sys", "version"),
        ("numpy", "__version__"),
        ("numba", "__version__"),
        ("llvmlite", "__version__"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(import_module(module), name, "0.0")
            keys.add(kernels.key(("float32",), codegen))
    assert len({kernels.file(key) for key in keys}) == len(keys) == 6


@pytest.mark.parametrize("name", marked_but(["empty", "truncated", "a bit of its code flipped"], DAMAGES, "slow"))
def test_a_damaged_file_is_compiled_anew_and_replaced(name: str, folder: Path) -> None:
    assert descend() == 0
    (file,) = folder.iterdir()
    file.write_bytes(DAMAGES[name](file.read_bytes()))
    assert descend() == 0
    assert list(folder.iterdir()) == [file]
    assert descend() == 1


def test_a_folder_in_place_of_a_file_does_no_harm(folder: Path) -> None:
    descend()
    (file,) = folder.iterdir()
    file.unlink()
    file.mkdir()
    with pytest.warns(RuntimeWarning, match=warning(folder, "Is a directory")):
        assert descend() == 0
    assert list(folder.iterdir()) == [file]  # nothing half-written is left


def warning(folder: Path, why: str = ".*") -> str:
    """What is said where kernels cannot be stored."""
    return (
        rf"^compiled kernels cannot be stored in {re.escape(str(folder))} \({why}\): every process compiles them anew, "
        r"which takes 10 seconds; set the environment variable MINIRNN_CACHE_DIR to a folder that can be written$"
    )


def test_where_nothing_can_be_written_kernels_are_compiled_each_time_and_a_warning_says_so_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    regular = tmp_path / "regular"
    regular.write_text("a file")
    monkeypatch.setenv("MINIRNN_CACHE_DIR", str(regular / "cache"))
    with pytest.warns(RuntimeWarning, match=warning(regular / "cache", "Not a directory")) as said:
        assert [descend(), descend()] == [0, 0]
    assert len(said) == 1
    assert regular.read_text() == "a file"
    if sys.platform == "linux":
        monkeypatch.setenv("MINIRNN_CACHE_DIR", "/proc/minirnn")  # not even root may
        with pytest.warns(RuntimeWarning, match=warning(Path("/proc/minirnn"))) as said:
            assert [descend(), descend()] == [0, 0]
        assert len(said) == 1
    folder.mkdir(mode=0o500)
    monkeypatch.setenv("MINIRNN_CACHE_DIR", str(folder))
    with warnings.catch_warnings(record=True, action="always") as caught:
        assert descend() == 0
    assert len(caught) == (0 if os.geteuid() == 0 else 1)
    assert os.geteuid() == 0 or not list(folder.iterdir())
    folder.chmod(0o700)


@pytest.mark.parametrize("call", ["write_bytes", "replace"])
def test_a_full_disk_leaves_nothing_half_written(call: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes

    def fail(self: Path, *arguments: Any) -> None:
        if call == "write_bytes":
            write(self, b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, call, fail)
        with pytest.warns(RuntimeWarning, match=warning(folder, "No space left on device")):
            assert descend() == 0
    assert list(folder.iterdir()) == []


def test_the_folder_for_compiled_kernels_is_the_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MINIRNN_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/one")
    for platform, place in (("linux", "/home/one/.cache"), ("darwin", "/home/one/Library/Caches")):
        monkeypatch.setattr(sys, "platform", platform)
        assert cache.cache_folder() == Path(place) / "minirnn"
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache.cache_folder() == Path("/elsewhere/minirnn")
    monkeypatch.setenv("MINIRNN_CACHE_DIR", "/chosen")
    assert cache.cache_folder() == Path("/chosen")


def test_without_home_everything_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HOME is not set; nor does the system know the user."""
    (result, _, place) = python(DESCEND, without=("HOME", "XDG_CACHE_HOME", "MINIRNN_CACHE_DIR"))
    assert result == DESCENDED
    assert Path(place).is_absolute()
    for name in ("HOME", "XDG_CACHE_HOME", "MINIRNN_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)

    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what it does where it finds no home
    monkeypatch.chdir(tmp_path)
    with pytest.warns(RuntimeWarning, match=warning(Path(os.devnull) / "minirnn")):
        assert descend() == 0
    assert list(tmp_path.iterdir()) == []  # no folder called "~"


# ---------------------------------------------------------------------- what the names depend on

TEXTS = {
    "__init__": '"""A package."""\n',
    "one": "SIZE = 3\n\ndef double(a, b=1):\n    return 2 * a if b in {1, 2} else (SIZE, -0.0)\n",
    "two": "def outer(f):\n    def inner(x):\n        return f(x) + 1\n    return inner\n",
}
EDITS: dict[str, tuple[str, str, str]] = {  # of what runs
    "a constant": ("one", "SIZE = 3", "SIZE = 4"),
    "the type of a constant": ("one", "SIZE = 3", "SIZE = 3.0"),
    "the sign of zero": ("one", "-0.0", "0.0"),
    "an operation": ("one", "2 * a", "2 + a"),
    "a name": ("one", "2 * a", "2 * b"),
    "a default": ("one", "b=1", "b=2"),
    "a set": ("one", "{1, 2}", "{1, 3}"),
    "a function within a function": ("two", "f(x) + 1", "f(x) - 1"),
    "the package's own module": ("__init__", '"""A package."""', "SIZE = 3"),
}


class Importer:
    """Imports from memory, as frozen programs do: of modules it has bytecode, and can list them."""

    def __init__(self, place: Path, codes: dict[str, CodeType], lacking: str = "") -> None:
        self.codes, self.lacking, self.place = codes, lacking, place

    def __getattribute__(self, name: str) -> Any:
        if name == object.__getattribute__(self, "lacking"):
            raise AttributeError(name)
        return object.__getattribute__(self, name)

    def find_spec(self, name: str, *_: Any) -> Any:
        if name not in self.codes:
            return None
        spec = importlib.machinery.ModuleSpec(name, self, is_package=name == "sample")  # type: ignore[arg-type]  # what of a loader is used, it has
        if name == "sample":
            spec.submodule_search_locations = [str(self.place / "sample")]
        return spec

    def iter_modules(self, prefix: str = "") -> Iterator[tuple[str, bool]]:
        yield from ((name.removeprefix("sample."), False) for name in self.codes if name != "sample")

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(self.codes[module.__name__], module.__dict__)  # noqa: S102 - what importing is

    def get_code(self, name: str) -> CodeType:
        return self.codes[name]

    def get_source(self, name: str) -> None:
        return None

    def hook(self, path: str) -> "Importer":
        if not path.startswith(str(self.place)):
            raise ImportError(path)
        return self


def code_name(name: str) -> str:
    return "sample" if name == "__init__" else f"sample.{name}"


def install(form: str, place: Path, texts: dict[str, str]) -> Path:
    """A package ``sample`` of these modules in one of the forms that code comes in; what goes on the path."""
    root = place / "sample"
    root.mkdir(parents=True)
    for name, text in texts.items():
        file = root / f"{name}.py"
        file.write_text(text)
        if "bytecode" in form:
            py_compile.compile(str(file), cfile=str(root / f"{name}.pyc"), doraise=True)
            file.unlink()
    if "zip" not in form:
        return place
    with zipfile.ZipFile(place / "packed.zip", "w") as packed:
        for file in sorted(root.iterdir()):
            packed.write(file, f"sample/{file.name}")
    return place / "packed.zip"


@contextmanager
def imported(form: str, place: Path, texts: dict[str, str], lacking: str = "") -> Iterator[None]:
    """``sample`` and its modules, imported from ``place``."""
    path = str(place if "frozen" in form else install(form, place, texts))
    importer = Importer(
        place, {code_name(name): compile(text, str(place / name), "exec") for name, text in texts.items()}, lacking
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(path)
        if "frozen" in form:
            patch.setattr(sys, "path_hooks", [importer.hook, *sys.path_hooks])
            patch.setattr(sys, "meta_path", [importer, *sys.meta_path])
        importlib.invalidate_caches()
        try:
            import_module("sample.one")
            yield
        finally:
            for name in [name for name in sys.modules if name.partition(".")[0] == "sample"]:
                del sys.modules[name]
            for known in [known for known in sys.path_importer_cache if known.startswith(str(place))]:
                del sys.path_importer_cache[known]


def digest(form: str, place: Path, texts: dict[str, str], lacking: str = "") -> str | None:
    with imported(form, place, texts, lacking):
        found: str | None = cache.digest_of("sample")
        return found


@pytest.mark.parametrize("form", ["sources", "bytecode", "zip of sources", "zip of bytecode", "frozen"])
def test_the_digest_depends_on_all_code_in_whatever_form_it_is(form: str, tmp_path: Path) -> None:
    whole = digest(form, tmp_path / "whole", TEXTS)
    assert whole is not None
    assert digest(form, tmp_path / "elsewhere", TEXTS) == whole  # the folder does not matter
    seen: set[str | None] = {whole}
    for k, (name, old, new) in enumerate(EDITS.values()):
        assert TEXTS[name].count(old) == 1
        seen.add(digest(form, tmp_path / str(k), TEXTS | {name: TEXTS[name].replace(old, new)}))
    rest = {name: text for name, text in TEXTS.items() if name != "two"}
    seen.add(digest(form, tmp_path / "fewer", rest))
    seen.add(digest(form, tmp_path / "renamed", rest | {"three": TEXTS["two"]}))
    seen.add(digest(form, tmp_path / "more", TEXTS | {"three": ""}))
    assert None not in seen
    assert len(seen) == 1 + len(EDITS) + 3


@pytest.mark.parametrize("lacking", ["get_code", "iter_modules"])
def test_code_that_cannot_be_read_has_no_digest(lacking: str, tmp_path: Path) -> None:
    assert digest("frozen", tmp_path, TEXTS, lacking) is None


def test_a_module_that_has_vanished_leaves_no_digest(tmp_path: Path) -> None:
    with imported("sources", tmp_path, TEXTS):
        (tmp_path / "sample" / "one.py").unlink()
        assert cache.digest_of("sample") is None


def test_every_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    read = importlib.machinery.SourceFileLoader.get_data

    def counted(self: Any, path: str) -> bytes:
        reads.append(Path(path).name)
        return read(self, path)

    with imported("sources", tmp_path, TEXTS):
        monkeypatch.setattr(importlib.machinery.SourceFileLoader, "get_data", counted)
        cache.digest_of("sample")
    assert sorted(reads) == ["__init__.py", "one.py", "two.py"]


def test_names_depend_on_the_code_of_this_package() -> None:
    assert cache.sources() == cache.digest_of("minirnn.kernels.cpu") is not None
    assert cache.sources() in cache.KernelCache("one").key((), SimpleNamespace(magic_tuple=tuple)).decode()


def test_names_depend_on_the_code_beside_this_package_too(monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    read = cache.read_code

    def recorded(name: str) -> Any:
        names.append(name)
        return read(name)

    monkeypatch.setattr(cache, "read_code", recorded)
    assert cache.digest_of("minirnn.kernels.cpu") == cache.sources()
    assert {"minirnn.kernels.cpu.emitting", "minirnn.kernels.facts", "minirnn.kernels.phases"} <= set(names)


def test_without_a_digest_nothing_is_stored_and_a_warning_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert descend() == 0
    files = list(folder.iterdir())
    monkeypatch.setattr(cache, "digest_of", lambda _: None)
    monkeypatch.setattr(cache, "sources", lambda: None)
    with pytest.warns(RuntimeWarning, match=r"^compiled kernels are not stored, since the code of .* cannot be read"):
        assert [descend(), descend()] == [0, 0]
    assert list(folder.iterdir()) == files


def test_what_was_compiled_while_an_update_replaced_the_files_is_not_stored(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.sources()
    with monkeypatch.context() as patch:
        patch.setattr(cache, "digest_of", lambda _: "that of the next release")
        assert descend() == 0
    assert not folder.exists()
    assert [descend(), descend()] == [0, 1]


@pytest.mark.slow
def test_another_release_without_sources_computes_with_its_own_kernels(tmp_path: Path) -> None:
    """As a frozen program, or a container whose .py files were stripped, does after its update."""
    results = []
    for release, rate in (("first", "real(a.rate, like)"), ("second", "real(a.rate, like) + real(a.rate, like)")):
        copy = shutil.copytree(PACKAGE, tmp_path / release / "minirnn", ignore=shutil.ignore_patterns("__pycache__"))
        file = copy / "kernels" / "cpu" / "updates.py"
        text, old = file.read_text(encoding="utf-8"), "numbers(a.g, like), a.n, real(a.rate, like)"
        assert text.count(old) == 1
        file.write_text(text.replace(old, old.replace("real(a.rate, like)", rate)), encoding="utf-8")
        compileall.compile_dir(copy / "kernels", legacy=True, quiet=1)
        for source in (copy / "kernels").rglob("*.py"):
            source.unlink()
        results.append(python(DESCEND, PYTHONPATH=str(copy.parent), MINIRNN_CACHE_DIR=str(tmp_path / "cache"))[:2])
    assert results == [[DESCENDED, 0], [(np.arange(20) - 1.0).tolist(), 0]]


def test_threads_that_need_one_kernel_compile_it_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, compile_it, compiled = (
        compiling.Kernel("descend", updates.descend.function),
        compiling.Kernel.compile,
        [],
    )

    def slowly(self: Any, dtype: Any) -> Any:
        compiled.append(dtype)
        time.sleep(0.1)
        return compile_it(self, dtype)

    monkeypatch.setattr(compiling.Kernel, "compile", slowly)
    with ThreadPoolExecutor(4) as threads:
        places = list(threads.map(lambda _: kernel[np.dtype("float32")], range(4)))
    assert len(compiled) == len(set(places)) == 1


def test_names_depend_on_kernel_types_and_processor(folder: Path) -> None:
    class Codegen:
        def __init__(self, *magic: str) -> None:
            self.magic = magic

        def magic_tuple(self) -> tuple[str, ...]:
            return self.magic

    here = Codegen("triple", "processor", "+features")
    names = {
        cache.KernelCache(name).file(cache.KernelCache(name).key(sig, codegen))
        for name in ("one", "two")
        for sig in (("float32",), ("float64",))
        for codegen in (here, Codegen("triple", "processor", "+others"), Codegen("triple", "other", "+features"))
    }
    assert len(names) == 12
    assert {name.parent for name in names} == {folder}


@pytest.mark.process
def test_kernels_of_several_processes_do_not_meet_under_one_name(tmp_path: Path) -> None:
    """Each cell is compiled in a process of its own, inference first; then one process loads them all."""
    code = """
import json, sys
import numpy as np
from minirnn import GRU, LSTM, RNN

kinds = {"rnn": RNN(1, 1), "gru": GRU(1, 1), "relu": RNN(1, 1, nonlinearity="relu")}
x, worst = np.full((2, 1, 1), 0.7, "float32"), 0.0
for name in sys.argv[1:]:
    fast = kinds[name].init(1, backend="numba")
    exact = fast.to(backend="numpy", dtype="float64")
    y, _ = fast(x)
    z, _, backward = fast.forward(x)
    backward(np.ones_like(z))
    wanted, _, back = exact.forward(x.astype("float64"))
    back(np.ones_like(wanted))
    worst = max([worst, *(float(abs(a - b).max()) for a, b in ((y, wanted), (z, wanted), (fast.grads, exact.grads)))])
print(json.dumps(worst))
"""
    environment = os.environ | {"MINIRNN_CACHE_DIR": str(tmp_path)}
    for names in (["rnn"], ["gru"], ["relu"], ["rnn", "gru", "relu"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *names], capture_output=True, text=True, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) < 1e-5, names
