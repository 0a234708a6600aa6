"""minirnn: its fast kernels, its plain equations, and the plain equations in float64 as everyone's reference."""

import gc
import tracemalloc
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np

import minirnn
from benchmarks.cases import Case
from benchmarks.inputs import LOSSES, STREAM, Arrays
from benchmarks.peers import PLAIN, REFERENCE, SEGMENTED, SUBJECT, Job
from minirnn import SGD, Embedding, Linear, Sequential, cross_entropy
from minirnn.kernels.cpu import leases


class Form(NamedTuple):
    """``quantised`` is how matrices are stored, ``compute`` what products round to, ``every`` which states are kept."""

    backend: str
    dtype: str = "float32"
    quantised: str | None = None
    compute: str | None = None
    every: str | None = None


FORMS = {
    SUBJECT: Form("numba"),
    PLAIN: Form("numpy"),
    REFERENCE: Form("numpy", "float64"),
    "minirnn-f16": Form("numba", quantised="f16"),
    "minirnn-bf16": Form("numba", compute="bfloat16"),
    "minirnn-int8": Form("numba", quantised="int8"),
}
LAYERS: dict[str, Any] = {"rnn": minirnn.RNN, "gru": minirnn.GRU, "lstm": minirnn.LSTM}


class Own:
    """minirnn in one of its forms."""

    def __init__(self, form: Form, threads: int) -> None:
        self.form, self.every = form, form.every
        self.settings: dict[str, Any] = {"backend": form.backend, "dtype": form.dtype, "compute": form.compute}
        minirnn.set_num_threads(threads)
        minirnn.RNN(1, 1).init(**self.settings)  # an error now, where there is no such backend
        self.info: dict[str, str | float] = {"minirnn": minirnn.__version__, "numpy": np.__version__}

    def prepare(self, case: Case, arrays: Arrays) -> Job:
        arrays = {name: a.astype(self.form.dtype) if a.dtype.kind == "f" else a for name, a in arrays.items()}
        jobs = {
            "training": self._training,
            "long": self._training,
            "inference": self._inference,
            "stream": self._stream,
        }
        return jobs.get(case.kind, self._chapter)(case, arrays)

    def _layer(self, case: Case, arrays: Arrays) -> Any:
        model = LAYERS[case.cell](case.D, case.H, case.layers, bidirectional=case.bidirectional)
        model.init(**self.settings)
        write(model, {name: arrays[name] for name in model.named_weights()})
        return model.quantize(self.form.quantised) if self.form.quantised else model

    def _training(self, case: Case, arrays: Arrays) -> Job:
        model, x, dy = self._layer(case, arrays), arrays["x"], arrays["dy"]

        def call() -> tuple[Any, Any, Any]:
            model.zero_grads()
            y, state, backward = model.forward(x, checkpoint_every=self.every)
            dx, _ = backward(dy)
            return y, state, dx

        def outputs() -> Arrays:
            y, state, dx = call()
            grads = {f"d{name}": gradient for name, gradient in model.named_grads().items()}
            return {"y": y, "dx": dx} | by_name(state) | grads

        return Job(call, outputs, lambda: left_by_forward(model, x, self.every))

    def _inference(self, case: Case, arrays: Arrays) -> Job:
        model, x = self._layer(case, arrays), arrays["x"]

        def outputs() -> Arrays:
            y, state = model(x)
            return {"y": y} | by_name(state)

        return Job(lambda: model(x), outputs)

    def _stream(self, case: Case, arrays: Arrays) -> Job:
        model, xs = self._layer(case, arrays), cycle(arrays["x"][:, 0])
        stream = model.stream()
        out = np.empty((1, case.H), self.form.dtype)

        def outputs() -> Arrays:
            y = np.stack([stream(next(xs)) for _ in range(STREAM)])
            return {"y": y} | by_name(stream.state)

        return Job(lambda: stream(next(xs), out=out), outputs)

    def _chapter(self, case: Case, arrays: Arrays) -> Job:
        V, recurrent = case.vocab or 0, LAYERS[case.cell](case.D, case.H)
        layers = [Embedding(V, case.embedding)] if case.embedding else []
        names = ["embedding."] if case.embedding else []
        model = Sequential(*layers, recurrent, Linear(case.H, V)).init(**self.settings)
        for layer, prefix in zip(model.layers, [*names, "", "linear."], strict=True):
            write(layer, {name: arrays[prefix + name] for name in layer.named_weights()})
        sgd, batches = SGD(model, lr=1.0, clip=1.0), cycle(zip(arrays["x"], arrays["targets"], strict=True))

        def call() -> float:
            x, targets = next(batches)
            logits, _, backward = model.forward(x)
            loss, dlogits = cross_entropy(logits, targets)
            backward(dlogits)
            sgd.step()
            return float(loss)

        return Job(call, lambda: {"losses": np.array([call() for _ in range(LOSSES)])})


def write(model: Any, weights: Arrays) -> None:
    """Give ``model`` these weights, in place."""
    views = model.named_weights()
    for name, value in weights.items():
        views[name] = value


def left_by_forward(model: Any, x: Any, every: str | None) -> int:
    """Bytes that forward leaves for backward, x and y not counted.

    The backend's pool of memory is a new one, so that what it holds is this forward's; what is idle in it is not kept.
    """
    pool = leases.Leases()
    if model.bound.backend.name == "numba":
        from minirnn.kernels.cpu import runtime  # needs Numba

        vars(runtime)["LEASES"] = pool
    gc.collect()
    tracemalloc.start()
    y, _, backward = model.forward(x, checkpoint_every=every)
    gc.collect()
    found = tracemalloc.get_traced_memory()[0] - pool.idle() - int(y.nbytes)
    tracemalloc.stop()
    backward(y)
    return found


def by_name(state: Any) -> Arrays:
    """A recurrent layer's state as ``h``, and ``c`` where it has one."""
    return dict(zip("hc", state if isinstance(state, tuple) else (state,), strict=False))


def build(name: str, threads: int) -> Own:
    """The form of minirnn called ``name``."""
    form = FORMS[SEGMENTED.get(name, name)]
    return Own(form._replace(every="sqrt") if name in SEGMENTED else form, threads)
