"""Cells as a reader might write them: three states, functions of every kind, stages, peepholes."""

from typing import Any

import numpy as np


class ThreeStates:
    """A cell of three states, with a kink, exp and a limit: all that kernels have."""

    state = ("h", "c", "d")
    gates = ("a", "b")
    units = ("w",)
    saves = ("c", "d", "e", "b", "p", "w1")

    @staticmethod
    def step(p: Any, q: Any, state: Any, w: Any) -> Any:
        h, c, d = state
        p, b = np.split(p + q, 2, axis=-1)
        e = np.exp(-np.clip(p * p, -1, 3))
        w1 = w * d
        c1 = 0.5 * c * e + np.where(b <= 0, 0.25 * b, b)
        d1 = 0.5 * d + w1 * c
        return (np.sqrt(c1 * c1 + 1) - d1 + 0 * h, c1, d1), (c, d, e, b, p, w1)

    @staticmethod
    def unstep(dstate: Any, saved: Any, w: Any) -> Any:
        dh1, dc1, dd1 = dstate
        c, d, e, b, p, w1 = saved
        c1 = 0.5 * c * e + np.where(b <= 0, 0.25 * b, b)
        dd1 = dd1 - dh1
        dc1 = dc1 + dh1 * c1 / np.sqrt(c1 * c1 + 1)
        db = np.where(b <= 0, 0.25 * dc1, dc1)
        dp = np.where(p * p <= 3, -2 * p * e * 0.5 * c * dc1, 0 * p)
        da = np.concatenate([dp, db], axis=-1)
        return da, da, (0 * dh1, 0.5 * e * dc1 + w1 * dd1, 0.5 * dd1 + w * c * dd1), d * c * dd1


class _Gather:
    """First stage of ``Staged``: two gates, a peephole, three states that go on, one of them changed already."""

    gates = ("a", "b")
    units = ("w",)
    saves = ("a", "b", "c")

    @staticmethod
    def step(p: Any, q: Any, state: Any, w: Any) -> Any:
        h, c, d = state
        a, b = np.split(p + q, 2, axis=-1)
        a, b = np.tanh(a + w * c), np.tanh(b)
        return (a * c + b, h, c, d, 0.5 * d + a * b), (a, b, c)

    @staticmethod
    def unstep(dstate: Any, saved: Any, w: Any) -> Any:
        dx, dh, dc, dd, dd1 = dstate
        a, b, c = saved
        da, db = dx * c + dd1 * b, dx + dd1 * a
        da, db = da * (1 - a * a), db * (1 - b * b)
        dp = np.concatenate([da, db], axis=-1)
        return dp, dp, (dh, dc + dx * a + da * w, dd + 0.5 * dd1), da * c


class _Spread:
    """Its second: one gate, and the states that the first has passed on."""

    gates = ("e",)
    units = ("v",)
    saves = ("e", "h", "c")

    @staticmethod
    def step(p: Any, q: Any, state: Any, v: Any) -> Any:
        _, h, c, d, d1 = state
        e = np.tanh(p + q + v * h)
        return (e * c + 0.5 * h + 0.25 * d, 0.25 * c + e, d1), (e, h, c)

    @staticmethod
    def unstep(dstate: Any, saved: Any, v: Any) -> Any:
        dh1, dc1, dd1 = dstate
        e, h, c = saved
        de = (dh1 * c + dc1) * (1 - e * e)
        return de, de, (None, 0.5 * dh1 + de * v, dh1 * e + 0.25 * dc1, 0.25 * dh1, dd1), de * h


class Staged:
    """A cell of two stages with peepholes and three states."""

    state = ("h", "c", "d")
    stages = (_Gather, _Spread)


class Reduced:
    """A cell that looks at whole rows, for their sum, largest and smallest number, and at q by itself."""

    state = ("h",)
    gates = ("a",)
    saves = ("s", "n", "q", "low")

    @staticmethod
    def step(p: Any, q: Any, state: Any) -> Any:
        (h,) = state
        e = np.exp(p - p.max(-1, keepdims=True))
        s, low = e / e.sum(-1, keepdims=True), q.min(-1, keepdims=True)
        n = np.tanh(q - low)
        return (s * n + 0.5 * h,), (s, n, q, low)

    @staticmethod
    def unstep(dstate: Any, saved: Any) -> Any:
        (dh1,) = dstate
        s, n, q, low = saved
        ds, da = dh1 * n, dh1 * s * (1 - n * n)
        dp = s * (ds - (ds * s).sum(-1, keepdims=True))
        return dp, da - np.where(q <= low, da.sum(-1, keepdims=True), 0.0), (0.5 * dh1,)


class _Open:
    """First stage of ``Biased``: two gates, of which the first's product has a bias, and a mean of its own."""

    gates = ("a", "b")
    recurrent_bias = ("a",)
    units = ("w",)
    saves = ("a", "b", "h")

    @staticmethod
    def step(p: Any, q: Any, state: Any, w: Any) -> Any:
        (h,) = state
        a, b = np.split(p + q, 2, axis=-1)
        a = np.tanh(a - a.mean(-1, keepdims=True) + w * h)
        return (a * h, b, h), (a, b, h)

    @staticmethod
    def unstep(dstate: Any, saved: Any, w: Any) -> Any:
        dx, db, dh = dstate
        a, _, h = saved
        dn = dx * h * (1 - a * a)
        da = dn - dn.mean(-1, keepdims=True)
        d = np.concatenate([da, db], axis=-1)
        return d, d, (dh + dx * a + dn * w,), dn * h


class _Shut:
    """Its second: one gate, whose product has a bias too."""

    gates = ("e",)
    recurrent_bias = ("e",)
    saves = ("e", "b")

    @staticmethod
    def step(p: Any, q: Any, state: Any) -> Any:
        _, b, h = state
        e = np.tanh(p + q)
        return (e * b + 0.5 * h,), (e, b)

    @staticmethod
    def unstep(dstate: Any, saved: Any) -> Any:
        (dh1,) = dstate
        e, b = saved
        de = dh1 * b * (1 - e * e)
        return de, de, (None, dh1 * e, 0.5 * dh1)


class Biased:
    """A cell of two stages that both have a bias of their product."""

    state = ("h",)
    stages = (_Open, _Shut)
