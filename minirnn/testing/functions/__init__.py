"""Gradients of any function: a backward pass by hand, held against derivatives of the function itself.

Nothing here knows of layers or cells, and nothing but NumPy is needed.  ``leaves`` takes arguments apart, ``calls`` and
``parameters`` know the forms in which people write a backward pass, ``matching`` whose gradient is whose, and
``derivatives`` differentiates.  ``checking`` is what users call.

Where it finds a difference, ``faults`` says which of the usual mistakes makes it, and ``repair`` in which line.  For
the line, ``mending`` looks for an edit of the source with which all is right: ``blame`` says of each value what it must
be, so that most edits need not be run.  Edits are of ``formulas``, ``arrays``, ``statements``, and of the order of
things (``swaps``); they put in lines that are ``missing``, and what a value is ``lacking``.  ``vocabulary`` is what
they are made of, ``places`` is where they are put, and ``source`` makes a function of an edited tree.
"""
