"""minirnn's layers recognised in an ONNX graph that computes what they do."""
