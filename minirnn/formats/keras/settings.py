"""The configuration of one layer of Keras, read by name and validated."""

from collections.abc import Mapping
from typing import Any

LARGEST = 2**40  # of a size
LARGEST_NUMBER = 2.0**100  # and of a constant


class Settings:
    """The ``config`` of a layer that is called ``name``; every fault in it is a ValueError that names the layer."""

    def __init__(self, kind: str, name: str, values: Any) -> None:
        self.title = f"{kind} {name!r:.60}"
        if not isinstance(values, Mapping):
            raise ValueError(f"the config of {self.title} must be a dictionary; got {values!r:.60}")
        self.values = values

    def fault(self, text: str) -> ValueError:
        """The error to raise for this layer."""
        return ValueError(f"{self.title}: {text}")

    def has(self, name: str) -> bool:
        """Whether it says anything of ``name``."""
        return self.values.get(name) is not None

    def size(self, name: str) -> int:
        """A number of units or the like."""
        return self._size(name, self.values.get(name))

    def one(self, name: str, default: int | None = None) -> int:
        """A number of steps, which Keras may write as a list of one number."""
        value = self.values.get(name)
        if value is None and default is not None:
            return default
        return self._size(name, value[0] if isinstance(value, list) and len(value) == 1 else value)

    def _size(self, name: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST:
            raise self.fault(f"{name} must be an integer of at least 1; got {value!r:.60}")
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Something that is true or false; null is false."""
        value = self.values.get(name, default)
        if value is not None and not isinstance(value, bool):
            raise self.fault(f"{name} must be true or false; got {value!r:.60}")
        return bool(value)

    def number(self, name: str, default: float) -> float:
        """A finite number."""
        value = self.values.get(name, default)
        if isinstance(value, Mapping):  # Keras 3 may write a constant as an array
            inner = value.get("config")
            value = inner.get("value") if isinstance(inner, Mapping) else None
        sound = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < LARGEST_NUMBER
        if not sound:  # nor is NaN
            raise self.fault(f"{name} must be a finite number; got {value!r:.60}")
        return float(value)

    def refuse(self, name: str, *harmless: Any) -> None:
        """Raise if it asks for something that is not supported: anything but null, false and these."""
        value = self.values.get(name)
        if value not in (None, False, *harmless):
            raise self.fault(f"{name}={value!r:.60} is not supported")

    def layer(self, name: str) -> tuple[str, "Settings"]:
        """A layer within this one: its class and its own settings."""
        value = self.values.get(name)
        if not isinstance(value, Mapping) or not isinstance(value.get("class_name"), str):
            raise self.fault(f"{name} must be a layer; got {value!r:.60}")
        kind, inner = value["class_name"], value.get("config")
        own = inner.get("name") if isinstance(inner, Mapping) else None
        return kind, Settings(kind, own if isinstance(own, str) else name, inner)
