"""``minirnn check`` and ``minirnn info``: gradients, versions and kernels on this machine."""

import json
import os
import platform
import sys
import time
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import click
import numpy as np
from rich.box import SIMPLE
from rich.table import Column, Table

from minirnn.cli.shared import backend_option, one_sentence
from minirnn.cli.terminal import console, output
from minirnn.core.backend import BACKENDS, BFLOAT16, ROUNDING, devices, get_backend
from minirnn.core.files import Json
from minirnn.core.protocol import name_of
from minirnn.core.version import VERSION
from minirnn.recurrent.networks import GRU, LSTM, RNN


@click.command()
@click.argument("cell", required=False, metavar="[FILE.py:CELL]")
@click.option("--max-layers", type=click.IntRange(1), default=3, show_default=True, help="Largest depth to check.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@backend_option
@click.option("--prove", "by_proof", is_flag=True, help="Prove the gradients for all real numbers instead.")
@click.option("--json", "as_json", is_flag=True)
@one_sentence
def check(cell: str | None, max_layers: int, seed: int, backend: str, by_proof: bool, as_json: bool) -> None:  # noqa: FBT001 - click passes options by name
    """Check the gradients of every cell, depth and direction on this machine and print the largest errors.

    With FILE.py:CELL, check a cell of your own, a class with step and unstep: report what is wrong, at which gate, and
    by what pattern.

    With --prove, decide by exact arithmetic whether unstep is the transpose of step, and the backward pass over time
    the chain rule's, for all real numbers at once; name the term that is wrong.
    """
    if by_proof:
        prove_cells(cell, seed, as_json=as_json)
        return
    if cell:
        check_own(cell, seed, as_json=as_json)
        return
    from minirnn.testing.selfcheck import METHODS, check_everything

    headings = ("cell", "layers", "directions", "lengths", *METHODS)
    table = Table(
        *(Column(heading, min_width=max(map(len, heading.split()))) for heading in headings),
        box=SIMPLE,  # lines between columns would cut headings at 80 columns
        title="largest |gradient - derivative| / max(1, |derivative|)",
    )
    records, failed = [], 0
    with console.status("checking"):
        for result in check_everything(max_layers, seed, backend):
            records.append(result.record())
            failed += not result.ok
            table.add_row(*result.words(), style=None if result.ok else "bold red")
    if as_json:
        click.echo(json.dumps({"ok": not failed, "checks": records}))
    else:
        output.print(table)
        click.echo(f"{len(records)} layers checked, {failed} wrong")
    if failed:
        sys.exit(1)


def prove_cells(place: str | None, seed: int, *, as_json: bool) -> None:
    """Prove the gradients of a reader's cell, or of all of minirnn's; exit code 1 if one is refuted."""
    from minirnn.testing.own import cell_from
    from minirnn.testing.proof import CELLS, prove

    proofs = []
    for cell in [cell_from(place)] if place else CELLS:
        try:
            with console.status(f"proving {name_of(cell)}"):
                proofs.append(prove(cell, seed=seed, raises=False))
        except TypeError as error:
            raise ValueError(str(error)) from None
        if not as_json:
            click.echo(str(proofs[-1]))
    ok = all(proof.ok for proof in proofs)
    if as_json:
        click.echo(json.dumps({"ok": ok, "proofs": [proof.record() for proof in proofs]}))
    if not ok:
        sys.exit(1)


def check_own(place: str, seed: int, *, as_json: bool) -> None:
    """Check a reader's cell and print the verdict; exit code 1 if the cell is wrong."""
    from minirnn.testing.own import cell_from, examine

    try:
        with console.status(f"checking {place}") as status:

            def progress(doing: str, done: int, of: int) -> None:
                status.update(f"checking {place}: {doing}" + (f", {done} of {of}" if of > 1 else ""))

            verdict = examine(cell_from(place), seed=seed, progress=progress)
    except TypeError as error:
        raise ValueError(str(error)) from None
    report = verdict.report
    if as_json:
        record = {
            "cell": verdict.name,
            "ok": verdict.ok,
            "findings": [asdict(finding) for finding in verdict.findings],
            "smallest": verdict.smallest,
            "notes": verdict.notes,
            "right": verdict.right,
            "errors": {row.method: report.error(row.method) for row in report.rows} if report else {},
        }
        click.echo(json.dumps(record))
    else:
        click.echo(str(verdict))
    if not verdict.ok:
        sys.exit(1)


@click.command()
@click.option("--json", "as_json", is_flag=True)
@one_sentence
def info(as_json: bool) -> None:  # noqa: FBT001 - click passes options by name
    """Print versions, backends and threads; compile the kernels and print how long each cell's took."""
    record = {
        "minirnn": VERSION,
        "python": platform.python_version(),
        "numpy": np.__version__,
        **{name: _version(name) for name in ("click", "rich", "safetensors", "numba")},
        "backends": {name: list(backend.dtypes) for name, backend in BACKENDS.items()},
        "compute": {BFLOAT16: list(ROUNDING)},
        "auto": get_backend("auto").name,
        "blas": _blas(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": {
            k: os.environ[k] for k in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS") if k in os.environ
        },
    }
    record |= _devices()
    if find_spec("numba"):
        with console.status("compiling kernels"):
            record |= _kernels()
    if as_json:
        click.echo(json.dumps(record))
        return
    for name, value in record.items():
        click.echo(f"{name:12} {_words(value) or 'as the libraries choose'}")


def _devices() -> Json:
    """CuPy's version and the devices it can use, or why it can use none."""
    if not find_spec("cupy"):
        return {"cupy": "not installed"}
    import cupy

    usable = devices()
    names = [
        cupy.cuda.runtime.getDeviceProperties(k)["name"].decode()
        for k in range(usable if isinstance(usable, int) else 0)
    ]
    return {"cupy": cupy.__version__, "devices": names or f"no CUDA device: {usable}"}


def _kernels() -> Json:
    """The processor that kernels are compiled for, their place, and the seconds until each cell's were ready."""
    from minirnn.kernels.cpu.runtime import describe

    seconds: dict[str, float] = {}
    for name, layer in {
        "rnn": RNN(1, 1),
        "relu": RNN(1, 1, nonlinearity="relu"),
        "gru": GRU(1, 1),
        "lstm": LSTM(1, 1),
    }.items():
        begun = time.perf_counter()
        layer.init(backend="numba")
        y, _, backward = layer.forward(np.zeros((1, 1, 1), np.float32))
        backward(y)
        layer(y)
        seconds[name] = round(time.perf_counter() - begun, 2)
    return describe() | {
        "seconds until kernels were ready": seconds,
        "other cells": "as soon as they are first run; repr(model) says which have no kernels",
    }


def _words(value: object) -> str:
    """A value of ``info`` for a person: ``numpy (float32, float64, complex128)``, ``OMP_NUM_THREADS=2``."""
    if isinstance(value, list):
        return ", ".join(value)
    if isinstance(value, dict):
        return "; ".join(f"{k} ({', '.join(v)})" if isinstance(v, list) else f"{k}={v}" for k, v in value.items())
    return str(value)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _blas() -> str:
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()
