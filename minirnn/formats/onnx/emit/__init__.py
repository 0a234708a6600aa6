"""A model in operators of ONNX: what ``minirnn.formats.onnx.writing`` is made of."""
