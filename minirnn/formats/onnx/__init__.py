"""ONNX: graphs read into layers or run as they stand, and models written for other runtimes."""
