"""Ranks without MPI: threads of one process, and a communicator that does as mpi4py's does, as far as it is used."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from minirnn.training.ranks import Ranks

Result = TypeVar("Result")
PATIENCE = 60  # seconds until a rank that nobody joins gives up


class Communicator:
    """What one rank holds of a meeting; with ``device_arrays``, sums may be of arrays on a device."""

    def __init__(self, rank: int, table: list[Any], barrier: threading.Barrier, *, device_arrays: bool) -> None:
        self.rank, self.table, self.barrier, self.device_arrays = rank, table, barrier, device_arrays
        self.sums: list[int] = []  # entries of each sum that was taken

    def Get_rank(self) -> int:
        return self.rank

    def Get_size(self) -> int:
        return len(self.table)

    def allgather(self, value: Any) -> list[Any]:
        self.table[self.rank] = value
        self.barrier.wait(PATIENCE)
        found = list(self.table)
        self.barrier.wait(PATIENCE)
        return found

    def bcast(self, value: Any, root: int) -> Any:
        return self.allgather(value)[root]

    def Allgather(self, sent: Any, found: Any) -> None:
        assert found.shape == (len(self.table) * sent.size,)
        assert found.dtype == sent.dtype
        found[...] = np.concatenate(self.allgather(sent.copy()))

    def Allreduce(self, sent: Any, found: Any) -> None:
        """The sum, in the order of ranks, in place: the only one that is used."""
        assert sent is None
        assert found.flags.c_contiguous
        assert isinstance(found, np.ndarray) or self.device_arrays, "this MPI takes no arrays on a device"
        self.sums.append(found.size)
        parts = self.allgather(found.copy())
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        found[...] = total


def together(size: int, work: Callable[[Ranks], Result], *, device_arrays: bool = False) -> list[Result]:
    """What ``work`` returns on each of so many ranks; the error of one that fails, which ends the others."""
    barrier, table = threading.Barrier(size), [None] * size
    results: list[Any] = [None] * size
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            comm = Communicator(rank, table, barrier, device_arrays=device_arrays)
            results[rank] = work(Ranks(comm, device_arrays=device_arrays))
        except threading.BrokenBarrierError:
            pass  # another one's error is on record
        except BaseException as error:  # noqa: BLE001 - raised below, in the thread that asked
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results
