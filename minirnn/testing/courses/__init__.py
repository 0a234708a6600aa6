"""Exercises of well-known courses: each function that a student hands in, held against derivatives and formulas.

Signatures are facts; nothing here is a course's text or code.  ``formulas`` has what each forward pass computes, by
itself and not by minirnn's cells; ``cs231n``, ``specialisation``, ``cmu`` and ``d2l`` say which functions there are;
``grading`` is what users call.
"""
