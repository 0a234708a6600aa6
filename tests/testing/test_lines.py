"""Lines of mistakes in solutions of other styles; of a line that is missing, a neighbour of its place is as right.

Most take seconds, as a search for a line does: they are marked.
"""

from pathlib import Path

import pytest
from course_faults import Mistake
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


def places_of(mistake: Mistake) -> set[int]:
    """The lines that a reader may be told."""
    return {mistake.line} if mistake.new else {mistake.line - 1, mistake.line, mistake.line + 1}


@pytest.mark.parametrize("mistake", marked_but(SINGLE[:2], SINGLE, "long", lambda one: one.name))
def test_the_line_of_a_mistake_is_found(mistake: Mistake, tmp_path: Path) -> None:
    assert lines_of(mistake.applied(), mistake.function, tmp_path) & places_of(mistake)


@pytest.mark.long
@pytest.mark.parametrize("double", DOUBLE, ids=[double[1] for double in DOUBLE])
def test_one_of_two_lines_is_found(double: tuple[str, str, tuple[str, str], tuple[str, str]], tmp_path: Path) -> None:
    work, function, one, other = double
    mistakes = [Mistake(work, function, *one), Mistake(work, function, *other)]
    source = mistakes[0].applied(mistakes[1].applied())
    later = mistakes[1].line - mistakes[0].old.count("\n")  # a line is taken out before it
    assert lines_of(source, function, tmp_path) & (places_of(mistakes[0]) | {later})
