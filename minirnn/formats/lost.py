"""What a format has no place for: parts of a model that a file in it would lack, in words."""

from collections.abc import Iterator

from minirnn.core.layer import Layer
from minirnn.core.module import brief
from minirnn.formats.torch.writing import dropped
from minirnn.language.model import LanguageModel
from minirnn.layers.feedforward import Dropout
from minirnn.recurrent.networks import Recurrent

LANGUAGES = ("c", "js", "py", "html")  # of source files
NOISE = ("dropout", "weight_dropout", "zoneout")  # of a recurrent layer, in training
LACKS = {  # kinds of noise that a format has no words for
    "native": (),
    "torch": (),  # which dropped() lists, with all else
    "keras": ("weight_dropout",),
    "onnx": NOISE,
    **dict.fromkeys(LANGUAGES, NOISE),
}


def lost(model: Layer | LanguageModel, form: str) -> list[str]:
    """What a file of that format lacks of a model, a few words each: what it computes in training, and elsewhere.

    ``form`` is a key of ``FORMATS``.  A model that the format cannot hold at all is refused when it is written.
    """
    network = model.network if isinstance(model, LanguageModel) else model
    words = dropped(network) if form == "torch" else list(_noise(network, form))
    if isinstance(model, LanguageModel) and form in ("torch", "keras"):
        words.append("the vocabulary")
    if (network.bound.compute or network.bound.quantized == "bf16") and form != "native":
        words.append("products in bfloat16: those of the file are in float32")
    if network.bound.quantized == "bf16" and form in LANGUAGES:
        words.append("products that round what they read to bfloat16, as they do its weights")
    if network.batch_first:
        words.append("that the batch comes first, which calls say here (batch_first=True)")
    return words


def _noise(network: Layer, form: str) -> Iterator[str]:
    """Noise in training, layer by layer."""
    for layer in network.walk():
        place = f" (layer {layer.prefix.removesuffix('.')})" if getattr(layer, "prefix", "") else ""
        if type(layer) is Dropout and form in ("onnx", *LANGUAGES):
            yield f"{brief(layer)}{place}"
        elif isinstance(layer, Recurrent):
            for name in LACKS[form]:
                value = getattr(layer, name)
                if value:
                    yield f"{type(layer).__name__}'s {name}={value!r}{place}"
