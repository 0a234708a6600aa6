"""Named tensors of torch's files, without torch: what a ``.pt`` or a foreign ``.safetensors`` holds, read one by one.

A ``.pt`` that ``torch.save`` wrote since version 1.6 is a zip: ``data.pkl``, a pickle (``pickled``), and one entry of
bytes for each storage.  What it wrote before is read by ``legacy``, and what pickle wrote without it by ``plain``.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minirnn.core.backend import Array
from minirnn.core.bfloat16 import widened
from minirnn.core.files import ModelFileError
from minirnn.formats import opening
from minirnn.formats.containers import pickle as pickles
from minirnn.formats.containers.pickle import Foreign, UnreadableError
from minirnn.formats.containers.zip import Archive
from minirnn.formats.torch import exported, legacy, plain, script
from minirnn.formats.torch.choosing import chosen
from minirnn.formats.torch.pickled import KNOWN, Choice, Storage, storage_type, stored
from minirnn.formats.torch.stored import Named, StoredTensors, too_large


@contextmanager
def state_dict_in(path: str | os.PathLike[str], part: str | None = None) -> Iterator[StoredTensors]:
    """The state dict in a file, or the one that ``part`` names where there are several; ModelFileError if none."""
    path = Path(path)
    with opening.opened(path) as (file, head, length):
        if head.startswith(opening.ZIP):
            yield _of_zip(Archive(file, path), part)
            return
        if opening.is_legacy(head):
            yield legacy.read(file, length, path, part)
            return
        if plain.is_plain(head):
            yield plain.read(file, length, path, part)
            return
        if part is not None:
            raise ModelFileError(f"{path} is no zip file of torch: it has no part {part!r:.60}")
        if head[8:9] != b"{" or opening.as_text(head[:8]) is not None:
            raise ModelFileError(f"{path} {opening.what(head, length)}")
        with _safetensors(path) as source:
            yield source


# ---------------------------------------------------------------------- safetensors


@contextmanager
def _safetensors(path: Path) -> Iterator[StoredTensors]:
    with opening.safetensors_in(path) as (file, size):
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - safe_open is no mapping
        tensors = {name: Named(tuple(s.get_shape()), s.get_dtype(), name) for name, s in slices.items()}
        for name, tensor in tensors.items():
            if too_large(tensor.shape):
                raise ModelFileError(f"{path}: tensor {name!r:.60} of sizes {tensor.shape!s:.100} is too large")
        raw = opening.tensors_of(path, file, size)

        def fetch(name: str) -> Array:
            array = raw(name)
            return widened(array) if tensors[name].dtype == "BF16" else array

        yield StoredTensors(str(path), tensors, fetch, ordered=False)


# ---------------------------------------------------------------------- zip


def _of_zip(archive: Archive, part: str | None) -> StoredTensors:
    if exported.is_program(archive):
        if part is not None:
            raise ModelFileError(f"{archive.path} is a program of torch.export: it has no part {part!r:.60}")
        return _of_export(archive)
    pickled = [name for name in archive.entries if name.count("/") == 1 and name.endswith("/data.pkl")]
    root = pickled[0][: -len("data.pkl")] if pickled else ""
    if len(pickled) != 1:
        raise ModelFileError(f"{archive.path} {opening.what_zip(archive.entries)}")
    content = unpickled(archive, root)
    if script.is_program(archive, root):
        if part is not None:
            raise ModelFileError(f"{archive.path} is a TorchScript program: it has no part {part!r:.60}")
        return of_content(archive, root, script.choice(archive, root, content))
    return of_content(archive, root, chosen(content, str(archive.path), part))


def _of_export(archive: Archive) -> StoredTensors:
    weights = exported.inner(archive)
    if weights is None:
        return of_content(archive, exported.root_of(archive), exported.choice(archive))
    roots = [name.removesuffix("data.pkl") for name in weights.entries if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise ModelFileError(f"{archive.path} must have weights in {exported.OLD_WEIGHTS}; it has none that are read")
    choice = chosen(unpickled(weights, roots[0]), str(archive.path), None)
    return of_content(weights, roots[0], choice._replace(outline=exported.outline(archive, exported.OLD)))


def unpickled(archive: Archive, root: str) -> Any:
    """What ``data.pkl`` of a zip holds; ``root`` is the folder in which it is."""
    where = f"{archive.path}, data.pkl"
    if archive.entries[f"{root}data.pkl"].file_size > pickles.LARGEST_PICKLE:
        raise ModelFileError(f"{archive.path}: data.pkl may have {pickles.LARGEST_PICKLE:,} bytes")
    data = archive.read(f"{root}data.pkl")
    return pickles.read(data, where, KNOWN, lambda key: _storage(archive, f"{root}data/", key))


def of_content(archive: Archive, root: str, choice: Choice) -> StoredTensors:
    """The tensors of a state dict in a zip, whose storages are its entries."""
    order = archive.read(f"{root}byteorder") if f"{root}byteorder" in archive.entries else b"little"
    if order not in (b"little", b"big"):
        raise ModelFileError(f"{archive.path}: byteorder must be little or big; it is {order!r:.40}")
    held = sum(entry.file_size for entry in archive.entries.values())
    sign = "<" if order == b"little" else ">"
    return stored(choice, str(archive.path), held, lambda storage: archive.read(storage.entry), sign)


def _storage(archive: Archive, folder: str, key: Any) -> Storage | Foreign:
    """The storage of a persistent id ``("storage", class, entry, device, count)``."""
    kind = storage_type(key, 5)
    if isinstance(kind, Foreign):
        return kind
    name, count = key[2], key[4]
    if f"{folder}{name}" not in archive.entries:
        raise UnreadableError(f"storage {pickles.shown(name)} is not in the file")
    storage, size = Storage(f"{folder}{name}", kind.dtype, count), archive.entries[f"{folder}{name}"].file_size
    if type(count) is not int or count * storage.itemsize != size:
        raise UnreadableError(
            f"storage {name!r:.40} must be {pickles.shown(count)} numbers of {storage.itemsize} bytes; it has {size:,}"
        )
    return storage
