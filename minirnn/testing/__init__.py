"""Gradient checks: minirnn's own evidence, for your layers and cells, and for any function with a backward pass.

``check`` takes a function of arrays and its backward pass by hand, in the forms in which people write them, and says
what is wrong with it, and in which line.

``check_gradients`` and ``check_adjoint`` compare a backward pass with derivatives that do not depend on it;
``prove`` decides by exact arithmetic, for all numbers at once.  ``hessian_vector_product`` differentiates the backward
pass itself.  ``minirnn.testing.strategies`` draws layers, shapes, lengths and states for Hypothesis (extra ``test``).
"""

from minirnn.testing.adjoint import check_adjoint
from minirnn.testing.functions.checking import FunctionReport, check
from minirnn.testing.functions.faults import Fault
from minirnn.testing.gradients import check_gradients, hessian_vector_product, kink_distance
from minirnn.testing.proof import Proof, ProofError, UndecidedError, prove
from minirnn.testing.report import GradientError, Report, Row

__all__ = [
    "Fault",
    "FunctionReport",
    "GradientError",
    "Proof",
    "ProofError",
    "Report",
    "Row",
    "UndecidedError",
    "check",
    "check_adjoint",
    "check_gradients",
    "hessian_vector_product",
    "kink_distance",
    "prove",
]
