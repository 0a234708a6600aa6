"""The same files by two compilers, bit for bit, and on processors that this machine only imitates."""

import shutil
from pathlib import Path

import compilers
import numpy as np
import pytest
from source_models import drawn, expected, tolerance

from minirnn.formats import sources

pytestmark = pytest.mark.long  # clang, cross compilers, qemu

MODELS, ELSEWHERE = 100, 12
EXACT = ("-O2", "-ffp-contract=off")
PROCESSORS = {"arm": "arm-linux-gnueabihf", "riscv64": "riscv64-linux-gnu"}


@pytest.mark.parametrize("seed", range(1000, 1000 + MODELS))
def test_gcc_and_clang_make_the_same_bits_of_it(seed: int, tmp_path: Path) -> None:
    case = drawn(seed)
    answers = []
    for compiler in ("gcc", "clang"):
        clean = [("-O1", *compilers.SANITIZERS)] if (compiler == "gcc") is (seed % 2 == 0) else []
        for flags in (EXACT, *clean):
            path = tmp_path / f"{compiler}{len(flags)}" / "network.c"
            path.parent.mkdir()
            sources.save(case.model, path, steps=case.steps)
            answers += compilers.run(compilers.compiled(path, compiler=compiler, flags=flags), case.x)
    y = answers[0]
    assert y is not None
    np.testing.assert_allclose(y, expected(case), rtol=0, atol=tolerance(case))
    for other in answers[1:]:
        assert other is not None
        assert y.tobytes() == other.tobytes()


@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize("seed", range(2000, 2000 + ELSEWHERE))
def test_other_processors_give_the_same_numbers(seed: int, processor: str, tmp_path: Path) -> None:
    case, triple = drawn(seed), PROCESSORS[processor]
    sources.save(case.model, tmp_path / "network.c", steps=case.steps)
    program = compilers.compiled(tmp_path / "network.c", compiler=f"{triple}-gcc", flags=("-O2", "-static"))
    emulator = shutil.which(f"qemu-{processor}") or compilers.needed(f"qemu-{processor}-static")
    (y,) = compilers.run(program, case.x, emulator=[emulator])
    assert y is not None
    np.testing.assert_allclose(y, expected(case), rtol=0, atol=tolerance(case))
