"""Gradients of any function: a backward pass by hand, held against derivatives of the function itself.

Nothing here knows of layers or cells, and nothing but NumPy is needed.  ``leaves`` takes arguments apart, ``calls`` and
``parameters`` know the forms in which people write a backward pass, ``matching`` whose gradient is whose, and
``derivatives`` differentiates.  ``checking`` is what users call.  Where it finds a difference, ``faults`` says which of
the usual mistakes makes it, and ``repair``, by ``edits`` of the source, in which line.
"""
