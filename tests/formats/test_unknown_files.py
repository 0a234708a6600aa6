"""Files that are no models, or of a kind that is not read: what ``load`` says they are, and that its advice works."""

import gzip
import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from minirnn import LSTM, Linear, ModelFileError, Sequential, load, save, to_onnx
from minirnn.cli.app import main
from minirnn.formats import torch as torch_files


def zipped(**entries: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), content)
    return file.getvalue()


def npz() -> bytes:
    file = io.BytesIO()
    arrays: dict[str, Any] = torch_files.arrays_of(LSTM(3, 4).init(0, backend="numpy"))
    np.savez(file, **arrays)
    return file.getvalue()


def npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.ones(3))
    return file.getvalue()


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.pt"))
    return file.getvalue()


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345678\n"

FILES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "it is empty, 0 bytes: it was not written or not downloaded"),
    "a pointer of git-lfs": (
        POINTER.encode(),
        f"it is a pointer of git-lfs, {len(POINTER)} bytes, to the file itself, 12,345,678 bytes, which",
    ),
    "a page": (
        b"\n<!DOCTYPE html>\n<html><head><title>404 \xc2\xb7 not found</title></head></html>",
        "it is a web page with the title '404 · not found'",
    ),
    "a page without a title": (b"<HTML><body>no</body></HTML>", "it is a web page: what was downloaded"),
    "XML": (b"<?xml version='1.0'?><net/>", "it is XML"),
    "JSON": (b'{"hidden_size": 4}', "it is JSON, a description without weights"),
    "JSON like safetensors": (b'{"cfg": {"x": 1}}', "it is JSON, a description without weights"),
    "JSON of Keras": (b'{"class_name": "Sequential", "config": {}}', "it is Keras' JSON of a model, without weights"),
    "an index": (b'{"metadata": {}, "weight_map": {}}', "it is the index (JSON) of a model in several files"),
    "text": (b"To be, or not to be", "it is text, which begins with 'To be, or not to be'"),
    "text that begins as ONNX may": (b"Be that as it may\n" * 400, "it is text, which begins with 'Be that as it may"),
    "text in many bytes a letter": ("天地玄黃".encode() * 999, "it is text, which begins with '天地玄黃"),
    "a pickle": (pickle.dumps({"a": 1}), "is a pickle that torch.save did not write"),
    "an old pickle": (pickle.dumps({"a": 1}, 0), "it is a pickle as Python 2 wrote them"),
    "a tar archive": (tar(), "it is a tar archive: extract it (tar xf) and load the model that it holds"),
    "gzip": (gzip.compress(b"model"), "it is compressed by gzip: unpack it"),
    "bzip2": (b"BZh91AY&SY", "it is compressed by bzip2: unpack it"),
    "one array": (npy(), "it is one array of NumPy (.npy), without the names"),
    "arrays": (npz(), "holds arrays of NumPy (.npz): 'weight_ih_l0', 'weight_hh_l0', 'bias_ih_l0' ..."),
    "GGUF": (b"GGUF\x03\0\0\0", "it is a GGUF file"),
    "TensorFlow Lite": (b"\x1c\0\0\0TFL3\0\0", "it is of TensorFlow Lite"),
    "zeros": (bytes(100), r"it begins with b'\x00\x00"),
    "a zip around a model": (
        zipped(models__a_dot_pt="x", readme_dot_txt="x"),
        "is a zip archive around a model: unpack it and load 'models/a.pt'",
    ),
    "a document": (zipped(**{"[Content_Types].xml": "x"}), "it is an office document"),
    "a SavedModel": (zipped(m__saved_model_dot_pb="x", m__variables__v="x"), "is a TensorFlow SavedModel in a zip"),
    "another zip": (zipped(readme_dot_txt="x"), "it is a zip archive of other files: 'readme.txt'"),
    "an empty zip": (zipped(), "it is a zip archive of other files: none"),
    "torch.export": (zipped(m__archive_format="pt2", m__a_dot_json="{}"), "must hold one program of torch.export"),
    "TorchScript": (
        zipped(m__code____torch___dot_py="x", m__constants_dot_pkl="x"),
        "is a TorchScript program without data.pkl, which minirnn does not read",
    ),
    "TorchScript for telephones": (zipped(m__bytecode_dot_pkl="x"), "is a TorchScript program"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_called_what_it_is(name: str, tmp_path: Path) -> None:
    data, words = FILES[name]
    path = tmp_path / "model.pt"
    path.write_bytes(data)
    for opened in (load, torch_files.load):
        with pytest.raises(ModelFileError) as caught:
            opened(path)
        assert words in str(caught.value)
        assert str(caught.value).startswith(f"{path} ")
        assert "\n" not in str(caught.value)
    result = CliRunner().invoke(main, ["inspect", str(path)])
    assert result.exit_code == 2
    assert words in result.stderr


MAKERS: dict[str, Callable[[Path], Any]] = {
    ".safetensors": lambda path: save(Sequential(LSTM(3, 4), Linear(4, 2)).init(0), path),
    " of torch.safetensors": lambda path: torch_files.save(LSTM(3, 4).init(0), path),
    ".pt": lambda path: torch_files.save(LSTM(3, 4).init(0), path),
    ".onnx": lambda path: to_onnx(LSTM(3, 4).init(0), path),
}


@pytest.mark.parametrize(
    "form", [pytest.param(form, marks=[pytest.mark.extras] if form == ".onnx" else []) for form in MAKERS]
)
def test_a_download_that_was_cut_off_is_told(form: str, tmp_path: Path) -> None:
    if form == ".onnx":
        pytest.importorskip("onnx", reason="onnx is not installed: pip install 'minirnn[onnx]'")
    path = tmp_path / f"model{form}"
    MAKERS[form](path)
    whole = path.read_bytes()
    for length in (60, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelFileError, match="a download that was cut off looks like this"):
            load(path)
    path.write_bytes(whole)
    load(path)


def test_a_directory_is_told_apart(tmp_path: Path) -> None:
    def refusal(*names: str) -> str:
        folder = tmp_path / f"of {len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        for name in names:
            (folder / name).write_bytes(b"")
        with pytest.raises(FileNotFoundError) as caught:
            load(folder)
        assert f"no model file at {folder}: it is a directory" in str(caught.value)
        return str(caught.value)

    assert refusal("config.json", "model.safetensors").endswith("; load a file in it: 'model.safetensors'")
    assert "a TensorFlow SavedModel" in refusal("saved_model.pb", "fingerprint.pb")
    assert "an unpacked file of torch.save" in refusal("data.pkl", "version", "byteorder")
    assert refusal("readme.txt").endswith("it is a directory")
    with pytest.raises(FileNotFoundError, match=r"no model file at .*none$"):
        load(tmp_path / "none")


def test_an_unpacked_file_of_torch_packed_as_advised_is_read(tmp_path: Path) -> None:
    model = LSTM(3, 4).init(0, backend="numpy")
    torch_files.save(model, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        archive.extractall(tmp_path)  # noqa: S202 - written here
    with zipfile.ZipFile(tmp_path / "b.pt", "w") as archive:  # as zip -0 -r b.pt archive does
        for path in sorted((tmp_path / "archive").rglob("*")):
            archive.write(path, path.relative_to(tmp_path))
    np.testing.assert_array_equal(load(tmp_path / "b.pt", backend="numpy").weights, model.weights)


def test_arrays_of_numpy_opened_as_advised(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(npz())
    with pytest.raises(ModelFileError) as caught:
        load(tmp_path / "a.npz")
    advice = str(caught.value).rpartition("names: ")[2]
    model = eval(advice, {"minirnn": __import__("minirnn"), "numpy": np, "path": tmp_path / "a.npz"})  # noqa: S307 - our own words
    np.testing.assert_array_equal(model.weights, LSTM(3, 4).init(0).weights)


@pytest.mark.extras
@pytest.mark.filterwarnings("ignore")  # says torch of its own formats
def test_where_the_module_is_the_advice_leads_to_a_file_that_is_read(tmp_path: Path) -> None:
    torch: Any = pytest.importorskip("torch", reason="torch is not installed: what it writes is not made")
    net, path, other = torch.nn.Sequential(torch.nn.Linear(3, 4)).eval(), tmp_path / "model.pt", tmp_path / "other.pt"
    x = torch.randn(5, 2, 3)
    torch.jit.save(torch.jit.freeze(torch.jit.script(net)), path)
    with pytest.raises(ModelFileError) as caught:
        load(path)
    code = str(caught.value)[str(caught.value).rindex("torch.save(") :]
    exec(code, {"torch": torch, "other": other, "model": net})  # noqa: S102
    y, _ = load(other)(x.numpy())
    np.testing.assert_allclose(y, net(x).detach().numpy(), rtol=0, atol=1e-6)


def test_json_is_not_mistaken_for_a_header(tmp_path: Path) -> None:
    """A safetensors file begins with a length in eight bytes, and its header with a brace."""
    path = tmp_path / "a.json"
    for text in ('{"a": 1,{', '{"abc":\n{}', json.dumps({"cfg": {"b": 2}}), "[1, 2, 3{"):  # a brace as the ninth
        path.write_text(text)
        with pytest.raises(ModelFileError, match="it is JSON"):
            load(path)
