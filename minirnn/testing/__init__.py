"""Gradient checks: minirnn's own evidence, for your layers and cells too.

``check_gradients`` and ``check_adjoint`` compare a backward pass with derivatives that do not depend on it;
``hessian_vector_product`` differentiates the backward pass itself.  ``minirnn.testing.strategies`` draws layers,
shapes, lengths and states for Hypothesis (extra ``test``).
"""

from minirnn.testing.adjoint import check_adjoint
from minirnn.testing.gradients import check_gradients, hessian_vector_product, kink_distance
from minirnn.testing.report import GradientError, Report, Row

__all__ = [
    "GradientError",
    "Report",
    "Row",
    "check_adjoint",
    "check_gradients",
    "hessian_vector_product",
    "kink_distance",
]
