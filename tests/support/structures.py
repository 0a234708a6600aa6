"""Files made to cost more than they are worth: each is sound in form, and small, and describes something large.

``mutations.py`` changes valid files, and hardly ever comes upon these.  A kind is a function of a generator of random
numbers; decorated, it is one of its format's, and ``hostile.py`` draws from it beside the spoilt files.
"""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any, TypeAlias

from mutations import zipped

try:
    import h5py
except ImportError:  # as in corpora.py, formats of packages that are not installed have fewer files
    h5py = None

Kind: TypeAlias = Callable[[Random], bytes]

KINDS: dict[str, dict[str, Kind]] = {}


def kind(form: str) -> Callable[[Kind], Kind]:
    """Make a function a kind of file of the format ``form``."""

    def known(make: Kind) -> Kind:
        KINDS.setdefault(form, {})[make.__name__] = make
        return make

    return known


def valued(forms: dict[str, Callable[[Any], bytes]]) -> Callable[[Callable[[Random], Any]], Callable[[Random], Any]]:
    """Make a function that draws a value a kind of several formats, each with what writes the value."""

    def known(make: Callable[[Random], Any]) -> Callable[[Random], Any]:
        for form, write in forms.items():

            def written(rng: Random, write: Callable[[Any], bytes] = write) -> bytes:
                return write(make(rng))

            written.__name__ = make.__name__
            kind(form)(written)
        return make

    return known


def drawn(form: str) -> Kind | None:
    """A function that draws a file of any kind of a format, None where there are none."""
    return (lambda rng: rng.choice(list(KINDS[form].values()))(rng)) if form in KINDS else None


# ---------------------------------------------------------------------- pickles in the zip of a .pt


def pickled(program: bytes) -> bytes:
    """A ``.pt`` of this pickle, deflated, with a storage of 16 bytes."""
    entries = [("a/data.pkl", b"\x80\x02" + program + b"."), ("a/data/0", bytes(16))]
    return zipped(entries, zipfile.ZIP_DEFLATED)


def text(words: str) -> bytes:
    data = words.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def integer(n: int) -> bytes:
    data = n.to_bytes(n.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


@kind("torch zip")
def a_string_encoded_many_times(rng: Random) -> bytes:
    size, times = rng.randrange(2**18, 2**19), rng.randrange(500, 2000)
    arguments = text("a" * size) + text("latin1") + b"\x86q\x00"
    return pickled(arguments + b"c_codecs\nencode\nq\x01](" + b"h\x01h\x00R" * times + b"e")


@kind("torch zip")
def a_set_made_many_times(rng: Random) -> bytes:
    size, times = rng.randrange(10_000, 60_000), rng.randrange(500, 1000)
    members = b"](" + b"".join(b"M" + struct.pack("<H", k) for k in range(size)) + b"e\x85q\x00"
    return pickled(members + b"cbuiltins\nset\nq\x01](" + b"h\x01h\x00R" * times + b"e")


@cache
def pairs_of_one_hash(count: int) -> list[tuple[int, int]]:
    """Pairs of integers whose tuples CPython hashes to one number.

    A tuple's hash takes in an entry a (an integer hashes to itself) by ``h = rotate((h + a P2), 31) P1``, modulo 2**64;
    P1 and P2 are odd, so for each first entry there is a second one that leads to a chosen h.
    """
    P1, P2, start, whole = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x27D4EB2F165667C5, 2**64
    wanted = (1234567 * pow(P1, -1, whole)) % whole
    wanted = (wanted >> 31) | (wanted << 33) % whole  # rotated back
    pairs: list[tuple[int, int]] = []
    first = 0
    while len(pairs) < count:
        first += 1
        h = (start + first * P2) % whole
        h = ((h << 31) % whole | (h >> 33)) * P1 % whole
        second = (wanted - h) * pow(P2, -1, whole) % whole
        second -= whole if second >= 2**63 else 0
        if abs(second) < 2**61 - 1 and second != -1:  # larger ones do not hash to themselves
            pairs.append((first, second))
    return pairs


def keys(made: list[bytes]) -> bytes:
    return pickled(b"}(" + b"".join(key + b"N" for key in made) + b"u")


@kind("torch zip")
def tuples_of_one_hash_as_keys(rng: Random) -> bytes:
    pairs = pairs_of_one_hash(20_000)
    return keys([integer(a) + integer(b) + b"\x86" for a, b in pairs[: rng.randrange(15_000, 20_000)]])


@kind("torch zip")
def integers_of_one_hash_as_keys(rng: Random) -> bytes:
    start = rng.randrange(2**20)  # integers are hashed modulo 2**61 - 1; the sign is kept
    return keys([integer(start + k * (2**61 - 1)) for k in range(30_000)])


@kind("torch zip")
def a_tensor_under_many_names(rng: Random) -> bytes:
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x04tQ"
    made = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00K\x02K\x02\x86K\x02K\x01\x86\x89}tRq\x00"
    names = range(rng.randrange(50_000, 150_000))
    return pickled(made + b"}(" + b"".join(text(f"{k}.weight") + b"h\x00" for k in names) + b"u")


@kind("torch zip")
def a_dictionary_in_many_places(rng: Random) -> bytes:
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x04tQ"
    made = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00K\x04\x85K\x01\x85\x89}tR"
    names = [f"{k}" for k in range(rng.randrange(100_000, 200_000))]
    wide = b"}" + text("w") + made + b"sq\x00}(" + b"".join(text(name) + b"h\x00" for name in names) + b"uq\x01"
    return pickled(wide + b"}" + text("m" * 100) + b"h\x01sq\x02}" + text("n" * 100) + b"h\x02s")


# ---------------------------------------------------------------------- safetensors


def headed(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


@kind("torch safetensors")
@kind("native")
def a_header_of_many_tensors(rng: Random) -> bytes:
    entry = b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    about = rng.choice([b"", b'"__metadata__":{"minirnn":"{\\"version\\":1}"},'])
    return headed(b"{" + about + b",".join(entry % k for k in range(rng.randrange(200_000, 250_000))) + b"}")


@kind("torch safetensors")
def a_header_of_long_shapes(rng: Random) -> bytes:
    shape = b",".join([b"1"] * rng.randrange(5_000_000, 10_000_000))
    return headed(b'{"weight":{"dtype":"F32","shape":[' + shape + b'],"data_offsets":[0,4]}}', bytes(4))


def described(network: Any, tensors: dict[str, tuple[int, ...]], **about: Any) -> bytes:
    """minirnn's own file of this description, its tensors float32 zeros."""
    whole = {"version": 1, "network": network, "dtype": "float32", "seed": 0, "calls": 0, "frozen": []} | about
    header: dict[str, Any] = {"__metadata__": {"minirnn": json.dumps(whole)}}
    at = 0
    for name, shape in tensors.items():
        size = 4
        for n in shape:
            size *= n
        header[name], at = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}, at + size
    return headed(json.dumps(header).encode(), bytes(at))


LINEAR = {"kind": "Linear", "in_features": 2, "out_features": 2}


def linear(prefix: str) -> dict[str, tuple[int, ...]]:
    return {f"{prefix}W": (2, 2), f"{prefix}b": (2,)}


@kind("native")
def many_layers(rng: Random) -> bytes:
    plain = {"kind": "Reverse"}
    layer: dict[str, Any] = rng.choice([plain, {"kind": "Sequential", "layers": [plain] * 3}])
    count = rng.randrange(160_000, 200_000) // (4 if len(layer) > 1 else 1)
    return described({"kind": "Sequential", "layers": [LINEAR, *[layer] * count]}, linear("0."))


@kind("native")
def layers_within_layers(rng: Random) -> bytes:
    depth, network = rng.randrange(200, 300), dict[str, Any](LINEAR)
    for _ in range(depth):
        network = {"kind": "Sequential", "layers": [network]}
    return described(network, linear("0." * depth))


@kind("native")
def a_description_of_many_values(rng: Random) -> bytes:
    return described([[{}]] * rng.randrange(800_000, 900_000), {})


@kind("native")
def counters_at_their_end(rng: Random) -> bytes:
    network = {"kind": "Sequential", "layers": [LINEAR, {"kind": "Dropout", "p": 0.5}]}
    return described(network, linear("0."), calls=2**64 - 1, seed=2**64 - 1)


# ---------------------------------------------------------------------- HDF5, and HDF5 in the zip of a .keras


@cache
def zeros_deflated(size: int) -> bytes:
    machine = zlib.compressobj(1)
    return b"".join([*(machine.compress(bytes(2**22)) for _ in range(size // 2**22)), machine.flush()])


def dense(name: str, rows: int, columns: int) -> dict[str, Any]:
    own = {"name": name, "units": columns, "use_bias": False, "activation": "linear"}
    return {"class_name": "Dense", "config": own | {"batch_input_shape": [None, None, rows]}}


def keras_h5(layers: list[dict[str, Any]], fill: Callable[[Any, str], None]) -> bytes:
    """A model as Keras 2 saves it; ``fill(group, name)`` makes the array of each layer."""
    file = io.BytesIO()
    names = [layer["config"]["name"] for layer in layers]
    with h5py.File(file, "w") as h:
        h.attrs["keras_version"] = "2.15.0"
        h.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"name": "s", "layers": layers}})
        weights = h.create_group("model_weights")
        weights.attrs["layer_names"] = [name.encode() for name in names]
        for name in names:
            group = weights.create_group(name)
            group.attrs["weight_names"] = [b"kernel:0"]
            fill(group, "kernel:0")
    return file.getvalue()


def keras_zip(layer: dict[str, Any], fill: Callable[[Any, str], None]) -> bytes:
    """The same, of one layer, as Keras 3 saves it."""
    weights, file = io.BytesIO(), io.BytesIO()
    with h5py.File(weights, "w") as h:
        fill(h.create_group("layers/dense/vars"), "0")
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.5.0"}')
        archive.writestr("config.json", json.dumps({"class_name": "Sequential", "config": {"layers": [layer]}}))
        archive.writestr("model.weights.h5", weights.getvalue())
    return file.getvalue()


def chunk_of(size: int, shape: tuple[int, int]) -> Callable[[Any, str], None]:
    """A dataset whose one chunk is of ``size`` bytes of zeros, whatever its shape."""

    def fill(group: Any, name: str) -> None:
        columns = shape[1]
        how = {"maxshape": (None, columns), "chunks": (size // 4 // columns, columns), "compression": "gzip"}
        group.create_dataset(name, shape, "f4", **how).id.write_direct_chunk((0, 0), zeros_deflated(size))

    return fill


def unwritten(n: int, padding: int) -> Callable[[Any, str], None]:
    """A dataset of n rows and columns of which nothing is stored, in a file that is larger by ``padding``."""

    def fill(group: Any, name: str) -> None:
        group.create_dataset(name, (n, n), "f4", chunks=(min(n, 1000), n), compression="gzip")
        group.file.create_dataset("padding", data=[0] * padding, dtype="u1")

    return fill


def hdf5_kinds() -> None:
    @kind("keras h5")
    def a_chunk_larger_than_its_dataset(rng: Random) -> bytes:
        return keras_h5([dense("dense", 4, 8)], chunk_of(2**27, (4, 8)))

    @kind("keras h5")
    def an_array_that_was_never_written(rng: Random) -> bytes:
        n = rng.randrange(4000, 5000)
        return keras_h5([dense("dense", n, n)], unwritten(n, n * n * 4 // 1032 + 1))

    @kind("keras h5")
    def zeros_that_are_stored(rng: Random) -> bytes:
        return keras_h5([dense("dense", 2**12, 2**13)], chunk_of(2**27, (2**12, 2**13)))

    @kind("keras h5")
    def an_array_under_many_names(rng: Random) -> bytes:
        n, count = rng.randrange(600, 900), rng.randrange(100, 300)

        def fill(group: Any, name: str) -> None:
            if "one" not in group.file:
                group.file.create_dataset("one", (n, n), "f4")[...] = 0
            group[name] = group.file["one"]

        return keras_h5([dense(f"dense_{k}", n, n) for k in range(count)], fill)

    @kind("keras zip")
    def a_chunk_larger_than_its_dataset_in_a_zip(rng: Random) -> bytes:
        return keras_zip(dense("dense", 4, 8), chunk_of(2**27, (4, 8)))

    @kind("keras zip")
    def an_array_that_was_never_written_in_a_zip(rng: Random) -> bytes:
        n = rng.randrange(4000, 5000)
        return keras_zip(dense("dense", n, n), unwritten(n, n * n * 4 // 1032 + 1))

    @kind("keras zip")
    def groups_in_a_circle_in_a_zip(rng: Random) -> bytes:
        def fill(group: Any, name: str) -> None:
            group.create_dataset(name, data=[[0.0] * 8] * 4, dtype="f4")
            for k in range(rng.randrange(2, 6)):
                group.file[f"layers/{k}"] = group.file[rng.choice(["layers", "/"])]

        return keras_zip(dense("dense", 4, 8), fill)


if h5py is not None:
    hdf5_kinds()
