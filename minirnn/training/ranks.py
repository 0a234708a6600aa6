"""Data-parallel training over several processes (MPI).

Every process, a rank, has the whole model and computes some rows of every batch.  Its gradients are a part of the
batch's; summed over all ranks, as one flat vector, they are the batch's on each, and all take the same step::

    mpiexec -n 2 minirnn train

``world()`` has the ranks that mpiexec started, ``Ranks()`` a process alone.  mpi4py (extra ``mpi``) is imported only
where mpiexec started this process, or where something else has imported it already.
"""

import ctypes
import os
import platform
import sys
from importlib import import_module
from typing import Any

import numpy as np

from minirnn.core.backend import Backend
from minirnn.core.parameters import Parameters
from minirnn.kernels.cpu.threads import asked_for, processors, set_num_threads

STARTED = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_RANK")  # what mpiexec, of whichever MPI, tells a process
SIZES = STARTED[:2]


class Ranks:
    """The processes that train together, ``size`` of them, of which this one is ``rank``, from 0.

    ``comm`` is a communicator of mpi4py's; without one, this process is alone.  ``device_arrays`` says whether its MPI
    takes arrays that are on a GPU; else they are copied to the host and back.  What says that it is called by every
    rank waits until every rank has called it.
    """

    def __init__(self, comm: Any = None, *, device_arrays: bool = False) -> None:
        self.rank, self.size = (0, 1) if comm is None else (int(comm.Get_rank()), int(comm.Get_size()))
        self._comm, self._device_arrays = comm, device_arrays

    def rows(self, batch_size: int) -> slice:
        """The rows of a batch that this rank computes; where they do not divide evenly, some ranks have one more."""
        if batch_size < self.size:
            raise ValueError(
                f"batch_size must be at least {self.size}, the number of ranks, each of which takes a row or more; "
                f"got {batch_size}"
            )
        return slice(batch_size * self.rank // self.size, batch_size * (self.rank + 1) // self.size)

    def add_up(self, parameters: Parameters, loss: Any) -> Any:
        """Sum the gradients of all ranks, in place, and the loss, which is returned.  Called by every rank.

        Gradients are added in their own dtype, in an order that depends on nothing but the number of ranks and where
        they run; losses in float64.
        """
        if self.size == 1:
            return loss
        backend, grads = parameters.backend, parameters.grads
        if not backend.on_device:
            self._comm.Allreduce(None, grads)  # None: in place
        elif self._device_arrays:
            backend.xp.cuda.Device().synchronize()  # MPI does not know of what is still being computed
            self._comm.Allreduce(None, grads)
        else:
            copied = backend.host(grads)
            self._comm.Allreduce(None, copied)
            grads[...] = backend.xp.asarray(copied)
        whole = np.array([float(loss)])
        self._comm.Allreduce(None, whole)
        return float(whole[0])

    def agree(self, value: Any) -> Any:
        """Rank 0's ``value``: whatever depends on a clock, a disk or a terminal.  Called by every rank."""
        return value if self.size == 1 else self._comm.bcast(value, root=0)

    def largest(self, number: int) -> int:
        """The largest ``number`` of any rank.  Called by every rank."""
        if self.size == 1:
            return number
        numbers = np.empty(self.size, np.int64)
        self._comm.Allgather(np.array([number], np.int64), numbers)
        return int(numbers.max())

    def gather(self, value: Any) -> list[Any]:
        """Every rank's ``value``, in their order.  Called by every rank."""
        return [value] if self.size == 1 else list(self._comm.allgather(value))

    def check_same(self, what: str, value: Any) -> None:
        """Raise ValueError, on every rank, unless all have the same ``value``.  Called by every rank."""
        first = self.agree(value)
        others = [rank for rank, same in enumerate(self.gather(value == first)) if not same]
        if others:
            raise ValueError(
                f"{what} must be the same on every rank; on rank {others[0]} not that of rank 0: "
                "use the same files, packages and kind of machine everywhere"
            )

    def settle(self, backend: Backend) -> None:
        """Take this rank's share of its machine, of the processors or of the GPUs.  Called by every rank.

        Kernels get as many threads as there are processors for each of the ranks that may use the same ones, unless
        the environment says how many.
        """
        if self.size == 1:
            return
        here = platform.node(), sorted(processors())
        everywhere = self.gather(here)
        if asked_for() is None:
            set_num_threads(max(1, len(here[1]) // everywhere.count(here)))
        if backend.on_device:
            before = sum(node == here[0] for node, _ in everywhere[: self.rank])
            runtime = backend.xp.cuda.runtime
            backend.xp.cuda.Device(before % runtime.getDeviceCount()).use()

    def abort(self, code: int) -> None:
        """End every rank, at once."""
        self._comm.Abort(code)


def world() -> Ranks:
    """All ranks that mpiexec started together with this process, or this process alone.

    ImportError without mpi4py, and where mpiexec is of another MPI, so that each process believes that it is alone.
    """
    if "mpi4py.MPI" not in sys.modules and not any(name in os.environ for name in STARTED):
        return Ranks()
    try:
        MPI = import_module("mpi4py.MPI")
    except (ImportError, RuntimeError) as error:  # the latter where mpi4py finds no MPI
        raise ImportError(
            f"mpiexec started this process, which needs mpi4py to know of others: pip install 'minirnn[mpi]' ({error})"
        ) from None
    ranks = Ranks(MPI.COMM_WORLD, device_arrays=takes_device_arrays(MPI))
    for name in SIZES:
        if os.environ.get(name, str(ranks.size)) != str(ranks.size):
            raise ImportError(
                f"mpiexec started {os.environ[name]} processes, but mpi4py knows of {ranks.size}: they must be of one "
                f"MPI; mpi4py has {MPI.Get_library_version().splitlines()[0]:.40}"
            )
    return ranks


def takes_device_arrays(MPI: Any) -> bool:
    """Whether an MPI takes arrays that are on a GPU.

    MPI 4.1 says so in a communicator's ``mpi_memory_alloc_kinds``; before that, MPICH and Open MPI had a function.
    """
    if "cuda" in (MPI.COMM_WORLD.Get_info().Get("mpi_memory_alloc_kinds") or ""):
        return True
    query = getattr(ctypes.CDLL(MPI.__file__), "MPIX_Query_cuda_support", None)
    return bool(query and query())
