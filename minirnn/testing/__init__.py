"""Gradient checks: minirnn's own evidence, for your layers and cells, and for any function with a backward pass.

``check`` takes a function of arrays and its backward pass by hand, in the forms in which people write them, and says
what is wrong with it, and in which line.

``check_gradients`` and ``check_adjoint`` compare a backward pass with derivatives that do not depend on it;
``prove`` decides by exact arithmetic, for all numbers at once.  ``hessian_vector_product`` differentiates the backward
pass itself.  ``minirnn.testing.strategies`` draws layers, shapes, lengths and states for Hypothesis (extra ``test``).

Checking functions needs NumPy alone.  What checks layers and cells is imported when it is first asked for.
"""

from typing import TYPE_CHECKING

from minirnn.core.lazy import lazy
from minirnn.testing.functions.checking import FunctionReport, check
from minirnn.testing.functions.faults import Fault
from minirnn.testing.report import GradientError, Report, Row

if TYPE_CHECKING:  # what a type checker sees; ``PLACES`` says the same to Python
    from minirnn.testing.adjoint import check_adjoint
    from minirnn.testing.gradients import check_gradients, hessian_vector_product, kink_distance
    from minirnn.testing.proof import Proof, ProofError, UndecidedError, prove

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

PLACES = {
    "Proof": "proof",
    "ProofError": "proof",
    "UndecidedError": "proof",
    "check_adjoint": "adjoint",
    "check_gradients": "gradients",
    "hessian_vector_product": "gradients",
    "kink_distance": "gradients",
    "prove": "proof",
}

if not TYPE_CHECKING:  # a type checker shall say so where a name is missing
    __getattr__, __dir__ = lazy(__name__, PLACES)
