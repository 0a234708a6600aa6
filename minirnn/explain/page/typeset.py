"""A line of a derivation, which is plain text, cut into pieces that a page can set as mathematics.

A piece is a kind and its text: ``i`` italic, for a quantity; ``d`` the upright d of a gradient; ``sub`` and ``sup``;
``t`` for all else, words and signs.
"""

import re

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


def pieces(text: str) -> list[Piece]:
    """The pieces of a formula: of ``da_n = dn (1 - n²)`` d, a, its index n, =, and so on."""
    cut: list[Piece] = []
    for match in TOKEN.finditer(text):
        if match["name"]:
            cut += _named(match["name"])
            if match["sub"]:
                cut.append(("sub", match["sub"]))
            if match["prime"]:
                cut.append(("t", "′"))
        elif match["index"] is not None:
            cut.append(("sub", match["index"]))
        elif match["power"]:
            cut.append(("sup", POWERS[match["power"]]))
        else:
            cut.append(("t", match["rest"].replace("-", "−")))
    return cut


def prose(text: str) -> list[Piece]:
    """Words in which quantities with an index are set, and nothing else: a_n, but not a."""
    cut: list[Piece] = []
    for k, part in enumerate(INDEXED.split(text)):
        if part:
            cut += pieces(part) if k % 2 else [("t", part.replace("'", "′"))]
    return cut


def _named(name: str) -> list[Piece]:
    """A quantity, or a gradient: ``d`` and what it is of."""
    if name in WORDS:
        return [("t", name)]
    if name[0] == "d" and len(name) > 1:
        return [("d", "d"), ("t" if name[1:] in WORDS else "i", name[1:])]
    return [("i", name)]
