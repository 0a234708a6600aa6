"""ONNX Runtime on the CPU: inference only; ``onnxruntime-int8`` with the LSTM that its own quantiser makes."""

import logging
import tempfile
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from benchmarks.cases import Case
from benchmarks.inputs import STREAM, Arrays
from benchmarks.peers import Job, UnsupportedError
from benchmarks.peers.onnxgraph import model_of, zero_state


class OnnxRuntime:
    """onnxruntime's CPU provider, as the contestant called ``name``."""

    def __init__(self, name: str, threads: int) -> None:
        self.quantises = name == "onnxruntime-int8"
        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads = threads
        self.options.inter_op_num_threads = 1
        self.options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        self.info: dict[str, str | float] = {"onnxruntime": onnxruntime.__version__}

    def prepare(self, case: Case, arrays: Arrays) -> Job:
        if case.kind not in ("inference", "stream"):
            raise UnsupportedError("inference only")
        model = model_of(case, arrays, states=case.kind == "stream")
        if self.quantises:
            model = quantised(model, case)
        session = onnxruntime.InferenceSession(model, self.options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        if case.kind == "stream":
            return stream(session, case, arrays, names)
        feed = {"x": arrays["x"]}

        def call() -> Any:
            return session.run(None, feed)

        return Job(call, lambda: dict(zip(names, call(), strict=True)))


def quantised(model: bytes, case: Case) -> bytes:
    """The model with weights of 8 bits, a scale for each unit of a gate; x and h are quantised as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic  # takes a second, which the others need not wait

    logging.getLogger().setLevel(logging.ERROR)  # it recommends a preparation that this graph has no use for
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder, "before.onnx"), Path(folder, "after.onnx")
        before.write_bytes(model)
        quantize_dynamic(before, after, per_channel=True, weight_type=QuantType.QInt8)
        narrow = after.read_bytes()
    operators = {node.op_type for node in onnx.load_from_string(narrow).graph.node}
    if case.cell.upper() in operators:
        raise UnsupportedError(f"quantize_dynamic leaves {case.cell.upper()} as it is")
    return narrow


def stream(session: Any, case: Case, arrays: Arrays, names: list[str]) -> Job:
    """One step, the state an output and the next call's input."""
    xs, feed = cycle(arrays["x"]), dict(zero_state(case))

    def call() -> Any:
        feed["x"] = next(xs)
        y, *state = session.run(None, feed)
        for name, part in zip(names[1:], state, strict=True):
            feed[f"{name}0"] = part
        return y

    def outputs() -> Arrays:
        y = np.concatenate([call() for _ in range(STREAM)])
        return {"y": y} | {name: feed[f"{name}0"] for name in names[1:]}

    return Job(call, outputs)


def build(name: str, threads: int) -> OnnxRuntime:
    """onnxruntime with ``threads`` threads."""
    return OnnxRuntime(name, threads)
