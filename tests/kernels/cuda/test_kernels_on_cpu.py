"""The CUDA sources themselves, run on a processor: the numbers of ``cells.py`` and of NumPy, no race between a block's
threads, nothing outside the arrays; and planted faults, each of which is caught.

Memory around what a kernel may touch is NaN: to write there shows, and so does to read it.
"""

import ctypes
import platform
import struct
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import on_cpu
import pytest
import strict_cupy
from hypothesis import given
from hypothesis import strategies as st
from tiers import marked_but

from minirnn import cells
from minirnn.core.backend import Array
from minirnn.kernels.cuda import launch

DTYPES = ("float32", "float64")
K = 64  # of a step's results, in units of eps: tanh is good for a few, and each line of a cell adds one
MARGIN = 64  # entries around every array


class Processor:
    """In the place of CuPy: it runs the kernels of a source, or of what a test puts in its place."""

    def __init__(self, *, source: str | None = None, cells: str | None = None) -> None:
        self.source, self.cells = source, cells

    def __getattr__(self, name: str) -> Any:
        return getattr(strict_cupy, name)

    def RawModule(self, *, code: str, options: tuple[str, ...], name_expressions: tuple[str, ...]) -> Any:
        return Module(self, code)


class Module:
    """A source that was compiled."""

    def __init__(self, processor: Processor, code: str) -> None:
        self.processor = processor
        self.file = next(path.name for path in launch.FOLDER.glob("*.cu") if path.read_text() == code)

    def get_function(self, name: str) -> Callable[..., None]:
        source = (launch.FOLDER / self.file).read_text() if self.processor.source is None else self.processor.source
        flags = ["-DSERIAL"] * ("__syncthreads" not in source) + ["-O0"] * (self.processor is not SOUND)
        run = on_cpu.function(self.file, name, source=source, cells=self.processor.cells, flags=flags)

        def kernel(grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
            packed = [ctypes.create_string_buffer(strict_cupy._packed(a)) for a in arguments]
            run(grid[0], block[0], (ctypes.c_void_p * len(packed))(*map(ctypes.addressof, packed)))

        return kernel


SOUND = Processor()


class Fenced:
    """A copy of ``a`` (rows, columns), rows ``apart`` entries apart, in memory that is a fence everywhere else."""

    def __init__(self, a: Array, apart: int | None = None) -> None:
        a = np.atleast_2d(a)
        rows, columns = a.shape
        self.apart = columns if apart is None else apart
        fence = np.nan if a.dtype.kind == "f" else np.iinfo(a.dtype).min
        self._fences = np.full(2 * MARGIN + rows * self.apart, fence, a.dtype)
        self.memory, self.shape = self._fences.copy(), a.shape
        self.inside[...] = a
        self.before = a.copy()

    def within(self, memory: Array) -> Array:
        item = memory.itemsize
        return np.lib.stride_tricks.as_strided(memory[MARGIN:], self.shape, (self.apart * item, item))

    @property
    def inside(self) -> Array:
        return self.within(self.memory)

    @property
    def address(self) -> int:
        return int(self.inside.__array_interface__["data"][0])

    def assert_fences(self) -> None:
        outside = self.memory.copy()
        self.within(outside)[...] = self.within(self._fences)
        assert outside.tobytes() == self._fences.tobytes()


class Row(NamedTuple):
    """One step's sizes."""

    B: int
    H: int
    threads: int
    ldh: int
    ld1: int
    ldy: int
    with_lengths: bool
    with_dy: bool
    with_back: bool
    in_place: bool
    size: float  # of the arguments: large ones saturate
    seed: int


@st.composite
def rows(draw: st.DrawFn) -> Row:
    H = draw(st.integers(1, 70))
    ldh, ld1, ldy = (H + draw(st.integers(0, 9)) for _ in range(3))
    with_lengths, with_dy, with_back, in_place = (draw(st.booleans()) for _ in range(4))
    threads, size = draw(st.sampled_from((32, 64, 256))), draw(st.sampled_from((0.3, 1.0, 6.0)))
    B, seed = draw(st.integers(1, 6)), draw(st.integers(0, 2**32 - 1))
    return Row(B, H, threads, ldh, ld1, ldy, with_lengths, with_dy, with_back, in_place, size, seed)


class Step:
    """The arrays of a step and what ``cells.py`` makes of them in float64."""

    def __init__(self, cell: str, dtype: str, row: Row) -> None:
        self.cell, self.dtype, self.row = getattr(cells, cell), dtype, row
        self.gates, self.name = len(self.cell.gates), cell
        self.rng = np.random.default_rng(row.seed)
        B, H, t = row.B, row.H, 2
        self.lengths = self.rng.integers(0, 5, B) if row.with_lengths else None
        self.lasts = np.full(B, fill_value=True) if self.lengths is None else self.lengths > t
        self.p, self.q = self.normal(B, self.gates * H, row.size), self.normal(B, self.gates * H, row.size)
        self.v, self.h, self.c = self.normal(1, H), np.tanh(self.normal(B, H)).astype(dtype), self.normal(B, H)
        self.sizes = {"t": t, "H": H, "tiles": -(-H // row.threads)}

    def normal(self, rows: int, columns: int, size: float = 1.0) -> Array:
        return (size * self.rng.normal(size=(rows, columns))).astype(self.dtype)

    @cached_property
    def forward(self) -> tuple[dict[str, Array], dict[str, Array]]:
        """The state after the step, and what is saved, by name."""
        q = self.q.astype("f8")
        if self.name == "GRUCell":
            q[:, 2 * self.row.H :] += self.v  # q_n = h U_n + bn
        state = tuple({"h": self.h, "c": self.c}[name].astype("f8") for name in self.cell.state)
        after, saved = self.cell.step(self.p.astype("f8"), q, state)
        return dict(zip(self.cell.state, after, strict=True)), dict(zip(self.cell.saves, saved, strict=True))

    def run(self, processor: Processor, kernel: str, arrays: Mapping[str, Fenced | None], **numbers: int) -> None:
        blocks = self.row.B * self.sizes["tiles"]
        types = launch.types_of(np.dtype(self.dtype), self.name)
        lengths = None if self.lengths is None else Fenced(self.lengths)
        addresses = {name: None if a is None else a.address for name, a in arrays.items()}
        given = {**addresses, "lengths": lengths and lengths.address, **self.sizes, **numbers}
        launch.launch(processor, kernel, types, blocks, self.row.threads, **given)
        for a in (lengths, *arrays.values()):
            if a is not None:
                a.assert_fences()

    def assert_close(self, found: Array, wanted: Array, what: str) -> None:
        scale = max(1.0, self.row.size, float(np.abs(wanted).max()))
        error = np.abs(found - wanted).max()
        assert error <= K * np.finfo(self.dtype).eps * scale, (what, error)  # NaN fails

    def assert_step(self, processor: Processor) -> None:
        """``step`` leaves the state after, and in G, u, c1 and m what is saved; a row that has ended is as before."""
        row, dtype, lasts = self.row, self.dtype, self.lasts[:, None]
        nothing = np.full((row.B, row.H), np.nan, dtype)
        h = Fenced(self.h, row.ldh)
        a: dict[str, Fenced | None] = dict.fromkeys(("v", "c", "u", "c1", "m"))
        a |= {"G": Fenced(self.p), "Q": Fenced(self.q), "h": h}
        a["h1"] = h if row.in_place else Fenced(nothing, row.ld1)
        if self.name == "GRUCell":
            a |= {"v": Fenced(self.v), "u": Fenced(nothing)}
        if self.name == "LSTMCell":
            a |= {"c": Fenced(self.c), "m": Fenced(nothing)}
            a["c1"] = a["c"] if row.in_place else Fenced(nothing)
        self.run(processor, "step", a, ldh=row.ldh, ld1=row.ldh if row.in_place else row.ld1)
        state, saved = self.forward
        wanted = {"h1": np.where(lasts, state["h"], self.h)}
        if self.name == "LSTMCell":
            wanted |= {"c1": np.where(lasts, state["c"], self.c), "m": saved["m"]}
        if self.name == "GRUCell":
            wanted["u"] = saved["u"]
        if self.name != "TanhCell":
            gates = {"ReluCell": ("a",), "GRUCell": ("r", "z", "n"), "LSTMCell": ("i", "f", "g", "o")}[self.name]
            wanted["G"] = np.concatenate([saved[name] for name in gates], axis=1)
        for name, expected in wanted.items():
            array = a[name]
            assert array is not None
            whole = slice(None) if name in ("h1", "c1") else self.lasts  # nobody reads what an ended row saves
            if expected[whole].size:
                self.assert_close(array.inside[whole], expected[whole], name)
        self.assert_kept(a, ("Q", "v") if row.in_place else ("Q", "v", "h", "c"))

    def assert_unstep(self, processor: Processor) -> None:
        """``unstep`` gives dp, dq and the direct paths; the gradient of a row that has ended passes through."""
        row, dtype, lasts, H = self.row, self.dtype, self.lasts[:, None], self.row.H
        state, saved = self.forward
        saved = {name: value.astype(dtype) for name, value in saved.items()}
        h1 = (saved["h1"] if "h1" in saved else state["h"]).astype(dtype)
        dh, dc, back, dy = (self.normal(row.B, H) for _ in range(4))
        nothing = np.full((row.B, self.gates * H), np.nan, dtype)
        named = {"TanhCell": (), "ReluCell": ("a",), "GRUCell": ("r", "z", "n"), "LSTMCell": ("i", "f", "g", "o")}
        G = np.concatenate([saved[name] for name in named[self.name]], axis=1) if named[self.name] else nothing
        a: dict[str, Fenced | None] = dict.fromkeys(("u", "c", "m", "dc", "dy", "back"))
        a |= {"G": Fenced(G), "h": Fenced(self.h, row.ldh), "h1": Fenced(h1, row.ld1), "dh": Fenced(dh)}
        a["dp"] = a["dq"] = Fenced(nothing)
        if self.name == "GRUCell":
            a |= {"u": Fenced(saved["u"]), "dq": Fenced(nothing)}
        if self.name == "LSTMCell":
            a |= {"c": Fenced(self.c), "m": Fenced(saved["m"]), "dc": Fenced(dc)}
        dh1 = dh.astype("f8")
        if row.with_back:
            a["back"] = Fenced(back)
            dh1 += back
        if row.with_dy:
            a["dy"] = Fenced(dy, row.ldy)
            dh1 += dy
        self.run(processor, "unstep", a, ldh=row.ldh, ld1=row.ld1, ldy=row.ldy)
        exact = tuple(saved[name].astype("f8") for name in self.cell.saves)
        dstate = (dh1, dc.astype("f8"))[: len(self.cell.state)]
        dp, dq, before = self.cell.unstep(dstate, exact)
        direct = np.zeros_like(dh1) if before[0] is None else before[0]
        wanted = {"dp": np.where(lasts, dp, 0), "dq": np.where(lasts, dq, 0), "dh": np.where(lasts, direct, dh1)}
        if self.name == "LSTMCell":
            wanted["dc"] = np.where(lasts, before[1], dc)
        for name, expected in wanted.items():
            array = a[name]
            assert array is not None
            self.assert_close(array.inside, expected, name)
        self.assert_kept(a, ("G", "u", "h", "h1", "c", "m", "dy", "back"))

    @staticmethod
    def assert_kept(arrays: Mapping[str, Fenced | None], names: tuple[str, ...]) -> None:
        for name in names:
            a = arrays[name]
            assert a is None or a.inside.tobytes() == a.before.tobytes(), name


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", on_cpu.CELLS)
@given(row=rows())
def test_step_is_the_equations_of_the_cell(cell: str, dtype: str, row: Row) -> None:
    Step(cell, dtype, row).assert_step(SOUND)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", on_cpu.CELLS)
@given(row=rows())
def test_unstep_is_their_transpose(cell: str, dtype: str, row: Row) -> None:
    Step(cell, dtype, row).assert_unstep(SOUND)


@pytest.mark.parametrize("cell", on_cpu.CELLS)
def test_what_is_not_a_number_comes_out_of_a_step_and_stays_in_its_unit(cell: str) -> None:
    step = Step(cell, "float32", Row(2, 5, 32, 5, 5, 5, False, False, False, False, 1.0, 0))
    step.p[1, 3::5] = np.nan
    h1, G, more = Fenced(np.zeros((2, 5), "f4")), Fenced(step.p), Fenced(np.zeros((6, 5), "f4"))
    room = {"c": Fenced(step.c), "u": more, "c1": more, "m": more}
    step.run(SOUND, "step", {"G": G, "Q": Fenced(step.q), "v": Fenced(step.v), "h": h1, "h1": h1, **room}, ldh=5, ld1=5)
    np.testing.assert_array_equal(np.argwhere(np.isnan(h1.inside)), [[1, 3]])


FAULTS = {  # in cells.cuh, or in scan.cu; what finds them
    "LSTMCell's i and f change places": ("G[j] = S(i);\n        G[H + j] = S(f);", "G[j] = S(f), G[H + j] = S(i);"),
    "LSTMCell multiplies c by i": ("f * F(c[j]) + i * g;", "i * F(c[j]) + f * g;"),
    "GRUCell's z is the other way round": ("(1 - z) * n + z * F(h[j])", "z * n + (1 - z) * F(h[j])"),
    "GRUCell forgets the bias of its product": ("F(Q[2 * H + j]) + F(v[j])", "F(Q[2 * H + j])"),
    "GRUCell's dq is its dp": ("dq[2 * H + j] = S(du);", "dq[2 * H + j] = S(da_n + 0 * du);"),
    "GRUCell reads h where h1 is written": ("F dz = dh1 * (F(h[j]) - n);", "F dz = dh1 * (F(h1[j]) - n);"),
    "LSTMCell's dc is overwritten too early": ("F df = dc1 * F(c[j]);", "F df = F(dc[j]) * F(c[j]);"),
    "ReluCell lets a gradient through where it was 0": ("F(G[j]) <= 0 ? F(0) : dh1", "F(G[j]) > 0 ? F(0) : dh1"),
    "TanhCell's derivative lacks a square": ("(1 - h1_ * h1_)", "(1 - h1_)"),
    "what comes back through the product is left out": ("if (back) dh1 += F(back[own + j]);", ""),
    "dy has the rows of a contiguous array": ("dy[row * ldy + j]", "dy[own + j]"),
    "h1 has the rows of h": ("h1 + row * ld1, c1 + own", "h1 + row * ldh, c1 + own"),
    "a row ends one step late": ("t >= lengths[row]", "t > lengths[row]"),
    "an ended row loses its gradient": ("dh[own + j] = S(dh1);", "dh[own + j] = S(F(0));"),
    "an ended row's gradient of p is left as it was": ("dp[at] = dq[at] = S(F(0));", "(void)at;"),
    "only the first tile of a row is worked on": ("blockIdx.x % tiles * blockDim.x + threadIdx.x", "threadIdx.x"),
}  # fmt: skip


def mostly_slow(values: Iterable[Any], shown: int = 1) -> list[Any]:
    """Parameters of which the first stand for the others: each is a compilation."""
    return [pytest.param(value, marks=pytest.mark.slow if k >= shown else []) for k, value in enumerate(values)]


HARD = [  # rows that between them meet every fault: tiles, lengths, rows apart, saturation
    Row(5, 70, 32, 71, 75, 73, True, True, True, in_place, size, seed)
    for seed, (size, in_place) in enumerate([(1.0, False), (0.3, True)] * 4)
]


@pytest.mark.parametrize("fault", mostly_slow(FAULTS))
def test_a_wrong_equation_is_found(fault: str) -> None:
    parts: dict[str, str | None] = {"cells": None, "source": None}
    for part, file in (("cells", "cells.cuh"), ("source", "scan.cu")):
        text, (old, new) = (launch.FOLDER / file).read_text(), FAULTS[fault]
        if old in text:
            parts[part] = text.replace(old, new)
    assert sum(part is not None for part in parts.values()) == 1
    processor = Processor(cells=parts["cells"], source=parts["source"])
    with pytest.raises(AssertionError):  # noqa: PT012 - some row finds it
        for cell in on_cpu.CELLS:
            for row in HARD:
                Step(cell, "float32", row).assert_step(processor)
                Step(cell, "float32", row).assert_unstep(processor)


# ---------------------------------------------------------------------- optimisers


def update(
    processor: Processor, kernel: str, dtype: str, blocks: int, arrays: Mapping[str, Fenced], **numbers: float
) -> None:
    types = launch.types_of(np.dtype(dtype)) if dtype else {}
    addresses = {name: a.address for name, a in arrays.items()}
    launch.launch(processor, kernel, types, blocks, 256, **addresses, **numbers)
    for a in arrays.values():
        a.assert_fences()


def assert_squares(processor: Processor, dtype: str, n: int, blocks: int, seed: int) -> None:
    g = np.random.default_rng(seed).normal(size=n).astype(dtype)
    a = {"g": Fenced(g), "sums": Fenced(np.full(blocks, np.nan))}
    update(processor, "squares", dtype, blocks, a, n=n)
    assert a["g"].inside.tobytes() == g.tobytes()
    wanted = np.zeros(blocks)
    np.add.at(wanted, np.arange(n) // 256 % blocks, g.astype("f8") ** 2)
    np.testing.assert_allclose(a["sums"].inside[0], wanted, rtol=1e-14)


def assert_verdict(processor: Processor, sums: list[float], clip: float, first: int) -> None:
    given_sums, one = np.array([0.0, *sums]), np.full(1, np.nan)
    a = {"sums": Fenced(given_sums), "norm": Fenced(one), "scale": Fenced(one), "first": Fenced(np.array([first]))}
    update(processor, "verdict", "", 1, a, n=given_sums.size, clip=clip, step=7)
    norm, scale, step = (float(a[name].inside[0, 0]) for name in ("norm", "scale", "first"))
    with np.errstate(over="ignore"):
        wanted = float(np.sqrt(given_sums.sum()))
    np.testing.assert_allclose(norm, wanted, rtol=1e-14)
    if not np.isfinite(wanted):
        assert (scale, step) == (-1, first or 7)
        return
    assert step == first
    assert scale == pytest.approx(clip / wanted if 0 < clip < wanted else 1, rel=1e-14)


def assert_descend(processor: Processor, dtype: str, n: int, scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    w, g = (rng.normal(size=n).astype(dtype) for _ in range(2))
    if scale < 0:
        g[rng.integers(n)] = np.nan
    a = {"w": Fenced(w), "g": Fenced(g), "scale": Fenced(np.array([scale]))}
    update(processor, "descend", dtype, -(-n // 256), a, n=n, rate=0.1)
    assert not a["g"].inside.any()
    if scale < 0:
        assert a["w"].inside.tobytes() == w.tobytes()
        return
    wanted = w.astype("f8") - 0.1 * scale * g.astype("f8")
    np.testing.assert_allclose(a["w"].inside[0], wanted, rtol=0, atol=32 * float(np.finfo(dtype).eps))


def assert_adam(processor: Processor, dtype: str, n: int, scale: float, decay: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    w, g, m, v = (rng.normal(size=n).astype(dtype) for _ in range(4))
    v = v * v
    if scale < 0:
        g[rng.integers(n)] = np.inf
    a = {"w": Fenced(w), "g": Fenced(g), "m": Fenced(m), "v": Fenced(v), "scale": Fenced(np.array([scale]))}
    numbers = {"decay": decay, "shrink": 0.98, "beta1": 0.9, "beta2": 0.99}
    update(processor, "adam", dtype, -(-n // 256), a, n=n, **numbers, rate=0.02, correction=1.7, eps=1e-3)
    assert not a["g"].inside.any()
    if scale < 0:
        for name in ("w", "m", "v"):
            assert a[name].inside.tobytes() == a[name].before.tobytes()
        return
    w, g, m, v = (x.astype("f8") for x in (w, g, m, v))
    g = g * scale + w * decay
    m = 0.9 * m + 0.1 * g
    v = 0.99 * v + 0.01 * g * g
    w = w * 0.98 - 0.02 * m / (np.sqrt(v * 1.7) + 1e-3)
    for name, wanted in {"w": w, "m": m, "v": v}.items():
        atol = 32 * float(np.finfo(dtype).eps) * max(1.0, float(np.abs(wanted).max()))
        np.testing.assert_allclose(a[name].inside[0], wanted, rtol=0, atol=atol, err_msg=name)


SEEDS = st.integers(0, 2**32 - 1)
SCALES = st.sampled_from((-1.0, 0.0, 0.25, 1.0))


@pytest.mark.parametrize("dtype", marked_but(["float32"], DTYPES, "slow"))
@given(n=st.integers(1, 3000), blocks=st.integers(1, 5), seed=SEEDS)
def test_squares_are_added_in_float64(dtype: str, n: int, blocks: int, seed: int) -> None:
    assert_squares(SOUND, dtype, n, blocks, seed)


@given(
    sums=st.lists(st.sampled_from((0.0, 1.0, 4.0, 1e-300, 1e300)), max_size=700),
    bad=st.sampled_from(([], [], [np.nan], [np.inf], [1.7e308, 1.7e308])),
    clip=st.sampled_from((0.0, 0.5, 1e9)),
    first=st.sampled_from((0, 3)),
)
def test_a_verdict_clips_or_stops_and_keeps_the_first_step_that_was_stopped(
    sums: list[float], bad: list[float], clip: float, first: int
) -> None:
    assert_verdict(SOUND, sums + bad, clip, first)


@pytest.mark.parametrize("dtype", marked_but(["float32"], DTYPES, "slow"))
@given(n=st.integers(1, 800), scale=SCALES, seed=SEEDS)
def test_descend_is_a_step_of_sgd_or_none(dtype: str, n: int, scale: float, seed: int) -> None:
    assert_descend(SOUND, dtype, n, scale, seed)


@pytest.mark.parametrize("dtype", marked_but(["float32"], DTYPES, "slow"))
@given(n=st.integers(1, 800), scale=SCALES, decay=st.sampled_from((0.0, 0.1)), seed=SEEDS)
def test_adam_is_a_step_of_adam_or_none(dtype: str, n: int, scale: float, decay: float, seed: int) -> None:
    assert_adam(SOUND, dtype, n, scale, decay, seed)


WRONG_UPDATES = {  # in updates.cu
    "squares of the first blocks only": ("k += i64(gridDim.x) * THREADS", "k += n"),
    "half of the threads' sums are left out": ("int half = THREADS / 2", "int half = THREADS / 4"),
    "infinity is a number": ("sum <= 1.7976931348623157e308", "sum == sum"),
    "a step that was stopped is forgotten at the next": ("!finite && *first == 0", "!finite"),
    "a small gradient is made larger": ("clip > 0 && *norm > clip", "clip > 0"),
    "the square of the norm": ("sqrt(sum)", "sum"),
    "a step that was stopped is taken": ("if (*scale >= 0) w[k]", "w[k]"),
    "gradients are kept": ("    g[k] = 0;", ""),
    "gradients are not clipped": ("g[k] * F(*scale)", "g[k]"),
    "the second moment of the first's beta": ("v[k] * F(beta2)", "v[k] * F(beta1)"),
    "eps stands below the root": ("(sqrt(v[k] * F(correction)) + F(eps))", "sqrt(v[k] * F(correction) + F(eps))"),
}


@pytest.mark.parametrize("fault", mostly_slow(WRONG_UPDATES))
def test_a_wrong_update_is_found(fault: str) -> None:
    source, (old, new) = (launch.FOLDER / "updates.cu").read_text(), WRONG_UPDATES[fault]
    assert old in source
    processor = Processor(source=source.replace(old, new))
    with pytest.raises(AssertionError):  # noqa: PT012 - one of them finds it
        assert_squares(processor, "float32", 1500, 2, 0)
        for sums in ([3.0] * 600, [np.nan], [np.inf]):
            for clip, first in ((0.5, 0), (1e9, 3)):
                assert_verdict(processor, sums, clip, first)
        for scale in (0.25, -1.0):
            assert_descend(processor, "float32", 300, scale, 0)
            assert_adam(processor, "float32", 300, scale, 0.1, 0)


# ---------------------------------------------------------------------- how arguments arrive

PROBE = """typedef long long i64;
__global__ void scaled(float* y, i64 n, float factor) {
    i64 k = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (k < n) y[k] *= factor;
}
"""


def test_a_python_float_for_a_float_parameter_is_read_wrong_and_launch_packs_it_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "probe.cu").write_text(PROBE)
    monkeypatch.setattr(launch, "FOLDER", tmp_path)
    monkeypatch.setitem(launch.KERNELS, "scaled", launch.declarations("probe.cu", PROBE)["scaled"])
    processor = Processor(source=PROBE)
    y = Fenced(np.ones(40, "f4"))
    launch.launch(processor, "scaled", {}, 2, 32, y=y.address, n=40, factor=0.1)
    assert (y.inside == np.float32(0.1)).all()
    y = Fenced(np.ones(40, "f4"))
    Module(processor, PROBE).get_function("scaled")((2,), (32,), (np.uint64(y.address), 40, 0.1))
    assert (y.inside == np.frombuffer(struct.pack("<d", 0.1)[:4], "f4")).all()
    assert not np.isclose(y.inside, 0.1).any()


# ---------------------------------------------------------------------- under sanitizers

B, H, LENGTHS, THREADS, N, BLOCKS = 4, 37, (2, 0, 1, 5), 32, 700, 3  # blocks and tiles that are not full
LDH, LD1, LDY = H + 3, H + 1, H + 2
NUMBERS = {
    "ldh": LDH, "ld1": LD1, "ldy": LDY, "t": 1, "H": H, "tiles": -(-H // THREADS), "n": N, "clip": 0.5, "step": 7,
    "rate": 0.1, "decay": 0.1, "shrink": 0.9, "beta1": 0.9, "beta2": 0.99, "correction": 1.1, "eps": 1e-8,
}  # fmt: skip


def entries(kernel: str, cell: str) -> dict[str, int]:
    """How many entries each array of a kernel has: exactly those that it may touch."""
    own, wide = B * H, B * H * (len(getattr(cells, cell).gates) if cell else 0)
    if not cell:
        sums = N if kernel == "verdict" else BLOCKS
        return {"g": N, "w": N, "m": N, "v": N, "sums": sums, "norm": 1, "scale": 1, "first": 1}
    gru, lstm = cell == "GRUCell", cell == "LSTMCell"
    sizes = {"G": wide, "Q": wide, "dp": wide, "dq": wide, "lengths": B, "back": own, "dh": own}
    sizes |= {"h": (B - 1) * LDH + H, "h1": (B - 1) * LD1 + H, "dy": (B - 1) * LDY + H}
    sizes |= {"v": H * gru, "u": own * gru}
    return sizes | dict.fromkeys(("c", "c1", "m", "dc"), own * lstm)


def executable(file: str, source: str, only: str = "") -> str:
    """A C++ program that runs each instance of a source, or of one of its kernels, once."""
    lines = ['#include "on_cpu.hpp"', source, "#include <cstdio>", "int main() {"]
    for kernel, name, types in on_cpu.instances(file):
        if only not in ("", kernel):
            continue
        sizes, arguments = entries(kernel, types["Cell"] if "scan" in file else ""), []
        lines.append("    {")
        for p in launch.KERNELS[kernel].parameters:
            kind = types.get(p.kind, p.kind)
            if not p.pointer:
                arguments.append(str(NUMBERS[p.name]))
            elif not sizes[p.name]:
                arguments.append(f"({kind}*)nullptr")
            else:
                values = ", ".join(map(str, LENGTHS)) if p.name == "lengths" else ""
                begin = f"{{{values}}}" if values else f"({sizes[p.name]}, {kind}(0.5))"
                lines.append(f"        std::vector<{kind}> {p.name}{begin};")
                arguments.append(f"{p.name}.data()")
        blocks, threads = (B * -(-H // THREADS), THREADS) if "scan" in file else (BLOCKS, 256)
        blocks = 1 if kernel == "verdict" else blocks
        # the lambda's copies are of pointers, taken before any thread begins
        pointers = [f"a{k} = {a}" for k, a in enumerate(arguments)]
        call = f"{name}({', '.join(f'a{k}' for k in range(len(arguments)))})"
        lines += [f"        on_cpu({blocks}, {threads}, [{', '.join(pointers)}] {{ {call}; }});", "    }"]
    return "\n".join([*lines, '    std::puts("all ran");', "}"])


def sanitized(folder: Path, sanitizer: str, file: str, source: str, only: str = "") -> tuple[int, str]:
    """(exit status, output) of that program under a sanitizer of g++'s."""
    (folder / "main.cpp").write_text(executable(file, source, only))
    command = ["g++", "-std=c++20", "-O0", "-g", "-pthread", "-Wall", "-Werror", f"-fsanitize={sanitizer}"]
    command += [f"-I{on_cpu.HERE}", f"-I{launch.FOLDER}", "main.cpp", "-o", "main"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    # where the kernel scatters memory more widely than the sanitizer expects, it is asked not to
    for prefix in ([], ["setarch", platform.machine(), "-R"]):
        ran = subprocess.run([*prefix, "./main"], cwd=folder, capture_output=True, text=True, check=False, timeout=300)
        if "unexpected memory mapping" not in ran.stderr and "failed to map" not in ran.stderr.lower():
            break
    return ran.returncode, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("sanitizer", "file"),
    [
        ("thread", "updates.cu"),
        *(
            pytest.param(*pair, marks=pytest.mark.slow)
            for pair in (("thread", "scan.cu"), ("address", "scan.cu"), ("address", "updates.cu"))
        ),
    ],
)
def test_no_race_and_nothing_outside_the_arrays(file: str, sanitizer: str, tmp_path: Path) -> None:
    status, output = sanitized(tmp_path, sanitizer, file, (launch.FOLDER / file).read_text())
    assert (status, output) == (0, "all ran\n")


def replaced(text: str, old: str, new: str) -> Iterator[str]:
    """``text`` with one occurrence of ``old`` replaced, for each."""
    pieces = text.split(old)
    for k in range(1, len(pieces)):
        yield old.join(pieces[:k]) + new + old.join(pieces[k:])


UPDATES, SCAN = ((launch.FOLDER / file).read_text() for file in ("updates.cu", "scan.cu"))
WITHOUT_A_BARRIER = list(replaced(UPDATES, "__syncthreads();", ";"))
OVERFLOWS = {
    f"{file} {kernel}: {new}": (file, kernel, source)
    for file, text, old, new, kernels in (
        ("scan.cu", SCAN, "if (j >= H) return;", "if (j > H) return;", ("step", "unstep")),
        ("updates.cu", UPDATES, "k < n;", "k <= n;", ("squares", "verdict")),
        ("updates.cu", UPDATES, "if (k >= n) return;", "if (k > n) return;", ("descend", "adam")),
    )
    for kernel, source in zip(kernels, replaced(text, old, new), strict=True)
}


def test_every_barrier_has_its_fault() -> None:
    assert len(WITHOUT_A_BARRIER) == (UPDATES + SCAN).count("__syncthreads()") >= 2


@pytest.mark.parametrize("k", mostly_slow(range(len(WITHOUT_A_BARRIER))))
def test_a_barrier_left_out_is_a_data_race(k: int, tmp_path: Path) -> None:
    status, output = sanitized(tmp_path, "thread", "updates.cu", WITHOUT_A_BARRIER[k], "squares")
    assert status
    assert "ThreadSanitizer: data race" in output


@pytest.mark.parametrize("fault", mostly_slow(OVERFLOWS))
def test_one_entry_too_many_is_found(fault: str, tmp_path: Path) -> None:
    file, kernel, source = OVERFLOWS[fault]
    status, output = sanitized(tmp_path, "address", file, source, kernel)
    assert status
    assert "heap-buffer-overflow" in output
