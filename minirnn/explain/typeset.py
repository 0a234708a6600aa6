"""A line of a derivation, which is plain text, cut into pieces that a page can set as mathematics.

A piece is a kind and its text: ``i`` italic, for a quantity; ``d`` the upright d of a gradient; ``sub`` and ``sup``;
``t`` for all else, words and signs.
"""

import re
import unicodedata

Piece = tuple[str, str]

WORDS = {
    "tanh", "log", "softmax", "onehot", "loss", "target", "logits", "norm", "min", "where", "else", "direct", "clip",
    "scale",
}  # fmt: skip
TOKEN = re.compile(
    r"(?P<name>[A-Za-zŷ]+)(?:_(?P<sub>[^\Wᵀ]+))?(?P<prime>['’]?)"
    r"|\[(?P<index>[^\]]*)\]"
    r"|(?P<power>[²ᵀ])"
    r"|(?P<rest>[^A-Za-zŷ\[²ᵀ]+)"
)
INDEXED = re.compile(r"\b([A-Za-z]+_\w+)")
POWERS = {"²": "2", "ᵀ": "T"}
VISIBLE = {" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍"}


def pieces(text: str) -> list[Piece]:
    """The pieces of a formula: of ``da_n = dn (1 - n²)`` d, a, its index n, =, and so on."""
    found: list[Piece] = []
    for match in TOKEN.finditer(text):
        if match["name"]:
            found += _named(match["name"])
            if match["sub"]:
                found.append(("sub", match["sub"]))
            if match["prime"]:
                found.append(("t", "′"))
        elif match["index"] is not None:
            found.append(("sub", match["index"]))
        elif match["power"]:
            found.append(("sup", POWERS[match["power"]]))
        else:
            found.append(("t", match["rest"].replace("-", "−")))
    return found


def prose(text: str) -> list[Piece]:
    """Words in which quantities with an index are set, and nothing else: a_n, but not a."""
    found: list[Piece] = []
    for k, part in enumerate(INDEXED.split(text)):
        if part:
            found += pieces(part) if k % 2 else [("t", part.replace("'", "′"))]
    return found


def _named(name: str) -> list[Piece]:
    """A quantity, or a gradient: ``d`` and what it is of."""
    if name in WORDS:
        return [("t", name)]
    if name[0] == "d" and len(name) > 1:
        return [("d", "d"), ("t" if name[1:] in WORDS else "i", name[1:])]
    return [("i", name)]


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
