"""minirnn as a backend of the package ``onnx``, in the form that its own tests and tools expect (extra ``onnx``)."""

from typing import Any

from minirnn.core.backend import Array
from minirnn.core.files import ModelFileError
from minirnn.formats.onnx.graph import Graph, read
from minirnn.formats.onnx.reading.schema import TENSOR, parse
from minirnn.formats.onnx.reading.tensors import array_of

try:
    from onnx.backend.base import Backend, BackendRep
except ImportError as error:
    raise ImportError(f"a backend of onnx needs onnx: pip install 'minirnn[onnx]' ({error})") from error


class MinirnnRep(BackendRep):
    """A model that can be run."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Array, ...]:
        """The outputs in order, for a list of inputs in order or a mapping by name; a TensorProto is read."""
        if isinstance(inputs, dict):
            results = self.graph.run({name: _array(value) for name, value in inputs.items()})
            return tuple(results[port.name] for port in self.graph.outputs)
        return self.graph(*(_array(value) for value in inputs))


class MinirnnBackend(Backend):
    """``MinirnnBackend.prepare(model).run(inputs)``; what minirnn does not run is a ModelFileError at ``prepare``."""

    @classmethod
    def is_compatible(cls, model: Any, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether ``prepare`` takes the model."""
        try:
            cls.prepare(model, device, **kwargs)
        except ModelFileError:
            return False
        return True

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> MinirnnRep:
        """Read the model.  The one option is ``backend``: minirnn's, for recurrent nodes."""
        if not cls.supports_device(device):
            raise ValueError(f"device must be CPU; got {device!r}")
        return MinirnnRep(read(model, **kwargs))

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether this is the CPU."""
        return device == "CPU"


def _array(value: Any) -> Any:
    if not hasattr(value, "SerializeToString"):
        return value
    return array_of(parse(value.SerializeToString(), TENSOR))


prepare, run_model, supports_device = MinirnnBackend.prepare, MinirnnBackend.run_model, MinirnnBackend.supports_device
