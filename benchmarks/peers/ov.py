"""OpenVINO on the CPU: inference only, from the model that ONNX Runtime gets."""

from itertools import cycle
from typing import Any

import numpy as np
import openvino

from benchmarks.cases import Case
from benchmarks.inputs import STREAM, Arrays
from benchmarks.peers import Job, UnsupportedError
from benchmarks.peers.onnxgraph import model_of, zero_state


class OpenVino:
    """OpenVINO's CPU device."""

    def __init__(self, threads: int) -> None:
        self.core = openvino.Core()
        self.options = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",  # by default bfloat16 where the processor has it
        }
        self.info: dict[str, str | float] = {"openvino": openvino.__version__.partition("-")[0]}

    def prepare(self, case: Case, arrays: Arrays) -> Job:
        if case.kind not in ("inference", "stream"):
            raise UnsupportedError("inference only")
        model = self.core.read_model(model_of(case, arrays, states=case.kind == "stream"))
        names = [output.get_any_name() for output in model.outputs]
        request = self.core.compile_model(model, "CPU", self.options).create_infer_request()
        if case.kind == "stream":
            return stream(request, case, arrays, names)
        feed = {"x": arrays["x"]}

        def call() -> Any:
            return request.infer(feed, share_inputs=True, share_outputs=True)

        def outputs() -> Arrays:
            found = call()
            return {name: np.array(found[name]) for name in names}

        return Job(call, outputs)


def stream(request: Any, case: Case, arrays: Arrays, names: list[str]) -> Job:
    """One step, the state an output and the next call's input."""
    xs, feed = cycle(arrays["x"]), dict(zero_state(case))

    def call() -> Any:
        feed["x"] = next(xs)
        found = request.infer(feed, share_inputs=True)  # outputs are copied: the state is the next call's input
        for name in names[1:]:
            feed[f"{name}0"] = found[name]
        return found["y"]

    def outputs() -> Arrays:
        y = np.concatenate([call() for _ in range(STREAM)])
        return {"y": y} | {name: feed[f"{name}0"] for name in names[1:]}

    return Job(call, outputs)


def build(name: str, threads: int) -> OpenVino:
    """OpenVINO with ``threads`` threads."""
    return OpenVino(threads)
