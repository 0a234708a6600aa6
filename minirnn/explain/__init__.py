"""Forward and backward pass, looked into: every quantity by name and time, with the equation that made it."""

import sys

from minirnn.explain.engine.equations import Equation, equations_of
from minirnn.explain.engine.trace import Trace, Walk, trace

# the module's name of before: imported later, the module would take the place of the function
sys.modules[f"{__name__}.trace"] = sys.modules[trace.__module__]

__all__ = ["Equation", "Trace", "Walk", "equations_of", "trace"]
