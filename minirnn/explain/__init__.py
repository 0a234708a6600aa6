"""One pass forward and backward, looked into: every quantity by name and time, with the equation that made it."""

from minirnn.explain.equations import Equation, equations_of
from minirnn.explain.trace import Trace, Walk, trace

__all__ = ["Equation", "Trace", "Walk", "equations_of", "trace"]
