"""Valid files spoilt: a file of any format with something changed, where possible within its structure.

``mutated`` looks at what it is given: in a zip it changes an entry and packs it anew with a right checksum, so that
what reads the entry is reached; JSON, pickles, safetensors headers and Protocol Buffers it takes apart; of everything
else it changes bytes, and integers to the values that break arithmetic.
"""

import io
import json
import pickletools
import re
import struct
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from math import prod
from random import Random
from typing import Any, TypeAlias

DESCRIBE = (b"{", b"\x80", b"\x89", b"P", b"c")  # how JSON, pickles, HDF5, zips and TorchScript's code begin
Change: TypeAlias = Callable[[bytes, Random, list[bytes]], bytes]

EXTREMES = [0, 1, 2, 127, 128, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1]
SIGNATURES = re.compile(  # beside them stand numbers
    rb"PK..|TREE|HEAP|SNOD|OHDR|OCHK|FRHP|FHDB|FHIB|BTHD|BTLF|BTIN|GCOL|\x89HDF", re.DOTALL
)
ODD_VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 2**31, 2**63, 10**30, 1e308, float("nan"), float("inf"), 0.5, "", "0", "GRU",
    "\x00", "\ud800", "../../etc/passwd", "__import__", [], {}, [1], [[]], ["a"], {"a": 1}, [0] * 1000, "x" * 10_000,
]  # fmt: skip
SNIPPETS = [
    b"cos\nsystem\n", b"cposix\nsystem\nX\x02\x00\x00\x00id\x85R", b"cbuiltins\neval\n", b"cbuiltins\ngetattr\n",
    b"c__main__\nNet\n)\x81", b"cbuiltins\nobject\n)\x81}b", b"ccopyreg\n_reconstructor\n", b"N}\x86b",
    b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n", b"ctorch\nFloatStorage\n", b"R", b"b",
    b"Q", b"o", b"\x81", b"\x92", b"(", b"t", b"u", b"e", b"s", b"a", b"]", b"}", b")", b"N", b".", b"0", b"2",
    b"h\x00", b"h\xff", b"\x85", b"\x86", b"\x87", b"\x94", b"\x90", b"\x8f", b"r\xff\xff\xff\xff",
    b"j\xff\xff\xff\xff", b"\x8b\xff\xff\xff\x7f", b"B\xff\xff\xff\xff", b"X\xff\xff\xff\x7f",
    b"\x95" + b"\xff" * 8, b"\x8e" + b"\xff" * 8,
    b"\x8d" + b"\xff" * 7 + b"\x7f", b"\x96" + b"\xff" * 8, b"I999999999999\n", b"Fnan\n", b"\x82\x01",
]  # fmt: skip


def mutated(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    """``data`` with one to three things changed; ``others`` are files to take pieces from."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        data = _changed(data, rng, others)
    return data


def _changed(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    if rng.random() < 0.8:
        with suppress(
            Exception
        ):  # spoilt so far already that its structure is lost: json and zipfile raise many things
            if data.startswith(b"PK"):
                return _zip(data, rng, others)
            if data[8:9] == b"{":
                return _safetensors(data, rng, others)
            if data.startswith(b"\x89HDF") and rng.random() < 0.4:
                return _hdf5(data, rng)
            if data[:1] == b"\x80" and data[-1:] == b".":
                return _pickle(data, rng)
            if data[:1] == b"\x80":
                return _pickles(data, rng, others)
            if data[:1] in (b"{", b"["):
                return _json(data, rng)
            if data.startswith(b"class "):
                return _code(data, rng)
            if data[:1] == b"\x08":
                return message(changed(fields(data), rng, [fields(other) for other in others]))
    return rng.choice(BYTES)(data, rng, others)


# ---------------------------------------------------------------------- bytes


def _place(data: bytes, rng: Random) -> int:
    """Somewhere in the file; often at its beginning, its end, or beside something that is structure."""
    kind, last = rng.random(), max(0, len(data) - 1)
    if kind < 0.25:
        return min(last, rng.randrange(512))
    if kind < 0.5:
        return max(0, last - rng.randrange(512))
    if kind < 0.75:
        found = [m.start() for m in SIGNATURES.finditer(data)]
        if found:
            return min(last, rng.choice(found) + rng.randrange(64))
    return rng.randrange(last + 1)


def _bits(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8]) if out else 0):
        out[_place(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(out)


def _bytes(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8]) if out else 0):
        out[_place(data, rng)] = rng.choice([0, 255, rng.randrange(256)])
    return bytes(out)


def _cut(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    return data[: _place(data, rng)] if rng.random() < 0.7 else data[_place(data, rng) :]


def _insert(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    at, size = _place(data, rng), rng.choice([1, 2, 4, 8, 64, 1000])
    return data[:at] + rng.choice([bytes(size), b"\xff" * size, rng.randbytes(size)]) + data[at:]


def _remove(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    at = _place(data, rng)
    return data[:at] + data[at + rng.choice([1, 2, 4, 8, 64, 1000]) :]


def _splice(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    other = rng.choice(others)
    start, at, size = _place(other, rng), _place(data, rng), rng.choice([8, 64, 512, 4096])
    return data[:at] + other[start : start + size] + data[at + rng.choice([0, size]) :]


def _swap(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    size = rng.choice([1, 2, 4, 8, 32, 256])
    a, b = sorted((_place(data, rng), _place(data, rng)))
    if b < a + size:
        return data[:a][::-1] + data[a:]
    return data[:a] + data[b : b + size] + data[a + size : b] + data[a : a + size] + data[b + size :]


def _integer(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    width = rng.choice([1, 2, 4, 8])
    at = _place(data, rng)
    at -= rng.choice([0, at % width])
    old = int.from_bytes(data[at : at + width], "little")
    value = rng.choice([*EXTREMES, old + 1, old - 1, old * 2, len(data), len(data) - at]) % (1 << 8 * width)
    return data[:at] + value.to_bytes(width, rng.choice(["little", "little", "big"])) + data[at + width :]


def _digits(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    found = list(re.finditer(rb"[0-9]+", data))
    if not found:
        return _integer(data, rng, others)
    one = rng.choice(found)
    value = rng.choice([b"-1", b"1e400", b"9" * 5000, *(b"%d" % extreme for extreme in EXTREMES)])
    return data[: one.start()] + value + data[one.end() :]


BYTES: list[Change] = [
    _bits, _bytes, _cut, _insert, _remove, _splice, _swap, _integer, _integer, _digits,
]  # fmt: skip


# ---------------------------------------------------------------------- structures


def zipped(entries: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip file of these entries, whose names may repeat."""
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", compression) as archive:
        warnings.simplefilter("ignore")  # of two entries by one name
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return out.getvalue()


def unzipped(data: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist()]


def listed(data: bytes, again: int, *, comment: int = 0, renamed: bool = False) -> bytes:
    """A zip whose list of entries has its first line so many times more, with a comment of that length, perhaps under
    names of their own.
    """
    end = data.rindex(b"PK\x05\x06")
    count, size, start = struct.unpack_from("<HII", data, end + 10)
    name_size, extra_size = struct.unpack_from("<HH", data, start + 28)
    fixed, after = data[start : start + 46], start + 46 + name_size
    name, extra = data[start + 46 : after], data[after : after + extra_size]
    names = [b"%0*d" % (max(5, name_size), k) if renamed else name for k in range(again)]
    lines = b"".join(
        fixed[:28] + struct.pack("<HHH", len(one), extra_size, comment) + fixed[34:] + one + extra + bytes(comment)
        for one in names
    )
    whole, total = data[start : start + size] + lines, count + again
    record = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, total, total, len(whole), start)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, start + len(whole), 1)
    last = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return data[:start] + whole + record + locator + last


def _zip(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    entries = unzipped(data)
    k, kind = rng.randrange(len(entries)), rng.random()
    if kind < 0.7:
        if rng.random() < 0.8:  # what describes, rather than numbers
            k = rng.choice([i for i, (_, content) in enumerate(entries) if content[:1] in DESCRIBE] or [k])
        name, content = entries[k]
        entries[k] = (name, _changed(content, rng, [content for _, content in entries]))
    elif kind < 0.75:
        del entries[k]
    elif kind < 0.8:
        entries.append(entries[k])
    elif kind < 0.85:
        entries[k] = (
            rng.choice(["", "/", "../x", "data.pkl", entries[0][0], "a" * 70_000, "\x00"])[:65_000],
            entries[k][1],
        )
    elif kind < 0.9:
        other = rng.randrange(len(entries))
        entries[k], entries[other] = (entries[k][0], entries[other][1]), (entries[other][0], entries[k][1])
    elif kind < 0.95:
        entries[k] = (entries[k][0], bytes(rng.choice([0, 1, 10**6])))
    elif kind < 0.98:
        return _integer(zipped(entries, zipfile.ZIP_DEFLATED), rng, others)
    else:
        again, comment = rng.choice([(1, 0), (1000, 0), (50_000, 0), (200, 65_000)])
        return listed(data, again, comment=comment, renamed=rng.random() < 0.5)
    return zipped(entries, rng.choice([zipfile.ZIP_STORED] * 3 + [zipfile.ZIP_DEFLATED]))


def _safetensors(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    """A safetensors file with its header changed: any of it, or so that each byte still belongs to one tensor."""
    size = struct.unpack("<Q", data[:8])[0]
    header, kind = json.loads(data[8 : 8 + size]), rng.random()
    about, name = header.get("__metadata__", {}), rng.choice([name for name in header if name != "__metadata__"])
    tensor = header[name]
    if kind < 0.4 and "minirnn" in about:
        about["minirnn"] = _json(about["minirnn"].encode(), rng).decode("utf-8", "surrogatepass")
    elif kind < 0.6:
        header[f"{rng.choice(list(header))}{rng.choice(['', '', '0', '_reverse'])}"] = header.pop(name)
    elif kind < 0.75:
        tensor["shape"] = rng.choice([tensor["shape"][::-1], [*tensor["shape"], 1], [prod(tensor["shape"])], [[], [1]]])
    elif kind < 0.85:
        tensor["dtype"] = rng.choice(
            {"F32": ["I32", "U32"], "F64": ["I64", "C64"], "BF16": ["F16", "I16"]}[tensor["dtype"]]
        )
    else:
        header = _odd(header, rng)
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


def _hdf5(data: bytes, rng: Random) -> bytes:
    """A file of HDF5 with something changed in a description that it holds as JSON, in the place that it has."""
    start = data.index(b'{"class_name"')
    value, size = json.JSONDecoder().raw_decode(data[start:].decode("ascii", "replace"))
    text = json.dumps(_odd(value, rng), separators=(",", ":")).encode()
    return data[:start] + text[:size].ljust(size) + data[start + size :]


def _json(data: bytes, rng: Random) -> bytes:
    value = _odd(json.loads(data), rng)
    if rng.random() < 0.02:
        return b"[" * 20_000 + data
    return json.dumps(value).encode("utf-8", "surrogatepass")


def _odd(value: Any, rng: Random) -> Any:
    """A JSON value with something in it changed: an entry here, or something further inside."""
    if isinstance(value, str) and value[:1] == "{" and rng.random() < 0.9:
        return json.dumps(_odd(json.loads(value), rng))  # a description within a description
    if not isinstance(value, (dict, list)) or not value or rng.random() < 0.05:
        return rng.choice([*ODD_VALUES, [value], {"a": value}])
    key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
    kind = rng.random()
    if kind < 0.75:
        value[key] = _odd(value[key], rng)
    elif kind < 0.85:
        del value[key]
    elif isinstance(value, dict):
        value[rng.choice(["", "\x00", f"{key}_", *value])] = value[key]
    else:
        value.append(value[key])
    return value


def _pickle(data: bytes, rng: Random) -> bytes:
    """A pickle with an instruction left out, doubled, moved, put in, or one whose argument is another."""
    places = [position or 0 for _, _, position in pickletools.genops(data)] + [len(data)]
    k = rng.randrange(len(places) - 1)
    start, end = places[k], places[k + 1]
    one, kind = data[start:end], rng.random()
    if kind < 0.15:
        return data[:start] + data[end:]
    if kind < 0.25:
        return data[:start] + one * rng.choice([2, 3, 1000]) + data[end:]
    if kind < 0.35:
        at = rng.choice(places)
        return data[:at] + one + data[at:]
    if kind < 0.6:
        return data[:start] + rng.choice(SNIPPETS) + data[rng.choice([start, end]) :]
    if len(one) in (2, 3, 5) and kind < 0.9:
        value = rng.choice(EXTREMES) % (1 << 8 * (len(one) - 1))
        return data[: start + 1] + value.to_bytes(len(one) - 1, "little") + data[end:]
    return data[:start] + _bits(one, rng, []) + data[end:]


def _pickles(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    """Pickles one after another, as torch had them before 1.6, with one of them changed, mostly the largest, or what
    stands behind them.
    """
    file, ends = io.BytesIO(data), [0]
    for _ in range(5):
        for _ in pickletools.genops(file):
            pass
        ends.append(file.tell())
    k = rng.choice([0, 1, 2, 3, 3, 3, 3, 3, 3, 4, 4, 5])
    if k == 5:
        return data[: ends[5]] + rng.choice(BYTES)(data[ends[5] :], rng, others)
    return data[: ends[k]] + _pickle(data[ends[k] : ends[k + 1]], rng) + data[ends[k + 1] :]


CODE = (
    "(", ")", "[", "]", ",", ".", " = ", "\n", "    ", "return ", "self", "x", "None", "-1", "1e999", "9" * 400, "0.1",
    'getattr(self, "forward")', "(self).forward(x, )", "torch.relu(x)", "torch.select(x, 0, -1)", "torch.lstm(x)",
    "torch.cat([x, x], 1)", "CONSTANTS.c0", "if x:\n", '"\\', "\x00", "  num_layers : Final[int] = 1" + "0" * 30 + "\n",
    "  batch_first : Final[bool] = 3\n", "  mode : Final[str] = \"LSTM\"\n", '__import__("os").system("true")',
)  # fmt: skip


def _code(data: bytes, rng: Random) -> bytes:
    """Code of TorchScript's with a line or a word left out, doubled, exchanged or put in."""
    parts = re.split(r"(\n)" if rng.random() < 0.5 else r"(\W)", data.decode("utf-8", "replace"))
    k, kind = rng.randrange(len(parts)), rng.random()
    if kind < 0.2:
        parts[k] = ""
    elif kind < 0.35:
        parts[k] *= rng.choice([2, 1000])
    elif kind < 0.6:
        other = rng.randrange(len(parts))
        parts[k], parts[other] = parts[other], parts[k]
    else:
        parts[k] = rng.choice(CODE) + rng.choice([parts[k], ""])
    return "".join(parts).encode()


# ---------------------------------------------------------------------- Protocol Buffers

Field: TypeAlias = tuple[int, int, int | bytes]  # number, encoding, value


def varint(value: int) -> bytes:
    """``value`` in 7 bits a byte, lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def message(parts: list[Field]) -> bytes:
    """The bytes of a message of these fields."""
    out = bytearray()
    for number, encoding, value in parts:
        out += varint(number << 3 | encoding)
        if isinstance(value, int):
            out += varint(value)
        else:
            out += (varint(len(value)) if encoding == 2 else b"") + value
    return bytes(out)


def fields(data: bytes) -> list[Field]:
    """The fields of a message, or ValueError where it is none."""
    found: list[Field] = []
    at = 0

    def integer() -> int:
        nonlocal at
        value = shift = 0
        while True:
            if at >= len(data) or shift > 63:
                raise ValueError("no integer")
            byte, at = data[at], at + 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        tag = integer()
        number, encoding = tag >> 3, tag & 7
        if encoding == 0:
            found.append((number, 0, integer()))
            continue
        size = {1: 8, 5: 4}.get(encoding) or (integer() if encoding == 2 else -1)
        if size < 0 or not number or at + size > len(data):
            raise ValueError("no field")
        found.append((number, encoding, data[at : at + size]))
        at += size
    return found


def changed(parts: list[Field], rng: Random, others: list[list[Field]]) -> list[Field]:
    """A message with something in it changed: a field here, or something further inside.

    ``others`` are messages of the same kind, to take fields from.
    """
    k, kind = rng.randrange(len(parts)), rng.random()
    number, encoding, value = parts[k]
    alike = [field for other in others for field in other if field[:2] == (number, encoding)]
    if isinstance(value, bytes) and encoding == 2 and kind < 0.75 and value:
        with suppress(ValueError):
            inner = changed(fields(value), rng, [fields(one) for _, _, one in alike[:50] if isinstance(one, bytes)])
            return [*parts[:k], (number, 2, message(inner)), *parts[k + 1 :]]
    if kind < 0.85:
        return [*parts[:k], (number, encoding, _value(value, rng, [one for *_, one in alike])), *parts[k + 1 :]]
    if kind < 0.88:
        return [*parts[:k], *parts[k + 1 :]]
    if kind < 0.91:
        return [*parts[:k], *[parts[k]] * rng.choice([2, 2, 3, 500]), *parts[k + 1 :]]
    if kind < 0.94:
        return rng.sample(parts, len(parts))
    if kind < 0.97:
        return [*parts[:k], (rng.choice([number + 1, rng.randrange(1, 24)]), encoding, value), *parts[k + 1 :]]
    return [*parts, *rng.choice(others)[-3:]]


def _value(value: int | bytes, rng: Random, alike: list[int | bytes]) -> int | bytes:
    if isinstance(value, int):
        return rng.choice([*EXTREMES, value + 1, max(0, value - 1), value * 2 % 2**64, rng.randrange(24), *alike[:8]])
    if rng.random() < 0.6 and alike:
        return rng.choice(alike)
    odd = [b"", value * 2, value[:-1], value[::-1], b"\xff" * len(value), bytes(len(value)), b"\xff\xfe", b"x" * 10_000]
    return rng.choice([*odd, _bits(value, rng, []), rng.randbytes(len(value))])
