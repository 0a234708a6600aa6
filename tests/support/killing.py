"""``python tests/support/killing.py [--times 50]``: a training run, killed again and again, and what becomes of it.

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
STEPS_A_KILL = 100
TRAIN = [sys.executable, "-c", "import sys; from minirnn.cli.app import main; main()", "train"]
KILLED = -9  # the exit status of what SIGKILL has ended


@dataclass
class Outcome:
    """How often a run was killed, after which steps it went on, and whether it ended as the other one."""

    kills: int
    resumed: list[int]
    same: bool


def command(folder: Path, text: Path, steps: int, *more: str) -> list[str]:
    sizes = "--hidden-size 24 --embedding-size 8 --batch-size 4 --num-steps 12 --num-layers 2 --dropout 0.2 --cell lstm"
    kept = f"--every 7 --keep 2 --steps {steps} --checkpoint {folder} --out {folder}.safetensors"
    return [*TRAIN, str(text), *sizes.split(), *kept.split(), *more]


def again(folder: Path) -> list[str]:
    return [*TRAIN, "--checkpoint", str(folder), "--resume"]


def started(words: list[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)


def check(process: "subprocess.Popen[bytes]") -> None:
    """Wait for a run; RuntimeError where it ended neither well nor by SIGKILL."""
    _, errors = process.communicate()
    if process.returncode not in (0, KILLED):
        raise RuntimeError(f"a run failed: {errors.decode()[-2000:]}")


def newest(folder: Path) -> int:
    """The step of the newest checkpoint, 0 where there is none."""
    return max((int(path.stem.partition("-")[2]) for path in folder.glob("step-*.checkpoint")), default=0)


def killed(times: int, seed: int, work: Path) -> Outcome:
    """Compare a run that was left alone with one that was killed so many times."""
    text, calm, rough = work / "text.txt", work / "calm", work / "rough"
    text.write_text(TEXT, encoding="utf-8")
    steps, rng = STEPS_A_KILL * (times + 1), Random(seed)  # noqa: S311 - no secret
    with started(command(calm, text, steps)) as process:
        check(process)
    kills, resumed = 0, []
    while True:
        begun = (rough / "run.json").exists()  # from there on the run itself knows its text and its options
        with started(again(rough) if begun else command(rough, text, steps, "--resume")) as process:
            if kills < times:
                # while it starts, or so many steps on, which is on the whole half of the way
                latest = time.perf_counter() + (rng.uniform(0, 1) if kills % 4 == 3 else 600)
                enough = newest(rough) + rng.randrange(1, STEPS_A_KILL)
                while process.poll() is None and time.perf_counter() < latest and newest(rough) < enough:
                    time.sleep(0.001)
                time.sleep(rng.uniform(0, 0.01))  # in the middle of whatever comes then
                process.kill()
                kills += process.wait() == KILLED
            check(process)
        if process.returncode == 0:
            break
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
