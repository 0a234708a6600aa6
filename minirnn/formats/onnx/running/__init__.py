"""ONNX nodes run with NumPy and minirnn's layers, within limits of memory and time."""
