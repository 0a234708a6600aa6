"""Names of a package that are imported when they are first asked for (PEP 562)."""

import sys
from collections.abc import Callable, Collection, Mapping
from importlib import import_module


def lazy(
    package: str, places: Mapping[str, str], modules: Collection[str] = ()
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """The ``__getattr__`` and ``__dir__`` of a package.

    ``places`` has the module, within the package, of each name; ``modules`` are those that are its attributes
    themselves.  A name stays in the package once it was asked for.
    """
    namespace = vars(sys.modules[package])

    def attribute(name: str) -> object:
        if name in places:
            value = namespace[name] = getattr(import_module(f"{package}.{places[name]}"), name)
            return value
        if name in modules:
            return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def names() -> list[str]:
        return sorted({*namespace, *places})

    return attribute, names
