"""``python tests/killing.py [--times 50]``: a training run that is killed again and again, and what becomes of it.

A run of ``minirnn train --checkpoint`` is left alone.  The same run is then killed with SIGKILL at random instants, as
it starts, trains, evaluates or writes, and resumed each time, until it has ended.  Both must end in the same weights,
bit for bit, and both must have the same best model.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from safetensors.numpy import load_file

TEXT = "the quick brown fox jumps over the lazy dog, and nobody knows why it was the fox.\n" * 40
STEPS_A_KILL = 300


@dataclass
class Outcome:
    """How often a run was killed, after which steps it went on, and whether it ended as the other one."""

    kills: int
    resumed: list[int]
    same: bool


def command(folder: Path, text: Path, steps: int, *more: str) -> list[str]:
    sizes = "--hidden-size 24 --embedding-size 8 --batch-size 4 --num-steps 12 --num-layers 2 --dropout 0.2 --cell lstm"
    kept = f"--every 7 --keep 2 --steps {steps} --checkpoint {folder} --out {folder}.safetensors"
    run = [sys.executable, "-c", "import sys; from minirnn.cli import main; main()", "train", str(text)]
    return [*run, *sizes.split(), *kept.split(), *more]


def newest(folder: Path) -> int:
    """The step of the newest checkpoint, 0 where there is none."""
    return max((int(path.stem.partition("-")[2]) for path in folder.glob("step-*.checkpoint")), default=0)


def killed(times: int, seed: int, work: Path) -> Outcome:
    """Compare a run that was left alone with one that was killed so many times."""
    text, calm, rough = work / "text.txt", work / "calm", work / "rough"
    text.write_text(TEXT, encoding="utf-8")
    steps, rng = STEPS_A_KILL * times, Random(seed)  # noqa: S311 - no secret
    begun, first = time.perf_counter(), 0.0
    with subprocess.Popen(command(calm, text, steps), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        while not newest(calm) and process.poll() is None:
            time.sleep(0.01)
        first = time.perf_counter() - begun  # until kernels are loaded and a checkpoint is there
        _, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the run that was left alone failed: {errors.decode()[-2000:]}")
    between = (time.perf_counter() - begun - first) / times
    kills, resumed = 0, []
    while True:
        with subprocess.Popen(
            command(rough, text, steps, "--resume"), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        ) as process:
            if kills < times:
                wait = rng.uniform(0, first) if kills % 4 == 3 else rng.uniform(first, first + between / 4)
                try:
                    process.wait(wait)
                except subprocess.TimeoutExpired:
                    process.kill()
                    kills += 1
            _, errors = process.communicate()
        if process.returncode == 0:
            break
        if process.returncode != -9:
            raise RuntimeError(f"a run that was resumed failed: {errors.decode()[-2000:]}")
        resumed.append(newest(rough))
    pairs = (
        (work / "calm.safetensors", work / "rough.safetensors"),
        (calm / "best.safetensors", rough / "best.safetensors"),
    )
    return Outcome(kills, resumed, all(same(*pair) for pair in pairs))


def same(one: Path, other: Path) -> bool:
    """Whether two files hold the same weights, bit for bit."""
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as work:
        outcome = killed(chosen.times, chosen.seed, Path(work))
    print(f"killed {outcome.kills} times, going on after steps {outcome.resumed}")
    print("the same weights, bit for bit" if outcome.same else "OTHER WEIGHTS than those of a run left alone")
    return 0 if outcome.same else 1


if __name__ == "__main__":
    sys.exit(main())
