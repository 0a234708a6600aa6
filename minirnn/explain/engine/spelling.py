"""How names and characters are shown."""

import unicodedata

VISIBLE = {" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍"}


def spelled(name: str) -> str:
    """A quantity's name in code as a derivation has it: h' for ``h1``."""
    return f"{name[:-1]}'" if name.endswith("1") else name


def visible(character: str) -> str:
    """A character as something that can be seen."""
    if character in VISIBLE:
        return VISIBLE[character]
    if unicodedata.category(character)[0] in "CZM":
        return f"U+{ord(character):04X}"
    return character
