"""A pytest plugin: a marker that holds a backward pass against its function, and a fixture with the report.

A suite that wants it says so::

    pytest_plugins = ["minirnn.testing.plugin"]

and then has a check for each function::

    @pytest.mark.gradients(affine, affine_backward, x="B D", w="D H", b="H")
    def test_affine(gradients):
        assert gradients.ok, str(gradients)
"""

from typing import Any

import numpy as np

from minirnn.testing.functions.checking import FunctionReport, check
from minirnn.testing.functions.shapes import LENGTHS, axes_of, check_words, drawn_arrays

try:
    import pytest
except ImportError as error:
    raise ImportError("minirnn.testing.plugin needs pytest: pip install 'minirnn[test]'") from error

OPTIONS = ("form", "wrt", "into", "accumulates", "fast", "seed")


def pytest_configure(config: pytest.Config) -> None:
    """Say what the marker means, so that --strict-markers knows it."""
    config.addinivalue_line(
        "markers",
        'gradients(f, backward, *args, **axes): the test gets a report of minirnn.testing.check; x="B D" draws an '
        "array, axes of one name have one length",
    )


@pytest.fixture
def gradients(request: pytest.FixtureRequest) -> FunctionReport:
    """The report of the functions that the test's marker names."""
    marker = request.node.get_closest_marker("gradients")
    if marker is None or not marker.args:
        raise pytest.UsageError("the fixture gradients needs @pytest.mark.gradients(f, backward, ...) on the test")
    f, *rest = marker.args
    options: dict[str, Any] = {key: value for key, value in marker.kwargs.items() if key in OPTIONS}
    words = {key: value for key, value in marker.kwargs.items() if key not in OPTIONS}
    check_words(words)
    lengths = dict(zip(axes_of(words), LENGTHS * len(words), strict=False))
    drawn = drawn_arrays(words, lengths, np.random.default_rng(options.get("seed", 0)))
    backward = rest[0] if rest else None
    return check(f, backward, *rest[1:], *drawn.values(), raises=False, **options)
