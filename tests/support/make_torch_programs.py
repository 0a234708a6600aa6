"""``python tests/support/make_torch_programs.py``, where torch is: ``torch_programs.json`` anew.

Small networks as programs of TorchScript's and of torch.export, with what torch computes of an input.  What a reader
does not look at is left out: how code came about, inputs that were kept.
"""

import base64
import io
import json
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from mutations import unzipped, zipped
from torch_graphs import Decoder, Fronted, Heads, Inputs, Residual, outputs_of
from torch_graphs import program as of_graph
from torch_networks import Drawn, drawn

PATH = Path(__file__).with_name("torch_programs.json")
LEFT_OUT = (".debug_pkl", "traced_inputs", "sample_inputs", ".data/")
GRAPHS = ((Heads, "scripted"), (Decoder, "traced"), (Fronted, "scripted"), (Inputs, "exported"), (Residual, "exported"))
SEEDS = (0, 7, 11, 23)  # a GRU, an LSTM in both directions, every step, the last one, final states


def program(one: Drawn, way: str) -> bytes:
    """The file that torch writes."""
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # says torch of TorchScript
        jit: Any = torch.jit
        if way == "traced":
            jit.save(jit.trace(one.net, one.x), file)
        elif way == "scripted":
            jit.save(jit.script(one.net), file)
        else:
            torch.export.save(torch.export.export(one.net, (one.x,)), file)
    return without(file.getvalue())


def without(data: bytes) -> bytes:
    """A file without what no reader looks at."""
    entries = [(name, entry) for name, entry in unzipped(data) if not any(part in name for part in LEFT_OUT)]
    return zipped(entries, zipfile.ZIP_DEFLATED)


def packed(data: bytes) -> str:
    """A file as text."""
    return base64.b64encode(zlib.compress(data, 9)).decode()


def main() -> None:
    """Write the file."""
    stored = {}
    for seed in SEEDS:
        one = drawn(seed)
        x, y = one.x.numpy(), one.expected()
        for way in ("traced", "scripted", "exported"):
            file = packed(program(one, way))
            about = {"file": file, "x": x.tolist(), "y": y.tolist(), "batch_first": one.batch_first}
            stored[f"{way} {seed}"] = {"torch": torch.__version__, "net": str(one.net), **about}
    for cls, way in GRAPHS:
        net, data = of_graph(cls, way)
        about = {"inputs": [x.tolist() for x in net.inputs], "outputs": [y.tolist() for y in outputs_of(net)]}
        about |= {"file": packed(without(data)), "batch_first": cls.batch_first}
        stored[f"{way} {cls.__name__}"] = {"torch": torch.__version__, "net": str(net), **about}
    PATH.write_text(json.dumps(stored, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
