"""minirnn on a GPU beside torch's cuDNN: ``python -m benchmarks.gpu``, with the extras ``bench`` and ``cuda13``.

torch has to be a build with CUDA.  All compute in float32 (TF32 is off), in one process, in turn; every call is waited
for.  What is compared first is what agrees with minirnn's plain equations in float64.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.agreement import bound, compare
from benchmarks.cases import CELLS, GATES, GRID, Case, select
from benchmarks.inputs import Arrays, draw
from benchmarks.peers import REFERENCE, Job, build
from benchmarks.peers.own import LAYERS, by_name
from minirnn.core.backend import BACKENDS, check_device

SHAPES = [(128, 64, 512, 512), (64, 128, 1024, 1024), (64, 128, 2048, 2048)]  # larger: T, B, D, H
LARGER = [Case(kind, cell, *sizes) for kind, cell, sizes in product(("training", "inference"), CELLS, SHAPES)]
CASES = [case for case in GRID if case.kind in ("training", "inference")] + LARGER
SAMPLE = 0.05  # seconds of a sample


def ours(backend: str, case: Case, arrays: Arrays) -> Job:
    """minirnn on one of its backends for a GPU."""
    there = BACKENDS[backend]
    a = {name: there.xp.asarray(value) for name, value in arrays.items()}
    model = LAYERS[case.cell](case.D, case.H, case.layers, bidirectional=case.bidirectional).init(backend=backend)
    weights = model.named_weights()
    for name in weights:
        weights[name] = a[name]

    def run() -> tuple[Any, Any, Any]:
        if case.kind == "inference":
            return *model(a["x"]), None
        model.zero_grads()
        y, state, backward = model.forward(a["x"])
        dx, _ = backward(a["dy"])
        return y, state, dx

    def call() -> None:
        run()
        there.xp.cuda.Device().synchronize()

    def outputs() -> Arrays:
        y, state, dx = run()
        found = {"y": y} | by_name(state)
        if dx is not None:
            found |= {"dx": dx} | {f"d{name}": gradient for name, gradient in model.named_grads().items()}
        return {name: there.host(array) for name, array in found.items()}

    return Job(call, outputs)


def theirs(case: Case, arrays: Arrays) -> Job:
    """torch's layer, which cuDNN computes."""
    import torch

    from benchmarks.peers.pytorch import gradients, layer_of

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    module = layer_of(case, arrays).cuda().train(case.kind == "training")
    module.flatten_parameters()
    x = torch.from_numpy(arrays["x"]).cuda().requires_grad_(case.kind == "training")
    dy = torch.from_numpy(arrays["dy"]).cuda() if case.kind == "training" else None

    def run() -> tuple[Any, Any]:
        if dy is None:
            with torch.inference_mode():
                found: tuple[Any, Any] = module(x)
                return found
        module.zero_grad(set_to_none=True)
        x.grad = None
        y, state = module(x)
        y.backward(dy)
        return y, state

    def call() -> None:
        run()
        torch.cuda.synchronize()

    def outputs() -> Arrays:
        y, state = run()
        values: dict[str, Any] = {"y": y} | by_name(state)
        found = {name: value.detach().cpu().numpy() for name, value in values.items()}
        if dy is not None:
            assert x.grad is not None
            found["dx"] = x.grad.cpu().numpy()
            found |= gradients(module, case)
        return found

    return Job(call, outputs)


def traffic(case: Case) -> int:
    """Bytes that a call moves at least, float32: input, output, weights and gates once; in training the same back."""
    width, entries = case.D, 0
    for _ in range(case.layers):
        N = case.directions * GATES[case.cell] * case.H
        entries += case.tokens * (width + N + case.H * case.directions) + (width + case.H) * N
        width = case.H * case.directions
    return 4 * entries * (2 if case.kind == "training" else 1)


def seconds(call: Callable[[], object], repeats: int) -> float:
    """The mean of some calls."""
    begun = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - begun) / repeats


def peaks(xp: Any) -> tuple[float, float]:
    """What the device reaches in a large product, FLOP/s, and in a copy, bytes/s."""
    n, size = 4096, 1 << 26
    a, b, out = (xp.ones((n, n), "float32") for _ in range(3))
    source, target = (xp.ones(size, "float32") for _ in range(2))
    wait: Callable[[], None] = xp.cuda.Device().synchronize

    def product_of() -> None:
        xp.matmul(a, b, out=out)
        wait()

    def copy() -> None:
        target[...] = source
        wait()

    for call in (product_of, copy):
        call()
    return 2 * n**3 / min(seconds(product_of, 5) for _ in range(5)), 8 * size / min(seconds(copy, 5) for _ in range(5))


def measure(case: Case, rounds: int, limits: tuple[float, float]) -> dict[str, Any]:
    """The medians of everyone who agrees, in seconds, and the time that the device would need at its limits."""
    arrays = draw(case)
    wanted = build(REFERENCE, 1).prepare(case, arrays).outputs()
    found: dict[str, Any] = {"case": asdict(case), "limit": max(case.flops / limits[0], traffic(case) / limits[1])}
    jobs: dict[str, tuple[Callable[[], object], int]] = {}
    for name in ("cuda", "cupy", "torch"):
        job = theirs(case, arrays) if name == "torch" else ours(name, case, arrays)
        error, where = compare(job.outputs(), wanted)
        if not error <= bound(case):
            found[name] = f"{where} is off by {error:.1e}"
            continue
        seconds(job.call, 2)
        jobs[name] = job.call, max(1, round(SAMPLE / seconds(job.call, 2)))
    samples: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, (call, repeats) in jobs.items():
            samples[name].append(seconds(call, repeats))
    return found | {name: median(times) for name, times in samples.items()}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--kind", "kinds", multiple=True, type=click.Choice(["training", "inference"]))
@click.option("--cell", "cells", multiple=True, type=click.Choice(CELLS))
@click.option("--match", default="", help="Only cases with this in their name.")
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write all of it.")
def main(kinds: tuple[str, ...], cells: tuple[str, ...], match: str, rounds: int, file: Path | None) -> None:
    """Time minirnn on a GPU beside torch's cuDNN, and beside what the device could do."""
    os.environ.pop("CUPY_TF32", None)
    try:
        check_device("cuda")
        import torch

        if not torch.cuda.is_available():
            raise RuntimeError(f"torch {torch.__version__} is not built for CUDA, or finds no device")
    except (ImportError, RuntimeError) as error:
        click.echo(f"benchmarks.gpu: {error}", err=True)
        sys.exit(2)
    xp, cudnn = BACKENDS["cuda"].xp, vars(torch.backends)["cudnn"]
    device, limits = xp.cuda.runtime.getDeviceProperties(0)["name"].decode(), peaks(xp)
    versions = f"CuPy {xp.__version__}, torch {torch.__version__}, cuDNN {cudnn.version()}"
    title = f"{device}, {limits[0] / 1e12:.1f} TFLOP/s, {limits[1] / 1e9:.0f} GB/s; {versions}"
    table = Table("case", "cuda", "cupy", "torch", "torch / cuda", "limit / cuda", title=title)
    rows = []
    for case in select(CASES, kinds, cells, match):
        row = measure(case, rounds, limits)
        rows.append(row)
        words = [f"{row[n] * 1e6:,.0f} µs" if isinstance(row[n], float) else row[n] for n in ("cuda", "cupy", "torch")]
        times = [row[n] if isinstance(row[n], float) else np.nan for n in ("cuda", "torch")]
        table.add_row(case.name, *words, f"{times[1] / times[0]:.2f}", f"{100 * row['limit'] / times[0]:.0f} %")
    Console().print(table)
    if file:
        file.write_text(json.dumps({"device": device, "versions": versions, "limits": limits, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
