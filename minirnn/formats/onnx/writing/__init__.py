"""Models written as ONNX (extra ``onnx``): ``to_onnx`` and ``save``."""

from minirnn.formats.onnx.writing.model import save, to_onnx, write

__all__ = ["save", "to_onnx", "write"]
