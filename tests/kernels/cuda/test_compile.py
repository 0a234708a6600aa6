"""Every kernel compiled as CuPy compiles it, for every generation of GPU that is promised, without a device; and what
the compiler says of the parameters, held against what ``launch.py`` packs.
"""

import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import on_cpu
import pytest
import strict_cupy

from minirnn.kernels.cuda import launch
from minirnn.kernels.cuda.launch import Source

pytestmark = pytest.mark.extras

REASON = "CuPy is not installed: pip install 'minirnn[cuda13]'"
compiler: Any = pytest.importorskip("cupy.cuda.compiler", reason=REASON)
driver: Any = pytest.importorskip("cupy_backends.cuda.api.driver", reason=REASON)
runtime: Any = pytest.importorskip("cupy_backends.cuda.api.runtime", reason=REASON)

SOURCES = on_cpu.sources()
ARCHITECTURES = ("75", "80", "90", "100")
core: Any = pytest.importorskip("cupy._core.core", reason=REASON)
OPTIONS: tuple[str, ...] = core.assemble_cupy_compiler_options(launch.OPTIONS)  # where CUDA's own headers are
FLAGS = ("-ftz=true",)  # CuPy's own; --device-as-default-execution-space is added by compile_using_nvrtc


@pytest.fixture
def sm_90(monkeypatch: pytest.MonkeyPatch) -> None:
    """CuPy asks the device what to compile for: here is the answer."""
    name_architecture(monkeypatch, "sm")


def name_architecture(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    def architecture(arch: str | None = None) -> tuple[str, str]:
        return f"-arch={kind}_{arch or '90'}", {"sm": "cubin", "compute": "ptx"}[kind]

    monkeypatch.setattr(compiler, "_get_arch", lambda: "90")
    monkeypatch.setattr(compiler, "_get_arch_for_options_for_nvrtc", architecture)


def expressions(name: str) -> tuple[str, ...]:
    return tuple(expression for _, expression, _ in on_cpu.instances(SOURCES[name]))


def compiled(source: str, arch: str, names: tuple[str, ...]) -> tuple[bytes, dict[str, str]]:
    """The code, and the name of each instance in it."""
    code, mapping = compiler.compile_using_nvrtc(source, OPTIONS + FLAGS, arch, "kern.cu", names)
    return code, mapping


@pytest.mark.usefixtures("sm_90")
@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("name", SOURCES)
def test_every_instance_compiles(name: str, arch: str) -> None:
    names = expressions(name)
    code, mapping = compiled(SOURCES[name].code, arch, names)
    assert code[:4] == b"\x7fELF"
    assert mapping.keys() == set(names)
    for lowered in mapping.values():
        assert lowered.encode() in code


def test_every_kernel_has_instances() -> None:
    for source in SOURCES.values():
        assert {kernel for kernel, _, _ in on_cpu.instances(source)} == set(source.kernels)
        assert source.code.count("__global__") == len(source.kernels)


@pytest.mark.usefixtures("sm_90")
@pytest.mark.parametrize("name", SOURCES)
def test_a_fault_is_named_with_its_line(name: str) -> None:
    lines = SOURCES[name].code.splitlines()
    at = next(k for k, line in enumerate(lines) if "blockIdx.x" in line)
    lines[at] = lines[at].replace("blockIdx", "blockIDX")
    with pytest.raises(compiler.CompileException, match=rf'kern\.cu\({at + 1}\): error: .*"blockIDX" is undefined'):
        compiled("\n".join(lines), "90", expressions(name))


# ---------------------------------------------------------------------- parameters


class Entry(NamedTuple):
    """A kernel in PTX: the types of its parameters, and its instructions."""

    parameters: tuple[str, ...]
    body: str


class Compiled(NamedTuple):
    """A source, and its kernels in PTX."""

    source: Source
    entries: dict[str, Entry]


def entries(ptx: str) -> dict[str, Entry]:
    """The kernels of a PTX text, by their names in it."""
    assert not re.search(r"^\.func", ptx, re.MULTILINE)  # all is inlined: an entry's body is everything that it runs
    found = {}
    for text in re.split(r"\.entry ", ptx)[1:]:
        head, body = text.split(")", 1)
        name, parameters = head.split("(")
        found[name] = Entry(tuple(re.findall(r"\.param\s+\.(\w+)", parameters)), body)
    return found


@pytest.fixture(params=SOURCES)
def ptx(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> "Compiled":
    """A source and its kernels in PTX, by expression."""
    name_architecture(monkeypatch, "compute")
    source = SOURCES[request.param]
    code, mapping = compiled(source.code, "75", expressions(request.param))
    found = entries(code.decode())
    return Compiled(source, {name: found[lowered] for name, lowered in mapping.items()})


class Recorder:
    """In the place of CuPy: it keeps what kernels are compiled from and called with."""

    def __init__(self) -> None:
        self.modules: list[dict[str, Any]] = []
        self.arguments: dict[str, tuple[Any, ...]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(strict_cupy, name)

    def RawModule(self, **options: Any) -> Any:
        self.modules.append(options)
        return SimpleNamespace(get_function=lambda name: lambda *launched: self.arguments.update({name: launched[2]}))


def packed(recorder: Recorder, source: Source, kernel: str, types: dict[str, str]) -> tuple[Any, ...]:
    """The arguments of a launch as they are handed to CuPy."""
    arguments = {p.name: None if p.pointer else 1 for p in source.kernels[kernel].parameters}
    launch.launch(recorder, source, kernel, types, 1, 32, **arguments)
    return recorder.arguments[source.expression(kernel, types)]


def kind(value: Any) -> str:
    """An argument's type as PTX names it: CuPy passes on as many bytes as the value has."""
    assert len(strict_cupy._packed(value)) == value.nbytes
    return f"{'f' if isinstance(value, np.floating) else 'u'}{8 * value.nbytes}"


def test_launch_packs_what_the_kernel_takes(ptx: Compiled) -> None:
    for kernel, name, types in on_cpu.instances(ptx.source):
        assert tuple(map(kind, packed(Recorder(), ptx.source, kernel, types))) == ptx.entries[name].parameters, name
    assert len(ptx.entries) == len(on_cpu.instances(ptx.source))


def test_a_float_parameter_is_packed_in_4_bytes_and_by_cupy_in_8(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = Source.of("probe", "__global__ void scaled(float* y, float factor) { y[threadIdx.x] *= factor; }\n")
    name_architecture(monkeypatch, "compute")
    code, mapping = compiled(probe.code, "75", ("scaled",))
    parameters = entries(code.decode())[mapping["scaled"]].parameters
    assert parameters == ("u64", "f32") == tuple(map(kind, packed(Recorder(), probe, "scaled", {})))
    assert len(strict_cupy._packed(1.0)) == 8


def test_kernels_of_floats_compute_in_floats(ptx: Compiled) -> None:
    """A double on most GPUs costs 32 or 64 floats: one literal without its f would do it."""
    for name, entry in ptx.entries.items():
        double = "double" in name or ptx.source.name == "updates"  # there, numbers of the host are
        assert (".f64" in entry.body) == double, name


@pytest.mark.parametrize("literal", ["0.5", "1.0"])
def test_a_double_literal_in_a_kernel_of_floats_is_seen(literal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name_architecture(monkeypatch, "compute")
    source = f"__global__ void scaled(float* y, float a) {{ y[threadIdx.x] = a * {literal} + y[threadIdx.x] / 3.0; }}\n"
    code, mapping = compiled(source, "75", ("scaled",))
    assert ".f64" in entries(code.decode())[mapping["scaled"]].body


# ---------------------------------------------------------------------- what CuPy keeps


@pytest.mark.usefixtures("sm_90")
def test_a_kernel_on_disk_is_not_used_when_its_source_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CuPy finds what it compiled by the source's text and the options; nothing is included that it would not see."""
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path))
    if hasattr(compiler, "_kernel_cache_backend"):  # since CuPy 14, which reads the environment when it is imported
        monkeypatch.setattr(compiler, "_kernel_cache_backend", compiler._DiskKernelCacheBackend(str(tmp_path)))
    kept, types = [], launch.types_of(np.dtype("float32"))
    for text in ("", "\n// another\n", ""):
        recorder = Recorder()
        packed(recorder, Source.of("", SOURCES["LSTMCell"].code + text), "step", types)
        (given,) = recorder.modules
        options = core.assemble_cupy_compiler_options(given["options"])
        arguments = {"options": options, "name_expressions": given["name_expressions"]}
        with suppress(driver.CUDADriverError, runtime.CUDARuntimeError):  # compiled and kept; to load it takes a device
            compiler._compile_module_with_cache(given["code"], **arguments)
        kept.append(len(list(tmp_path.glob("*.cubin"))))
    assert kept == [1, 2, 2]


# ---------------------------------------------------------------------- registers, as nvcc tells of them

NVCC = shutil.which("nvcc")
WARNINGS = "-v,--warning-as-error,--warn-on-spills,--warn-on-local-memory-usage"


def built(folder: Path, source: str, arch: str, names: tuple[str, ...]) -> tuple[int, str]:
    """(exit status, what was said) of nvcc on these instances, where any warning is an error."""
    assert NVCC
    listed = subprocess.run([NVCC, "--list-gpu-arch"], capture_output=True, text=True, check=True).stdout.split()
    if f"compute_{arch}" not in listed:
        pytest.skip(f"this nvcc does not know compute_{arch}")
    uses = "".join(f"auto use_{k} = {name};\n" for k, name in enumerate(names))
    (folder / "main.cu").write_text(f"{source}\n{uses}")
    command = [NVCC, f"-arch=sm_{arch}", "-std=c++17", "-ftz=true", "-cubin", "-Xptxas", WARNINGS]
    command += ["-Werror", "all-warnings", "main.cu", "-o", "main.cubin"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.skipif(NVCC is None, reason="nvcc is not on this machine")
@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("name", SOURCES)
def test_nothing_is_spilled_and_nothing_warned_of(name: str, arch: str, tmp_path: Path) -> None:
    status, said = built(tmp_path, SOURCES[name].code, arch, expressions(name))
    assert status == 0, said
    assert said.count("0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads") == len(expressions(name))


LOCAL = """
__global__ void far(float* y, int k) {
    float a[100];
    for (int i = 0; i < 100; i++) a[i] = y[i];
    y[0] = a[k] + a[y[1] > 0];
}
"""
SPILL = """
__global__ void __launch_bounds__(1024, 2) far(float* y) {
    float a[64];
#pragma unroll
    for (int i = 0; i < 64; i++) a[i] = y[i * 1024 + threadIdx.x];
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 64; i++) y[i * 1024 + threadIdx.x] = a[63 - i] * a[i];
}
"""
UNUSED = "__global__ void far(float* y) { int unused; y[0] = 1; }\n"


@pytest.mark.skipif(NVCC is None, reason="nvcc is not on this machine")
@pytest.mark.parametrize(
    ("source", "said"),
    [(LOCAL, "[Ll]ocal memory"), (SPILL, "spill"), (UNUSED, "never referenced")],
    ids=["local memory", "spill", "unused"],
)
def test_a_kernel_that_spills_or_is_warned_of_is_an_error(source: str, said: str, tmp_path: Path) -> None:
    status, text = built(tmp_path, source, "80", ("far",))
    assert status
    assert re.search(said, text), text
