"""Bounds that are checked before a parser takes memory: what JSON may hold, and the header of a safetensors file.

A parser of JSON makes up to 60 bytes of each byte it reads, an object for every value.  Every value but the first
follows a bracket, a comma or a colon, so counting those bounds the number of values without parsing anything.
"""

import json
import os
import struct
from typing import Any

from minirnn.core.files import CUT_OFF, ModelFileError

LARGEST_HEADER = 2**22  # bytes of a safetensors header
MOST_TENSORS = 2**15  # in a safetensors header; each has an object of its own
LARGEST_JSON = 2**21  # bytes of JSON that describe a model
MOST_VALUES = 2**18  # in them


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


def check_header(path: str | os.PathLike[str]) -> int:
    """The number of bytes in the header of the safetensors file at ``path``, behind the 8 bytes of that number itself.

    Raises ModelFileError where they are not there, or are more, or of more tensors, than a model has.
    """
    with open(path, "rb") as file:  # noqa: PTH123 - path may be a string
        length = file.seek(0, os.SEEK_END)
        file.seek(0)
        start = file.read(8)
        size = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if size > length - 8:
            raise ModelFileError(f"{path} is not a whole safetensors file: its header has {size:,} bytes; {CUT_OFF}")
        if size > LARGEST_HEADER:
            raise ModelFileError(
                f"{path}: the header of a safetensors file may have {LARGEST_HEADER:,} bytes; it has {size:,}"
            )
        header = file.read(size)
    tensors = header.count(b"{") - header.count(b'{\\"')  # the latter are within the metadata
    if tensors > MOST_TENSORS:
        raise ModelFileError(f"{path}: a safetensors file may have {MOST_TENSORS:,} tensors; it has about {tensors:,}")
    return int(size)
