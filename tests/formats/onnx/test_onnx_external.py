"""Weights in a file beside the model: read where they lie in its folder, and from nowhere else."""

import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hostile
import numpy as np
import pytest
from click.testing import CliRunner
from mutations import Field, message
from onnx_bytes import FLOAT, KINDS, graph, model, node, port, text, within
from onnx_structures import NAMED

import minirnn
from minirnn import ModelFileError
from minirnn.cli.app import main
from minirnn.formats.onnx import Graph, read

Y = [port("y", None)]
DATA = "weights.bin"


def outside(name: str, shape: tuple[int, ...], location: str = DATA, kind: int = FLOAT, **more: Any) -> list[Field]:
    """A TensorProto whose numbers are elsewhere; ``more`` has the entries offset and length."""
    entries = {"location": location} | {key: str(value) for key, value in more.items()}
    about: list[Field] = [*((1, 0, n) for n in shape), (2, 0, kind), *text(8, name), (14, 0, 1)]
    return about + within(13, *([*text(1, key), *text(2, value)] for key, value in entries.items()))


def shown(*tensors: list[Field], kind: int = FLOAT) -> bytes:
    """A model that gives the tensor w."""
    return model([node("Identity", "w", "y")], [], [port("y", None, kind)], tensors)


def weights(count: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(count).normal(size=count).astype(np.float32)


@pytest.mark.parametrize("location", [DATA, f"./{DATA}"])
def test_tensors_come_from_where_their_entries_say(location: str, tmp_path: Path) -> None:
    w = weights(12)
    (tmp_path / DATA).write_bytes(b"head" + w.tobytes())
    first = outside("w", (2, 3), location, offset=4, length=24)
    second = outside("v", (6,), location, offset=28)  # as many as its shape asks for
    nodes = [node("Identity", "w", "y"), node("Identity", "v", "z")]
    (tmp_path / "m.onnx").write_bytes(model(nodes, [], [*Y, port("z", None)], [first, second]))
    found = read(tmp_path / "m.onnx").run({})
    np.testing.assert_array_equal(found["y"], w[:6].reshape(2, 3))
    np.testing.assert_array_equal(found["z"], w[6:])


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "int64", "bool"])
def test_numbers_of_every_type_are_as_in_raw_data(dtype: str, tmp_path: Path) -> None:
    w = np.array([0, 1, 1, 0, 1], dtype)
    (tmp_path / DATA).write_bytes(w.tobytes())
    kind = KINDS[dtype]
    (tmp_path / "m.onnx").write_bytes(shown(outside("w", (5,), kind=kind), kind=kind))
    found = read(tmp_path / "m.onnx").run({})["y"]
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, w)


def test_a_chain_of_layers_is_loaded_with_them(tmp_path: Path) -> None:
    """As many weights in a second file as in one, and the same answers."""
    rng = np.random.default_rng(0)
    shapes = {"W": (1, 8, 3), "R": (1, 8, 8), "M": (8, 2)}
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    (tmp_path / DATA).write_bytes(b"".join(a.tobytes() for a in arrays.values()))
    tensors, at = [], 0
    for name, a in arrays.items():
        tensors.append(outside(name, a.shape, offset=at, length=a.nbytes))
        at += a.nbytes
    one = [(1, 0, 1), (2, 0, 7), *text(8, "one"), (9, 2, np.int64(1).tobytes())]
    nodes = [node("RNN", "x W R", "r"), node("Squeeze", "r one", "s"), node("MatMul", "s M", "y")]
    (tmp_path / "m.onnx").write_bytes(model(nodes, [port("x", ["T", "B", 3])], Y, [*tensors, one]))
    layer = minirnn.load(tmp_path / "m.onnx", backend="numpy")
    assert isinstance(layer, minirnn.Layer)
    x, h, ys = rng.normal(size=(4, 2, 3)).astype(np.float32), np.zeros((2, 8)), []
    for step in x:
        h = np.tanh(step @ arrays["W"][0].T + h @ arrays["R"][0].T)
        ys.append(h @ arrays["M"])
    np.testing.assert_allclose(layer(x)[0], ys, atol=1e-5)


def chain(folder: Path) -> Path:
    """A layer whose weights are beside it."""
    (folder / DATA).write_bytes(weights(88).tobytes())
    tensors = [outside("W", (1, 8, 3), length=96), outside("R", (1, 8, 8), offset=96, length=256)]
    nodes = [node("RNN", "x W R", "r"), node("Squeeze", "r one", "y")]
    one = [(1, 0, 1), (2, 0, 7), *text(8, "one"), (9, 2, np.int64(1).tobytes())]
    (folder / "m.onnx").write_bytes(model(nodes, [port("x", ["T", "B", 3])], Y, [*tensors, one]))
    return folder / "m.onnx"


def test_convert_and_inspect_find_them(tmp_path: Path) -> None:
    path, copied = chain(tmp_path), tmp_path / "sub" / "m.safetensors"
    copied.parent.mkdir()
    assert "96 parameters" in CliRunner().invoke(main, ["inspect", str(path)]).output  # a bias too
    assert CliRunner().invoke(main, ["convert", str(path), str(copied)]).exit_code == 0
    x = weights(30).reshape(5, 2, 3)
    np.testing.assert_array_equal(
        minirnn.load(copied, backend="numpy")(x)[0], minirnn.load(path, backend="numpy")(x)[0]
    )
    (tmp_path / DATA).unlink()
    for command in (["inspect", str(path)], ["convert", str(path), str(copied)]):
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 2
        assert done.stderr == (
            f"minirnn: {path}: tensor 'W' is in 'weights.bin', which must lie beside the model; it is not there\n"
        )


def test_tensors_of_attributes_and_of_graphs_within_nodes_are_read(tmp_path: Path) -> None:
    w = weights(6)
    (tmp_path / DATA).write_bytes(w.tobytes())
    body = message(
        graph(
            [node("Add", "a v", "b")], [port("a", None)], [port("b", None)], [outside("v", (3,), offset=12, length=12)]
        )
    )
    nodes = [
        node("Constant", "", "c", value=outside("", (3,), length=12)),
        node("Scan", "x", "s", body=body, num_scan_inputs=1),
    ]
    nodes.append(node("Mul", "s c", "y"))
    (tmp_path / "m.onnx").write_bytes(model(nodes, [port("x", ["T", 3])], Y))
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_allclose(read(tmp_path / "m.onnx").run({"x": x})["y"], (x + w[3:]) * w[:3], rtol=1e-6)


# ---------------------------------------------------------------------- refused

ELSEWHERE = [
    "/etc/passwd", "../weights.bin", "..", ".", "", "./", "sub/weights.bin", "./../weights.bin", "sub\\weights.bin",
    "C:\\weights.bin", "C:weights.bin", "weights.bin\0.txt", "//server/share", "././/etc/passwd", "weights.bin/",
]  # fmt: skip


@pytest.mark.parametrize("location", ELSEWHERE)
def test_no_other_folder_is_looked_into(location: str, tmp_path: Path) -> None:
    (tmp_path / "models" / "sub").mkdir(parents=True)
    for place in (tmp_path, tmp_path / "models" / "sub", tmp_path / "models"):
        (place / DATA).write_bytes(bytes(4))
    (tmp_path / "models" / "m.onnx").write_bytes(shown(outside("w", (1,), location)))
    with pytest.raises(
        ModelFileError, match="tensor 'w' must be in a file of the model's own folder, given by its name"
    ):
        read(tmp_path / "models" / "m.onnx")


def linked(path: Path, to: Path) -> None:
    try:
        path.symlink_to(to)
    except OSError as error:
        pytest.skip(f"links cannot be made here: {error}")


def test_links_are_not_followed_wherever_they_lead(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(bytes(4))
    (tmp_path / "m.onnx").write_bytes(shown(outside("w", (1,))))
    for target in (tmp_path / "other", Path("/etc/passwd"), tmp_path / "nothing"):
        linked(tmp_path / DATA, target)
        with pytest.raises(ModelFileError, match=r"plain file beside the model; 'weights.bin' is a link"):
            read(tmp_path / "m.onnx")
        (tmp_path / DATA).unlink()


def test_a_link_that_comes_after_the_look_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who exchanges the file between look and opening gets an error of the system's, said in a sentence."""
    if not hasattr(os, "O_NOFOLLOW"):
        pytest.skip("this system has no O_NOFOLLOW")
    (tmp_path / "other").write_bytes(bytes(4))
    linked(tmp_path / DATA, tmp_path / "other")
    (tmp_path / "m.onnx").write_bytes(shown(outside("w", (1,))))
    monkeypatch.setattr(Path, "lstat", lambda self: self.stat())
    with pytest.raises(ModelFileError, match=r"tensor 'w' is in 'weights\.bin', which cannot be read"):
        read(tmp_path / "m.onnx")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / DATA).mkdir()
    (tmp_path / "m.onnx").write_bytes(shown(outside("w", (1,))))
    with pytest.raises(ModelFileError, match=r"'weights.bin' is a directory"):
        read(tmp_path / "m.onnx")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes by name")
def test_a_pipe_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / DATA)
    (tmp_path / "plain").write_bytes(bytes(4))
    (tmp_path / "m.onnx").write_bytes(shown(outside("w", (1,))))
    with pytest.raises(ModelFileError, match=r"'weights.bin' is no file"):
        read(tmp_path / "m.onnx")
    monkeypatch.setattr(Path, "lstat", lambda _: (tmp_path / "plain").stat())  # it was a file when it was looked at
    with pytest.raises(ModelFileError, match=r"'weights.bin' is no file"):
        read(tmp_path / "m.onnx")


def test_a_file_that_is_missing_is_named_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(shown(outside("w", (1,))))
    with pytest.raises(ModelFileError) as caught:
        minirnn.load(tmp_path / "m.onnx")
    sentence = "tensor 'w' is in 'weights.bin', which must lie beside the model; it is not there"
    assert str(caught.value) == f"{tmp_path / 'm.onnx'}: {sentence}"


def test_a_model_that_is_no_file_has_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory is not looked into."""
    (tmp_path / DATA).write_bytes(bytes(4))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ModelFileError, match=r"tensor 'w' is in another file, 'weights.bin': give the path of the model"
    ):
        read(shown(outside("w", (1,))))


SIZES: dict[str, tuple[list[Field], str]] = {
    "past the end": (outside("w", (4,), offset=8), "ends at byte 24 of 'weights.bin', which must have them; it has 16"),
    "at no byte": (outside("w", (1,), offset=2**62), "which must have them; it has 16"),
    "more than there is": (outside("w", (2**30, 2**8)), "which must have them; it has 16"),
    "a length of another shape": (
        outside("w", (4,), length=8),
        "must take 16 bytes in 'weights.bin'; its length there is 8",
    ),
    "an offset below 0": (outside("w", (4,), offset=-4), "must have a whole number for its offset; got '-4'"),
    "an offset in other digits": (outside("w", (4,), offset="٤"), "must have a whole number for its offset"),
    "a length that is no number": (
        outside("w", (4,), length="1e1"),
        "must have a whole number for its length; got '1e1'",
    ),
    "an offset of many digits": (outside("w", (4,), offset="9" * 5000), "must have a whole number for its offset"),
    "sizes that overflow": (outside("w", (2**33, 2**33)), "must have a size from 0"),
    "text": (outside("w", (1,), kind=8), "got string"),
    "numbers here too": ([*outside("w", (1,)), (9, 2, bytes(4))], "its parts disagree"),
    "a third place": ([*outside("w", (1,))[:-1], (14, 0, 2)], "its parts disagree"),
    "no place": ([(1, 0, 1), (2, 0, 1), *text(8, "w"), (14, 0, 1)], "given by its name; got ''"),
}


@pytest.mark.parametrize(("about", "words"), SIZES.values(), ids=SIZES.keys())
def test_sizes_are_checked_before_memory_is_taken(about: list[Field], words: str, tmp_path: Path) -> None:
    (tmp_path / DATA).write_bytes(bytes(16))
    (tmp_path / "m.onnx").write_bytes(shown(about))
    with pytest.raises(ModelFileError, match=words) as caught:
        read(tmp_path / "m.onnx")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


def test_entries_beside_numbers_in_the_file_say_nothing(tmp_path: Path) -> None:
    """A writer may have left them there: data_location decides."""
    about = [field for field in outside("w", (1,), "/etc/passwd") if field[0] != 14] + [(9, 2, np.float32(3).tobytes())]
    assert read(shown(about)).run({})["y"] == 3


# ---------------------------------------------------------------------- many, and large


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[hostile.Worker]:
    folder = tmp_path_factory.mktemp("external")
    (folder / "warm").write_bytes(NAMED["final states doubled, as an output"]())
    (folder / DATA).write_bytes(bytes(4))
    (folder / "beside").write_bytes(shown(outside("w", (1,))))
    with hostile.Worker("minirnn:load", [str(folder / name) for name in ("warm", "beside")]) as process:
        yield process


def tied(count: int, size: int, kind: int, *, apart: int = 0) -> bytes:
    """Tensors that are in the same place, or a few bytes apart."""
    tensors = [outside(f"w{k}" if k else "w", (size,), kind=kind, offset=k * apart) for k in range(count)]
    nodes = [node("Identity", "w", "y"), *(node("Shape", f"w{k}", f"s{k}") for k in range(1, min(count, 1000)))]
    return model(nodes, [], [port("y", None, kind)], tensors)


MANY = {
    "one place for many tensors": (tied(2000, 2**20, FLOAT), "loaded"),
    "one place for many tensors that are widened": (tied(2000, 2**20, 10), "refused"),
    "places that overlap": (tied(2000, 2**20, FLOAT, apart=4), "refused"),
    "tensors of no numbers": (tied(8000, 0, FLOAT), "loaded"),
    "tensors of one number": (tied(8000, 1, FLOAT, apart=4), "loaded"),
}


@pytest.mark.skipif(sys.platform == "win32", reason="the watched process needs poll")
@pytest.mark.parametrize(("data", "expected"), MANY.values(), ids=MANY.keys())
def test_many_tensors_in_one_file_take_no_more_than_it(
    data: bytes, expected: str, worker: hostile.Worker, tmp_path: Path
) -> None:
    size = 2**22 + 4 * 2000
    (tmp_path / DATA).write_bytes(bytes(size))
    (tmp_path / "m.onnx").write_bytes(data)
    outcome, words, seconds, growth = worker.load(str(tmp_path / "m.onnx"))
    assert not hostile.verdict(outcome, words, seconds, growth, len(data) + size)
    assert outcome == expected


def test_a_large_file_is_read_only_where_a_tensor_is(worker: hostile.Worker, tmp_path: Path) -> None:
    """One number of a file of a gigabyte, which has no blocks on the disk."""
    with (tmp_path / DATA).open("wb") as file:
        file.truncate(2**30)
    data = shown(outside("w", (1,), offset=2**29))
    (tmp_path / "m.onnx").write_bytes(data)
    assert not hostile.verdict(*worker.load(str(tmp_path / "m.onnx")), size=len(data))


@pytest.mark.extras
def test_what_torch_writes_by_default_is_what_onnxruntime_reads(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")

    class Net(torch.nn.Module):  # type: ignore[misc, name-defined]  # torch is not imported for the checker
        def __init__(self) -> None:
            super().__init__()
            self.gru, self.fc = torch.nn.GRU(3, 64, batch_first=True), torch.nn.Linear(64, 2)

        def forward(self, x: Any) -> Any:
            return self.fc(self.gru(x)[0][:, -1])

    path, x = tmp_path / "m.onnx", torch.randn(2, 5, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about torch
        torch.onnx.export(Net().eval(), (x,), str(path), dynamo=True, verbose=False)
    assert (tmp_path / "m.onnx.data").stat().st_size > 50_000
    session = runtime.InferenceSession(str(path))
    expected = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    loaded = minirnn.load(path, backend="numpy")
    assert isinstance(loaded, Graph)
    np.testing.assert_allclose(loaded(x.numpy())[0], expected, atol=1e-6)
