"""What a file is that is no model file: told from its first bytes, or from the names in a zip, with what can be done.

A wrong file is mostly a right one that did not arrive: an error page, a pointer of git-lfs, an archive around the
model, a description without the weights.
"""

import re
from collections.abc import Collection, Iterable
from itertools import islice
from pathlib import Path

EXPECTED = "must be a model file of minirnn, torch, Keras or ONNX; it"
LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."  # how files of torch before 1.6 begin
LONGEST_HEAD = 4096  # bytes that are looked at
MODELS = (".safetensors", ".pt", ".pth", ".bin", ".keras", ".h5", ".hdf5", ".onnx")  # how models' names end
MOST_SHOWN = 3
MOST_LISTED = 1000  # files of a directory that are looked at

PACKED = {  # beginnings of what holds other files
    b"\x1f\x8b": "compressed by gzip",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ\0": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"7z\xbc\xaf\x27\x1c": "an archive of 7-Zip",
    b"Rar!": "an archive of RAR",
}
OTHERS = {  # of programs that minirnn does not read
    b"GGUF": "a GGUF file, of llama.cpp",
    b"%PDF": "a PDF document",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"\x7fELF": "a program",
    b"MZ": "a program",
    b"SQLite format 3": "a database of SQLite",
}
ARRAY = "one array of NumPy (.npy), without the names of a model's weights"
TORCHSCRIPT = (
    "is a TorchScript program, which minirnn does not read. Where torch is, its weights can be written alone: "
    "torch.save(torch.jit.load(path).state_dict(), other)"
)


def what(head: bytes, length: int) -> str:
    """What a file of ``length`` bytes is that begins with ``head``: the rest of a sentence that its name begins."""
    if not length:
        return f"{EXPECTED} is empty, 0 bytes: it was not written or not downloaded"
    if head.startswith(LEGACY):
        return (
            "is of torch's format before 1.6, which minirnn does not read. Where torch is, it can be written anew: "
            "torch.save(torch.load(path, weights_only=True), other)"
        )
    if head[257:262] == b"ustar":
        return f"{EXPECTED} is a tar archive: extract it (tar xf) and load the model that it holds"
    for begins, words in PACKED.items():
        if head.startswith(begins):
            return f"{EXPECTED} is {words}: unpack it and load the model that it holds"
    for begins, words in OTHERS.items():
        if head.startswith(begins):
            return f"{EXPECTED} is {words}"
    if head.startswith(b"\x93NUMPY"):
        return f"{EXPECTED} is {ARRAY}"
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
    for cut in range(4):  # a letter of several bytes may be cut off at the end
        try:
            return head[: len(head) - cut].decode("utf-8-sig")
        except UnicodeDecodeError:
            continue
    return None


def _written(text: str, length: int) -> str:
    """What a text is."""
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
    """What a zip of these entries is that torch.save did not write: the rest of a sentence that its name begins."""
    ends = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in ends or "bytecode.pkl" in ends:
        return TORCHSCRIPT
    if "archive_format" in ends or "serialized_exported_program.json" in ends:
        return (
            "is a program of torch.export (.pt2), which minirnn does not read. Where torch is, its weights can be "
            "written alone: torch.save(torch.export.load(path).state_dict, other)"
        )
    if names and all(name.endswith(".npy") for name in names):
        arrays = _some(name.removesuffix(".npy") for name in names)
        return (
            f"holds arrays of NumPy (.npz): {arrays}. Where these are torch's names: "
            "minirnn.formats.torch.from_state_dict(dict(numpy.load(path)))"
        )
    models = [name for name in names if name.endswith(MODELS)]
    if models:
        return f"is a zip archive around a model: unpack it and load {_some(models)}"
    if "saved_model.pb" in ends:
        return (
            "is a TensorFlow SavedModel in a zip archive, which minirnn does not read. Where Keras is: "
            "keras.models.load_model(...).save('model.keras')"
        )
    if "[Content_Types].xml" in ends:
        return f"{EXPECTED} is an office document"
    return f"{EXPECTED} is a zip archive of other files: {_some(names) or 'none'}"


def check_is_file(path: Path) -> None:
    """Raise FileNotFoundError unless there is a file; of a directory it says what it is."""
    if path.is_dir():
        names = (one.name for one in islice(path.iterdir(), MOST_LISTED))
        raise FileNotFoundError(f"no model file at {path}: it is a directory{what_folder(names)}")
    if not path.is_file():
        raise FileNotFoundError(f"no model file at {path}")


def what_folder(names: Iterable[str]) -> str:
    """What a directory of these files is, and which of them to load; "" where nothing is known."""
    ends = sorted(names)
    if "saved_model.pb" in ends:
        return ", a TensorFlow SavedModel. Where Keras is: keras.models.load_model(...).save('model.keras')"
    if "data.pkl" in ends:
        return (
            ", an unpacked file of torch.save: pack it again, with its name in the zip (zip -0 -r model.pt DIRECTORY)"
        )
    models = [name for name in ends if name.endswith(MODELS)]
    return f"; load a file in it: {_some(models)}" if models else ""


def _some(names: Iterable[str]) -> str:
    shown = [f"{name!r:.60}" for name in names]
    return ", ".join(shown[:MOST_SHOWN]) + (" ..." if len(shown) > MOST_SHOWN else "")
