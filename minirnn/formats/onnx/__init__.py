"""ONNX: graphs read into layers or run as they stand, and models written for other runtimes.

``read`` gives a ``Graph``, which runs for inference what a file says; ``load`` the layer where the file is a plain
chain of those.  Neither needs the package ``onnx``.
"""

from minirnn.formats.onnx.graph import Graph, layers_of, load, read
from minirnn.formats.onnx.structure import Port

__all__ = ["Graph", "Port", "layers_of", "load", "read"]
