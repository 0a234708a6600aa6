"""Each kind of layer in operators of ONNX."""

from dataclasses import dataclass, field

import numpy as np
from onnx import TensorProto

from minirnn.core.layer import Layer
from minirnn.core.module import brief
from minirnn.formats.models import is_recurrent
from minirnn.formats.onnx.writing import functions
from minirnn.formats.onnx.writing.around import around
from minirnn.formats.onnx.writing.emitter import Emitter
from minirnn.formats.onnx.writing.recurrences import RecurrentWriter
from minirnn.formats.onnx.writing.steps import Steps
from minirnn.formats.onnx.writing.weights import weight
from minirnn.layers.compose import Bidirectional, Sequential
from minirnn.layers.feedforward import Activation, Dropout, Embedding, Last, Linear, Masking, Reverse
from minirnn.recurrent.networks import Recurrent


@dataclass
class LayerWriter:
    """The layers of a model, written one after another.

    ``initial`` are the inputs that hold initial states, by the layer's prefix; ``finals`` collects the final states,
    likewise, in the order of the layers.
    """

    e: Emitter
    initial: dict[str, list[str]] = field(default_factory=dict)
    finals: dict[str, list[str]] = field(default_factory=dict)
    timed: bool = True  # whether there are steps still

    def write(self, layer: Layer, x: str, steps: Steps) -> tuple[str, Steps]:
        """The layer over x, the name of a (T, B, features), (B, features) or of indices (T, B).

        Returns the name of y, and the steps as the layers that follow see them.
        """
        e = self.e
        if type(layer) is Sequential:
            for child in layer.layers:
                x, steps = self.write(child, x, steps)
            return x, steps
        with e.within(layer.prefix):
            if is_recurrent(layer):
                return self.recurrent(layer, x, steps), steps
            if type(layer) is Bidirectional:
                return self.bidirectional(layer, x, steps), steps
            if type(layer) is Linear:
                return self.linear(layer, x), steps
            if type(layer) is Embedding:
                return self.embedded(layer, x, steps)
            if type(layer) is Activation:
                return functions.apply(e, layer.function, x), steps
            if type(layer) is Masking:
                return self.masking(layer, x, steps)
            if type(layer) is Reverse:
                return steps.flip(x), steps.reversed()
            if type(layer) is Last:
                self.timed = False
                return self.last(layer, x, steps), steps
            if type(layer) is Dropout:
                return x, steps  # nothing happens in inference
            written = around(e, layer, x, steps, timed=self.timed)
            if written:
                self.timed = self.timed and layer.keeps_time
                return written
        raise ValueError(f"{brief(layer)} cannot be written as ONNX: its kind is not one of minirnn's own")

    def recurrent(self, layer: Recurrent, x: str, steps: Steps, *, backwards: bool = False) -> str:
        """The layer on rows without the steps that are skipped, as ``minirnn.recurrent.masks`` does it.

        ``backwards``: a layer of one direction reads them last to first.
        """
        initial, gaps = self.initial.get(layer.prefix), steps.gaps
        if gaps:
            x = gaps.gathered(x)
        writer = RecurrentWriter(self.e, layer, gaps.steps if gaps else steps, backwards)
        y, self.finals[layer.prefix] = writer.write(x, initial)
        if gaps:
            y = gaps.repeated(y)
        return steps.hidden(y) if layer.bidirectional else y

    def linear(self, layer: Linear, x: str) -> str:
        """x W + b; a tied W is the embedding's, transposed where it is used and stored once."""
        e = self.e
        if layer.tie:
            with e.within(layer.tie.prefix):
                W = e("Transpose", weight(e, layer.tie, "W"), perm=[1, 0])
        else:
            W = weight(e, layer, "W")
        y = e("MatMul", x, W)
        return e("Add", y, weight(e, layer, "b")) if layer.bias else y

    def embedded(self, layer: Embedding, x: str, steps: Steps) -> tuple[str, Steps]:
        """The rows of W at the indices; those of ``mask`` are skipped from here on."""
        y = self.e("Gather", weight(self.e, layer, "W"), x)
        if layer.mask is not None:
            steps = steps.skipping(self.e("Equal", x, self.e.constant(layer.mask, np.int64)))
        return y, steps

    def masking(self, layer: Masking, x: str, steps: Steps) -> tuple[str, Steps]:
        """0 where all features equal ``value``; those steps are skipped from here on."""
        e = self.e
        equal = e("Cast", e("Equal", x, e.number(layer.value)), to=TensorProto.INT32)
        skip = e("Cast", e("ReduceMin", equal, axes=[-1], keepdims=0), to=TensorProto.BOOL)
        return e("Where", e("Unsqueeze", skip, e.integers(2)), e.number(0), x), steps.skipping(skip)

    def last(self, layer: Last, x: str, steps: Steps) -> str:
        """The last step that counts, and of a bidirectional output's second half the first."""
        e = self.e
        y = steps.picked(x)
        if layer.bidirectional:
            width = e("Gather", e("Shape", x), e.integers(-1))
            half = e("Div", width, e.integers(2))
            ahead = e("Slice", y, e.integers(0), half, e.integers(-1))
            back = e("Slice", steps.picked(x, first=True), half, width, e.integers(-1))
            y = e("Concat", ahead, back, axis=-1)
        return steps.shown(y)

    def bidirectional(self, layer: Bidirectional, x: str, steps: Steps) -> str:
        """Both layers over x, the second over reversed steps, its y reversed again; a recurrent one runs backwards."""
        e = self.e
        ahead, _ = self.write(layer.ahead, x, steps)
        self.timed = True  # for the other one
        if is_recurrent(layer.back) and not layer.back.bidirectional:
            with e.within(layer.back.prefix):
                back = self.recurrent(layer.back, x, steps, backwards=True)
        else:
            back, _ = self.write(layer.back, steps.flip(x), steps.reversed())
            back = steps.flip(back) if layer.keeps_time else back
        if layer.merge == "concat":
            y = e("Concat", ahead, back, axis=-1)
        else:
            y = e("Mul" if layer.merge == "mul" else "Add", ahead, back)
        if layer.merge == "ave":
            y = e("Mul", y, e.number(0.5))
        return steps.hidden(y) if layer.keeps_time else y
