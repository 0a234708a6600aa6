"""``mpiexec -n 2 python tests/support/mpi_worker.py``: trains on these ranks, twice; rank 0 says what came of it."""

import json

from short_runs import begun, trained, weights

import minirnn
from minirnn.core.backend import get_backend
from minirnn.training.ranks import world

ranks = world()
ranks.settle(get_backend("auto"))
LONG = {"steps": 200, "num_steps": 4, "backend": "auto"}
steps, end = trained(ranks, **LONG)
again, end_again = trained(ranks, **LONG)
single, _ = trained(ranks, steps=1, dtype="float32", backend="auto")
everywhere = ranks.gather((end.tobytes(), minirnn.get_num_threads()))
training = begun(ranks, steps=3)
list(training)
whole = training.state().arrays["state.0"].shape
if ranks.rank == 0:
    found = {
        "ranks": ranks.size,
        "losses": steps[:, 0].tolist(),
        "same again": bool((again == steps).all() and (end_again == end).all()),
        "same everywhere": len({bits for bits, _ in everywhere}) == 1,
        "threads": [threads for _, threads in everywhere],
        "first loss in float32": single[0, 0],
        "rows of the state": whole[1],
        "size": weights(training).size,
    }
    print(json.dumps(found))
