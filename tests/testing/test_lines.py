"""Lines of mistakes in solutions of other styles; of a line that is missing, a neighbour of its place is as right.

Most take seconds, as a search for a line does: they are marked.
"""

import ast
from pathlib import Path

import pytest
from course_faults import Mistake
from course_slips import DOUBLE as TWO_SLIPS
from course_slips import SINGLE as SLIPS
from tiers import marked_but

from minirnn.testing.courses.grading import grade

SINGLE = [
    Mistake("lists and dicts", "rnn_step_backward", 'np.tanh(cache["act"])', 'cache["act"]'),
    Mistake("gates in blocks", "rnn_forward", "        h_prev = h[:, step]\n", ""),
    Mistake("lattice", "CTC.get_posterior_probs", "norm += gamma[t, i]", "norm = gamma[t, i]"),
    Mistake(
        "gates in blocks",
        "lstm_step_forward",
        "gates[:, H:2 * H] * prev_c + gates[:, :H]",
        "gates[:, :H] * prev_c + gates[:, H:2 * H]",
    ),
    Mistake("gates in blocks", "lstm_step_backward", "    dstate += dnext_h * o * (1 - t * t)\n", ""),
    Mistake("gates in blocks", "lstm_step_backward", "    dgates[:, 3 * H:] *= 1 - g * g\n", ""),
    Mistake("gates in blocks", "temporal_softmax_loss", "(log_probs[n, t, y] * mask)", "log_probs[n, t, y]"),
    Mistake(
        "lattice",
        "CTC.get_backward_probs",
        "        betahat[T - 1, S - 2] = logits[T - 1, extended_symbols[S - 2]]\n",
        "",
    ),
]
DOUBLE = [
    (
        "gates in blocks",
        "lstm_backward",
        ("        dcell = out[2]\n", ""),
        ('grads["b"] += out[5]', 'grads["b"] = out[5]'),
    ),
    ("lists and dicts", "rnn_backward", ("        dstate = g[1]\n", ""), ("dWh + g[3]", "dWh + g[2]")),
    ("d2l gru", "gru", ("Z = sigmoid(X @ W_xz", "Z = sigmoid(X @ W_xr"), ("H @ W_hr", "H @ W_hz")),
    (
        "cmu",
        "GRUCell.backward",
        ("(self.hidden - self.n)", "(self.n - self.hidden)"),
        ("dr = da_n * self.inner", "dr = da_n"),
    ),
]


def lines_of(source: str, function: str, tmp_path: Path) -> set[int]:
    """The lines that are named in a function, which is the first that is wrong."""
    path = tmp_path / "work.py"
    path.write_text(source, encoding="utf-8")
    wrong = next(result for result in grade(path).results if not result.ok)
    assert wrong.function == function
    return {finding.line for finding in wrong.findings}


def places_of(mistake: Mistake, shift: int = 0) -> set[int]:
    """The lines that a reader may be told: of a line that is missing within a statement, those of the statement."""
    line = mistake.line + shift
    return {line} if mistake.new else {line - 1, line, line + 1} | spans(mistake.applied(), line)


def spans(source: str, line: int) -> set[int]:
    """The lines of a statement of several lines."""
    simple = (ast.Assign, ast.AugAssign, ast.Return)
    nodes = (node for node in ast.walk(ast.parse(source)) if isinstance(node, simple))
    lines = (set(range(node.lineno, (node.end_lineno or 0) + 1)) for node in nodes)
    return set().union(*(one for one in lines if line in one))


def applied(work: str, function: str, *pairs: tuple[str, str]) -> tuple[str, set[int]]:
    """A solution with several mistakes in one function, and the lines that a reader may be told."""
    mistakes = sorted((Mistake(work, function, *pair) for pair in pairs), key=lambda one: -one.line)
    source = None
    for mistake in mistakes:
        source = mistake.applied(source)
    places: set[int] = set()
    shift = 0
    for mistake in mistakes[::-1]:
        places |= places_of(mistake, shift)
        shift += mistake.new.count("\n") - mistake.old.count("\n")
    assert source is not None
    return source, places


SHOWN = [*SINGLE[:2], *SLIPS[::11]]  # the others take seconds, as a search for a line does


@pytest.mark.parametrize("mistake", marked_but(SHOWN, [*SINGLE, *SLIPS], "long", lambda one: one.name))
def test_the_line_of_a_mistake_is_found(mistake: Mistake, tmp_path: Path) -> None:
    assert lines_of(mistake.applied(), mistake.function, tmp_path) & places_of(mistake)


# both are of one value, and no edit of one line makes anything right
UNTOLD = [one for one in TWO_SLIPS if one[2][1] == "C_tilda = sigmoid("]
TOLD = [one for one in TWO_SLIPS if one[2][1] in ("C_tilda = sigmoid(", "sigmoid(X @ W_xc")]
TOLD = [one for one in (*DOUBLE, *TWO_SLIPS) if one not in UNTOLD]


@pytest.mark.parametrize("double", marked_but(TOLD[-1:], TOLD, "long", str))
def test_one_of_two_lines_is_found(double: tuple[str, str, tuple[str, str], tuple[str, str]], tmp_path: Path) -> None:
    work, function, one, other = double
    source, places = applied(work, function, one, other)
    assert lines_of(source, function, tmp_path) & places
