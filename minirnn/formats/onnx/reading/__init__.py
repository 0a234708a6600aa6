"""From the bytes of an ONNX file to what the file says: its nodes, constants and ports, all of them checked."""
