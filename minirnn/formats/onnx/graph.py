"""ONNX files opened: as the ``Graph`` that they describe, or as layers where the graph is a chain of those."""

import json
import os
from pathlib import Path
from typing import Any

from minirnn.core.backend import get_backend
from minirnn.core.files import ModelFileError
from minirnn.core.layer import Layer
from minirnn.formats.onnx.reading.external import ModelFolder
from minirnn.formats.onnx.reading.model import ModelReader
from minirnn.formats.onnx.reading.schema import parse
from minirnn.formats.onnx.recognising.chain import moved, recognised
from minirnn.formats.onnx.recognising.forms import NoLayerError
from minirnn.formats.onnx.running.operators import placed, prepared
from minirnn.formats.onnx.running.program import Program
from minirnn.formats.opening import check_is_file, opened
from minirnn.language.model import LanguageModel
from minirnn.language.text import Vocabulary

LONGEST_VOCABULARY = 1 << 21  # characters of JSON, of which three may become an object


class Graph(Program):
    """A model of ONNX, for inference: ``outputs = graph.run({"x": x})``, or ``y, *more = graph(x, ...)`` in order.

    ``inputs`` and ``outputs`` are tuples of ``Port``: name, shape, dtype.  Recurrent nodes are run by minirnn's layers.
    What it computes is what the standard says, in the dtypes of the file; only float16 and bfloat16 are computed in
    float32, and an output of float16 is rounded to it.

    ``read`` makes it.  ``nodes`` are all nodes in order, ``constants`` the values in use that no input reaches,
    ``where`` the file, for errors, ``about`` what the file says beside: its producer, and metadata by name, ``size``
    how many bytes it has.
    """

    def layers(self, *, backend: str = "auto", dtype: Any = None) -> Layer:
        """The chain of minirnn's layers that computes the same, time first whatever the graph has first.

        It can be trained, saved, streamed.  ModelFileError names the node for which there is no layer.
        """
        return layers_of(self, either_first=True, backend=backend, dtype=dtype)


def read(source: Any, *, backend: str = "auto") -> Graph:
    """Read a model: from a path, from bytes, or from an ``onnx.ModelProto``.

    Recurrent nodes run on ``backend``.  Reading needs no package.  Weights may be in other files (external data), which
    lie in the folder of ``source``, a path.  Raises ModelFileError for what is no sound model of operator set 1 to 28,
    for a node that minirnn does not run, by its name, and for weights that are not there; FileNotFoundError where there
    is no model.
    """
    get_backend(backend)  # refused before the file is read
    folder = ModelFolder(None)
    if hasattr(source, "SerializeToString"):
        where, data = "the model", source.SerializeToString()
    elif isinstance(source, bytes):
        where, data = "the model", source
    else:
        where, path = str(source), Path(source)
        folder = ModelFolder(path.parent)
        check_is_file(path)
        with opened(path) as (file, _, _):
            data = file.read()
    try:
        size, message = len(data), parse(data)
        del data, source  # what is not a view of it, all of a file in float16, is all that stays
        model = ModelReader(message, size, backend, folder).model()
        del message
        steps, constants, nodes = prepared(
            model.nodes, model.constants, {port.name for port in model.outputs}, room=model.room
        )
        return Graph(model._replace(constants=constants, nodes=nodes), steps, where)
    except ModelFileError as error:
        raise ModelFileError(f"{where}: {error!s:.1000}") from None


def load(path: str | os.PathLike[str], *, backend: str = "auto", dtype: Any = None) -> Layer | LanguageModel | Graph:
    """Open an ONNX file: the layer that computes the same, else the ``Graph``, which can be run and no more.

    Of minirnn's own files a layer with a vocabulary is a LanguageModel, as it was.

    A layer is found for what goes through ``Gather`` of an embedding or ``OneHot``, RNN, GRU and LSTM with time first,
    products with biases, activations, steps in reverse and the last step, convolution and pooling over time, norms and
    ``Flatten``, in that order or another.  Initial states that are inputs are the layer's state; ``sequence_lens`` are
    its ``lengths``, and past them its ``y`` is 0.  A graph that has the batch first stays a graph, whose inputs are as
    they were; ``graph.layers()`` gives its layers, with time first.  Weights in a second file (external data) are read
    from the model's folder.

    ``dtype`` None keeps the file's; a graph has no other.  Raises ModelFileError, as ``read`` does.
    """
    get_backend(backend)
    graph = read(path, backend="numpy")
    try:
        layer = recognised(graph)
    except NoLayerError as error:
        if dtype is not None:
            raise ValueError(f"dtype must be None for what only runs as a graph; got {dtype!r} ({error})") from None
        return placed(graph, backend)
    about = graph.about
    del graph  # whose weights need not be there beside those of two layers
    layer = moved(layer, backend, dtype)
    try:
        return speaking(layer, about)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise ModelFileError(f"{path}: vocabulary and task must be a language model's; {words:.200}") from None


def speaking(layer: Layer, about: dict[str, str]) -> Layer | LanguageModel:
    """The layer with what minirnn wrote beside it, if it did."""
    if about["producer"] != "minirnn" or "vocabulary" not in about:
        return layer
    if len(about["vocabulary"]) > LONGEST_VOCABULARY:
        raise ValueError(f"at most {LONGEST_VOCABULARY:,} characters are expected; got {len(about['vocabulary']):,}")
    return LanguageModel(layer, Vocabulary(json.loads(about["vocabulary"])), about["task"])


def layers_of(graph: Graph, *, either_first: bool = False, backend: str = "auto", dtype: Any = None) -> Layer:
    """The layer that computes what ``graph`` does, or ModelFileError, which names the node that has no layer.

    With ``either_first`` the graph's sequences may have the batch first, and features before time; the layer's are
    (T, B, features) in any case.
    """
    return moved(recognised(graph, either_first=either_first), backend, dtype)
