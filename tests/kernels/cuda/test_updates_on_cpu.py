"""The optimisers' CUDA source, run on a processor: the numbers of NumPy, nothing outside the arrays, planted faults."""

import struct
from collections.abc import Mapping

import numpy as np
import on_cpu
import pytest
from hypothesis import given
from hypothesis import strategies as st
from processor import SOUND, Fenced, Module, Processor
from tiers import marked_but, mostly_slow

from minirnn.kernels.cuda import launch
from minirnn.kernels.cuda.launch import Source

DTYPES = ("float32", "float64")
UPDATES = on_cpu.sources()["updates"]


def update(
    processor: Processor, kernel: str, dtype: str, blocks: int, arrays: Mapping[str, Fenced], **numbers: float
) -> None:
    types = launch.types_of(np.dtype(dtype)) if dtype else {}
    addresses = {name: a.address for name, a in arrays.items()}
    launch.launch(processor, UPDATES, kernel, types, blocks, 256, **addresses, **numbers)
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
    assert WRONG_UPDATES[fault][0] in UPDATES.code
    processor = Processor(*WRONG_UPDATES[fault])
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


def test_a_python_float_for_a_float_parameter_is_read_wrong_and_launch_packs_it_right() -> None:
    y, probe = Fenced(np.ones(40, "f4")), Source.of("probe", PROBE)
    launch.launch(SOUND, probe, "scaled", {}, 2, 32, y=y.address, n=40, factor=0.1)
    assert (y.inside == np.float32(0.1)).all()
    y = Fenced(np.ones(40, "f4"))
    Module(PROBE).get_function("scaled")((2,), (32,), (np.uint64(y.address), 40, 0.1))
    assert (y.inside == np.frombuffer(struct.pack("<d", 0.1)[:4], "f4")).all()
    assert not np.isclose(y.inside, 0.1).any()
