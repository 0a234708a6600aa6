"""The CUDA sources under ThreadSanitizer and AddressSanitizer: no race in a block, nothing outside the arrays."""

import platform
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import on_cpu
import pytest
from tiers import mostly_slow

from minirnn.core.protocol import width_of
from minirnn.core.tracing import traced
from minirnn.kernels.cuda.launch import Source

B, H, LENGTHS, THREADS, N, BLOCKS = 4, 37, (2, 0, 1, 5), 32, 700, 3  # blocks and tiles that are not full
LDH, LD1, LDY = H + 3, H + 1, H + 2
NUMBERS = {
    "line_c": B * H, "line": B * H, "line_s": B, "row_z": 0, "line_z": 0, "line_w": H, "line_d": B * H,
    "ldh": LDH, "ld1": LD1, "ldy": LDY, "t": 1, "H": H, "n": N, "clip": 0.5, "step": 7,
    "rate": 0.1, "decay": 0.1, "shrink": 0.9, "beta1": 0.9, "beta2": 0.99, "correction": 1.1, "eps": 1e-8,
}  # fmt: skip


SIZES = {  # entries of each array: exactly those that a kernel may touch
    "g": N,
    "w": N,
    "m": N,
    "v": N,
    "sums": N,
    "norm": 1,
    "scale": 1,
    "first": 1,
}


def entries(source: Source, kernel: str) -> dict[str, int]:
    """How many entries each array of a kernel has: exactly those that it may touch."""
    if source.name == "updates":
        return SIZES | {"sums": N if kernel == "verdict" else BLOCKS}
    cell = on_cpu.CELLS[source.name.split("-")[1]]
    facts, R = traced(cell), width_of(cell, H)
    each, (c, a, m, s) = B * H, (len(facts.arrays(kind)) for kind in "cams")
    sizes = {"G": facts.gates * each, "Q": B * max(R, facts.gates * H) * facts.product, "v": H * bool(facts.bias)}
    sizes |= {"h": (B - 1) * LDH + R, "h1": (B - 1) * LD1 + R, "dy": (B - 1) * LDY + R, "lengths": B, "z": 0}
    sizes |= {"c": c * each, "c1": c * each, "a": a * each, "m": m * each, "s": s * B, "u": facts.apart * each}
    sizes |= {"dh": B * R, "back": B * R * facts.product, "through": each * (len(facts.stages) > 1), "dc": c * each}
    sizes |= {"w": len(facts.units) * H, "f": facts.flows * each, "dp": facts.gates * each}
    return sizes | {
        "dw": len(facts.units) * each,
        "dq": facts.gates * each if facts.apart else B * R * bool(facts.matrix),
    }


def executable(source: Source, only: str = "") -> str:
    """A C++ program that runs each instance of a source, or of one of its kernels, once."""
    lines, scan = ['#include "on_cpu.hpp"', source.code, "#include <cstdio>", "int main() {"], source.name != "updates"
    cell = on_cpu.CELLS[source.name.split("-")[1]] if scan else None
    R, tiles = (width_of(cell, H), 1 if traced(cell).whole_rows else -(-H // THREADS)) if scan else (0, 1)
    for kernel, name, types in on_cpu.instances(source):
        if only not in ("", kernel):
            continue
        sizes, arguments = entries(source, kernel), []
        lines.append("    {")
        for p in source.kernels[kernel].parameters:
            kind = types.get(p.kind, p.kind)
            if not p.pointer:
                arguments.append(str({"R": R, "tiles": tiles}.get(p.name, NUMBERS.get(p.name))))
            elif not sizes[p.name]:
                arguments.append(f"({kind}*)nullptr")
            else:
                values = ", ".join(map(str, LENGTHS)) if p.name == "lengths" else ""
                begin = f"{{{values}}}" if values else f"({sizes[p.name]}, {kind}(0.5))"
                lines.append(f"        std::vector<{kind}> {p.name}{begin};")
                arguments.append(f"{p.name}.data()")
        blocks, threads = (B * tiles, THREADS) if scan else (BLOCKS, 256)
        blocks = 1 if kernel == "verdict" else blocks
        # the lambda's copies are of pointers, taken before any thread begins
        pointers = [f"a{k} = {a}" for k, a in enumerate(arguments)]
        call = f"{name}({', '.join(f'a{k}' for k in range(len(arguments)))})"
        lines += [f"        on_cpu({blocks}, {threads}, [{', '.join(pointers)}] {{ {call}; }});", "    }"]
    return "\n".join([*lines, '    std::puts("all ran");', "}"])


def sanitized(folder: Path, sanitizer: str, source: Source, only: str = "") -> tuple[int, str]:
    """(exit status, output) of that program under a sanitizer of g++'s."""
    (folder / "main.cpp").write_text(executable(source, only))
    command = ["g++", "-std=c++20", "-O0", "-g", "-pthread", "-Wall", "-Werror", f"-fsanitize={sanitizer}"]
    command += [f"-I{on_cpu.HERE}", "main.cpp", "-o", "main"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    # where the kernel scatters memory more widely than the sanitizer expects, it is asked not to
    for prefix in ([], ["setarch", platform.machine(), "-R"]):
        ran = subprocess.run([*prefix, "./main"], cwd=folder, capture_output=True, text=True, check=False, timeout=300)
        if "unexpected memory mapping" not in ran.stderr and "failed to map" not in ran.stderr.lower():
            break
    return ran.returncode, ran.stdout + ran.stderr


CHECKED = [("thread", "updates"), ("address", "updates"), *product(("thread", "address"), on_cpu.CELLS)]


@pytest.mark.parametrize(
    ("sanitizer", "name"),
    [pytest.param(*one, marks=[] if one == CHECKED[0] else pytest.mark.slow) for one in CHECKED],
)
def test_no_race_and_nothing_outside_the_arrays(name: str, sanitizer: str, tmp_path: Path) -> None:
    status, output = sanitized(tmp_path, sanitizer, on_cpu.sources()[name])
    assert (status, output) == (0, "all ran\n")


def replaced(text: str, old: str, new: str) -> Iterator[str]:
    """``text`` with one occurrence of ``old`` replaced, for each."""
    pieces = text.split(old)
    for k in range(1, len(pieces)):
        yield old.join(pieces[:k]) + new + old.join(pieces[k:])


UPDATES, SCAN, ROWS = (on_cpu.sources()[name] for name in ("updates", "ProjectedLSTMCell", "LayerNormGRUCell"))
WITHOUT_A_BARRIER = [
    (kernel, replace(source, code=code))
    for source, kernel in ((UPDATES, "squares"), (ROWS, "step"))
    for code in replaced(source.code, "__syncthreads();", ";")
]
OVERFLOWS = {
    f"{source.name} {kernel}: {new}": (kernel, replace(source, code=code))
    for source, old, new, kernels in (
        (SCAN, "j < R; j += next) Stage::", "j <= R; j += next) Stage::", ("step", "unstep")),
        (UPDATES, "k < n;", "k <= n;", ("squares", "verdict")),
        (UPDATES, "if (k >= n) return;", "if (k > n) return;", ("descend", "adam")),
    )
    for kernel, code in zip(kernels, replaced(source.code, old, new), strict=True)
}


def test_every_barrier_has_its_fault() -> None:
    assert len(WITHOUT_A_BARRIER) == (UPDATES.code + ROWS.code).count("__syncthreads()") >= 5
    assert "__syncthreads" not in SCAN.code


@pytest.mark.parametrize("k", mostly_slow(range(len(WITHOUT_A_BARRIER))))
def test_a_barrier_left_out_is_a_data_race(k: int, tmp_path: Path) -> None:
    kernel, source = WITHOUT_A_BARRIER[k]
    status, output = sanitized(tmp_path, "thread", source, kernel)
    assert status
    assert "ThreadSanitizer: data race" in output


@pytest.mark.parametrize("fault", mostly_slow(OVERFLOWS))
def test_one_entry_too_many_is_found(fault: str, tmp_path: Path) -> None:
    kernel, source = OVERFLOWS[fault]
    status, output = sanitized(tmp_path, "address", source, kernel)
    assert status
    assert "heap-buffer-overflow" in output
