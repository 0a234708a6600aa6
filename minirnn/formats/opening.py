"""Model files opened, limited and refused, in one place: what may be read, which format it is, and what else it is.

A file is untrusted: everything in it is checked before it is used.  Bounds are checked before a parser
takes memory: a parser of JSON makes up to 60 bytes of each byte it reads, an object for every value.  Every value but
the first follows a bracket, a comma or a colon, so counting those bounds the number of values without parsing anything.

The content decides what a file is, never its name.  A wrong file is mostly a right one that did not arrive: an error
page, a pointer of git-lfs, an archive around the model, a description without the weights.  The refusal says which, and
what can be done.
"""

import codecs
import json
import os
import re
import struct
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.files import CUT_OFF, LARGEST_FILE, ModelFileError
from minirnn.formats.containers.packed import is_packed

FORMATS = {  # the room that reads each
    "native": "minirnn.formats.native",
    "torch": "minirnn.formats.torch",
    "keras": "minirnn.formats.keras",
    "onnx": "minirnn.formats.onnx",
}
ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # with one of which a zip begins, the latter if it is empty
SAVED_MODEL = "keras_metadata.pb"  # in a directory that is a SavedModel of Keras 2
ONNX_FIELDS = b"\x08\x12\x3a\x42"  # with one of which a ModelProto begins: there is no other sign

LARGEST_HEADER = 2**22  # bytes of a safetensors header
MOST_TENSORS = 2**15  # in a safetensors header; each has an object of its own
LARGEST_JSON = 2**21  # bytes of JSON that describe a model
MOST_VALUES = 2**18  # in them

EXPECTED = "must be a model file of minirnn, torch, Keras or ONNX; it"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # the number with which files of torch before 1.6 begin, pickled
LEGACY = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."  # which is that, behind the protocol
LONGEST_HEAD = 4096  # bytes that are looked at
MODELS = (  # how models' names end
    *(".safetensors", ".pt", ".pth", ".pt2", ".ckpt", ".bin"),
    *(".keras", ".h5", ".hdf5", ".onnx"),
)
MOST_SHOWN = 3
MOST_LISTED = 1000  # files of a directory that are looked at

_UNPACK = ": unpack it and load the model that it holds"
OTHERS = {  # beginnings of files that minirnn does not read
    b"\x1f\x8b": f"compressed by gzip{_UNPACK}",
    b"BZh": f"compressed by bzip2{_UNPACK}",
    b"\xfd7zXZ\0": f"compressed by xz{_UNPACK}",
    b"\x28\xb5\x2f\xfd": f"compressed by zstd{_UNPACK}",
    b"7z\xbc\xaf\x27\x1c": f"an archive of 7-Zip{_UNPACK}",
    b"Rar!": f"an archive of RAR{_UNPACK}",
    b"GGUF": "a GGUF file, of llama.cpp",
    b"%PDF": "a PDF document",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"\x7fELF": "a program",
    b"MZ": "a program",
    b"SQLite format 3": "a database of SQLite",
    b"\x93NUMPY": "one array of NumPy (.npy), without the names of a model's weights",
}
TORCHSCRIPT = (
    "is a TorchScript program without data.pkl, which minirnn does not read. Where torch is, its weights can be "
    "written alone: torch.save(torch.jit.load(path).state_dict(), other)"
)
FROZEN = (
    "is a TorchScript program without weights by name: torch.jit.freeze made them constants of its code. Where the "
    "module that it was made of is: torch.save(model.state_dict(), other)"
)

# ---------------------------------------------------------------------- opening


@contextmanager
def opened(path: Path) -> Iterator[tuple[BufferedReader, bytes, int]]:
    """Open what may be a model file: it comes at its first byte, with how it begins and how many bytes it has.

    Raises ModelFileError for one that is too large or cannot be read, even later, while it is open.
    """
    try:
        with path.open("rb") as file:
            length = file.seek(0, os.SEEK_END)
            if length > LARGEST_FILE:
                raise ModelFileError(f"{path} must hold at most {LARGEST_FILE:,} bytes; it holds {length:,}")
            file.seek(0)
            head = file.read(LONGEST_HEAD)
            file.seek(0)
            yield file, head, length
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error}") from None


def check_is_file(path: Path) -> None:
    """Raise FileNotFoundError unless there is a file, or a SavedModel; of another directory it says what it is."""
    if is_saved_model(path):
        return
    if path.is_dir():
        names = (one.name for one in islice(path.iterdir(), MOST_LISTED))
        raise FileNotFoundError(f"no model file at {path}: it is a directory{what_folder(names)}")
    if not path.is_file():
        raise FileNotFoundError(f"no model file at {path}")


def is_saved_model(path: Path) -> bool:
    """Whether a directory is a SavedModel that Keras 2 wrote."""
    return (path / SAVED_MODEL).is_file()


def format_of(path: Path) -> str:
    """The format of a file, by its content: a key of ``FORMATS``, or ModelFileError."""
    if is_saved_model(path):
        return "keras"
    with opened(path) as (file, head, length):
        if head.startswith(ZIP):
            from minirnn.formats.containers.zip import Archive  # 5 ms that most programs do not need

            return "keras" if "config.json" in Archive(file, path).entries else "torch"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "keras"
    text = as_text(head) is not None
    if head[8:9] == b"{" and not text:  # after its own length in 8 bytes: the header of a safetensors file
        return "native" if _is_native(path) else "torch"
    if head.startswith(b"\x80"):
        return "keras" if is_packed(head) and not is_legacy(head) else "torch"  # which explains other pickles
    if not _is_graph_of_tensorflow(head) and head[:1] and head[0] in ONNX_FIELDS and not text:
        return "onnx"
    raise ModelFileError(f"{path} {what(head, length)}")


def _is_graph_of_tensorflow(head: bytes) -> bool:
    """Whether a file is ``saved_model.pb``: version 1, and a message that begins with one, where ONNX has a text."""
    return re.match(rb"\x08\x01\x12[\x80-\xff]{0,4}[\x00-\x7f]\n", head) is not None


def _is_native(path: Path) -> bool:
    """Whether a safetensors file describes a network; one that cannot be read is left to the native room to explain."""
    try:
        with safetensors_in(path) as (file, _):
            return "minirnn" in (file.metadata() or {})
    except ModelFileError:
        return True


@contextmanager
def safetensors_in(path: Path) -> Iterator[tuple[Any, int]]:
    """Open a safetensors file; the number of bytes in its header comes with it.  ModelFileError for a damaged one."""
    from safetensors import SafetensorError, safe_open

    with opened(path) as (raw, head, length):
        size = _check_header(path, raw, head, length)
        try:
            with safe_open(path, framework="numpy") as file:  # checks the header: every byte belongs to one tensor
                yield file, size
        except SafetensorError as error:
            raise ModelFileError(f"{path} is not a whole safetensors file: {error!s:.300}; {CUT_OFF}") from None


def tensors_of(path: Path, file: Any, size: int) -> Callable[[str], Array]:
    """Reads tensors of an open safetensors file by name; those of bfloat16, which NumPy lacks, as uint16."""
    header: dict[str, Any] = {}

    def fetch(name: str) -> Array:
        stored = file.get_slice(name)
        if stored.get_dtype() != "BF16":
            array: Array = file.get_tensor(name)
            return array
        if not header:
            with path.open("rb") as whole:
                header.update(json.loads(whole.read(8 + size)[8:]))  # which has been checked
        shape, start = stored.get_shape(), header[name]["data_offsets"][0]
        return np.fromfile(path, "<u2", prod(shape), offset=8 + size + start).reshape(shape)

    return fetch


def is_legacy(head: bytes) -> bool:
    """Whether a file that begins so is one of torch before 1.6, of whatever protocol of pickle."""
    return head.startswith(b"\x80") and LEGACY in head[:32]


# ---------------------------------------------------------------------- limits


def parsed(text: bytes | str, what: str) -> Any:
    """The value that a description in JSON stands for; ValueError, which names ``what``, if it is none or too large."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    if len(data) > LARGEST_JSON:
        raise ValueError(f"{what} must have at most {LARGEST_JSON:,} bytes; it has {len(data):,}")
    values = sum(data.count(sign) for sign in (b"[", b"{", b",", b":"))
    if values > MOST_VALUES:
        raise ValueError(f"{what} must have at most {MOST_VALUES:,} values; it has about {values:,}")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what} must be JSON; {error!s:.100}") from None


def _check_header(path: Path, file: BufferedReader, head: bytes, length: int) -> int:
    """The number of bytes in the header of a safetensors file, behind the 8 bytes of that number itself.

    Raises ModelFileError where they are not there, or are more, or of more tensors, than a model has.
    """
    size = struct.unpack("<Q", head[:8])[0] if length >= 8 else 0
    if size > length - 8:
        raise ModelFileError(f"{path} is not a whole safetensors file: its header has {size:,} bytes; {CUT_OFF}")
    if size > LARGEST_HEADER:
        raise ModelFileError(
            f"{path}: the header of a safetensors file may have {LARGEST_HEADER:,} bytes; it has {size:,}"
        )
    header = file.read(8 + size)[8:]
    tensors = header.count(b"{") - header.count(b'{\\"')  # the latter are within the metadata
    if tensors > MOST_TENSORS:
        raise ModelFileError(f"{path}: a safetensors file may have {MOST_TENSORS:,} tensors; it has about {tensors:,}")
    return int(size)


# ---------------------------------------------------------------------- what a file is that is no model


def what(head: bytes, length: int) -> str:
    """Returns the rest of a sentence about a file, which has ``length`` bytes and begins with ``head``."""
    if not length:
        return f"{EXPECTED} is empty, 0 bytes: it was not written or not downloaded"
    if head[257:262] == b"ustar":
        return f"{EXPECTED} is a tar archive: extract it (tar xf) and load the model that it holds"
    for begins, words in OTHERS.items():
        if head.startswith(begins):
            return f"{EXPECTED} is {words}"
    if _is_graph_of_tensorflow(head):
        return f"{EXPECTED} is the graph of a TensorFlow SavedModel: load the directory that it lies in"
    if head[4:8] == b"TFL3":
        return f"{EXPECTED} is of TensorFlow Lite: convert the model that it was made of"
    if head[:1] == b"\x80":
        return (
            "is a pickle that torch.save did not write. Opening it would run what it names, so minirnn does not. Where "
            "you trust it, write its arrays with NumPy alone: safetensors.numpy.save_file({name: array, ...}, path)"
        )
    text = as_text(head)
    return _written(text, length) if text is not None else f"{EXPECTED} begins with {head[:8]!r}"


def as_text(head: bytes) -> str | None:
    """The beginning of a text, or None for other bytes."""
    if re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]", head):
        return None
    try:  # a letter of several bytes may be cut off at the end
        return codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError:
        return None


def _written(text: str, length: int) -> str:
    """The same for a text."""
    stripped = text.lstrip()
    if stripped.startswith("version https://git-lfs"):
        size = re.search(r"^size (\d{1,20})$", text, re.MULTILINE)
        whole = f", {int(size[1]):,} bytes," if size else ""
        return (
            f"{EXPECTED} is a pointer of git-lfs, {length:,} bytes, to the file itself{whole} which is not here: "
            "git lfs pull in its repository, or download it from there"
        )
    if re.match(r"<!doctype html|<html|<head", stripped, re.IGNORECASE):
        title = re.search(r"<title[^>]*>([^<]*)", stripped, re.IGNORECASE)
        named = f" with the title {title[1].strip()!r:.60}" if title and title[1].strip() else ""
        return f"{EXPECTED} is a web page{named}: what was downloaded is an answer about the model, not the model"
    if stripped.startswith("<?xml"):
        return f"{EXPECTED} is XML"
    if stripped[:1] in ("{", "["):
        if '"weight_map"' in text:
            return f"{EXPECTED} is the index (JSON) of a model in several files: load one of those that it names"
        if '"class_name"' in text:
            return f"{EXPECTED} is Keras' JSON of a model, without weights: load the weights, with config= this file"
        return f"{EXPECTED} is JSON, a description without weights"
    if re.match(r"[(\]}c].{0,80}\n", text) and ("p0\n" in text or "p1\n" in text):
        return f"{EXPECTED} is a pickle as Python 2 wrote them, which torch.save never did"
    return f"{EXPECTED} is text, which begins with {text[:20]!r}"


def what_zip(names: Collection[str]) -> str:
    """Returns the rest of a sentence about a zip of these entries, which torch.save did not write."""
    ends = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in ends or "bytecode.pkl" in ends:
        return TORCHSCRIPT
    if names and all(name.endswith(".npy") for name in names):
        arrays = some(name.removesuffix(".npy") for name in names)
        return (
            f"holds arrays of NumPy (.npz): {arrays}. Where these are torch's names: "
            "minirnn.formats.torch.from_state_dict(dict(numpy.load(path)))"
        )
    models = [name for name in names if name.endswith(MODELS)]
    if models:
        return f"is a zip archive around a model: unpack it and load {some(models)}"
    if "saved_model.pb" in ends:
        return (
            "is a TensorFlow SavedModel in a zip archive, which minirnn does not read. Where Keras is: "
            "keras.models.load_model(...).save('model.keras')"
        )
    if "[Content_Types].xml" in ends:
        return f"{EXPECTED} is an office document"
    return f"{EXPECTED} is a zip archive of other files: {some(names) or 'none'}"


def what_folder(names: Iterable[str]) -> str:
    """Returns words about a directory of these files, and which of them to load; "" where nothing is known."""
    ends = sorted(names)
    if "saved_model.pb" in ends:
        return (
            f", a TensorFlow SavedModel without {SAVED_MODEL}, in which Keras 2 describes the layers. Where TensorFlow "
            "is: tf.keras.models.load_model(...).save('model.h5')"
        )
    if "data.pkl" in ends:
        return (
            ", an unpacked file of torch.save: pack it again, with its name in the zip (zip -0 -r model.pt DIRECTORY)"
        )
    models = [name for name in ends if name.endswith(MODELS)]
    return f"; load a file in it: {some(models)}" if models else ""


def some(names: Iterable[str], most: int = MOST_SHOWN) -> str:
    """A few names, for an error."""
    shown = [f"{name!r:.60}" for name in islice(names, most + 1)]
    return ", ".join(shown[:most]) + (" ..." if len(shown) > most else "")
