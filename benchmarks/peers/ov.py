"""OpenVINO on the CPU: inference only, from the model that ONNX Runtime gets.

``openvino-bf16`` hints at bfloat16; for ``openvino-int8`` x and the matrices are quantised in the graph.  What the
plugin makes of that is its own choice, so the graph that it runs is asked which numbers its recurrent layers take.
"""

from itertools import cycle
from typing import Any

import numpy as np
import openvino
import openvino.opset13

from benchmarks.cases import Case
from benchmarks.inputs import STREAM, Arrays
from benchmarks.peers import Job, UnsupportedError
from benchmarks.peers.onnxgraph import model_of, zero_state

TAKES = {"openvino-bf16": "bf16", "openvino-int8": "u8"}  # what a recurrent layer's input is, in OpenVINO's names


class OpenVino:
    """OpenVINO's CPU device, as the contestant called ``name``."""

    def __init__(self, name: str, threads: int) -> None:
        self.core = openvino.Core()
        self.takes = TAKES.get(name, "f32")
        self.options = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            # by default bfloat16 where the processor has it; with 8 bits it is for all else
            "INFERENCE_PRECISION_HINT": "bf16" if self.takes == "bf16" else "f32",
        }
        self.info: dict[str, str | float] = {"openvino": openvino.__version__.partition("-")[0]}

    def prepare(self, case: Case, arrays: Arrays) -> Job:
        if case.kind not in ("inference", "stream"):
            raise UnsupportedError("inference only")
        model = self.core.read_model(model_of(case, arrays, states=case.kind == "stream"))
        names = [output.get_any_name() for output in model.outputs]
        if self.takes == "u8":
            quantise(model, case, arrays)
        compiled = self.core.compile_model(model, "CPU", self.options)
        if self.takes != "f32" and (taken := precisions(compiled)) != {self.takes}:
            raise UnsupportedError(f"its plugin computes {case.cell.upper()} in {', '.join(sorted(taken))} here")
        request = compiled.create_infer_request()
        if case.kind == "stream":
            return stream(request, case, arrays, names)
        feed = {"x": arrays["x"]}

        def call() -> Any:
            return request.infer(feed, share_inputs=True, share_outputs=True)

        def outputs() -> Arrays:
            found = call()
            return {name: np.array(found[name]) for name in names}

        return Job(call, outputs)


def precisions(compiled: Any) -> set[str]:
    """What the recurrent layers of the graph that runs take."""
    facts = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    return {f["runtimePrecision"].astype(str) for f in facts if f["layerType"].astype(str).startswith("RNN")}


def quantise(model: Any, case: Case, arrays: Arrays) -> None:
    """Have x rounded to 256 numbers and each matrix to 255, the form that the plugin looks for, as a calibration would.

    x has a zero point, since without one it would be signed, which the plugin does not take.
    """
    if case.cell != "lstm":
        raise UnsupportedError("of recurrent layers, its plugin has the LSTM alone in int8")
    if case.layers > 1:
        raise UnsupportedError("what a layer hands to the next is not calibrated")
    (x,) = (p for p in model.get_parameters() if p.get_friendly_name() == "x")
    readers, largest = x.output(0).get_target_inputs(), np.abs(arrays["x"]).max()
    rounded = evenly(x, -largest, largest * 1.01, 256)
    for reader in readers:
        reader.replace_source_output(rounded)
    for node in model.get_ops():
        if node.get_type_name() == "LSTMSequence":
            for port in (4, 5):
                matrix = node.input_value(port)
                node.input(port).replace_source_output(evenly(matrix, -(case.H**-0.5), case.H**-0.5, 255))


def evenly(node: Any, low: float, high: float, levels: int) -> Any:
    """``node`` rounded to the nearest of so many numbers from ``low`` to ``high``."""
    ends = np.float32(low), np.float32(high)
    return openvino.opset13.fake_quantize(node, *ends, *ends, levels).output(0)


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
    return OpenVino(name, threads)
