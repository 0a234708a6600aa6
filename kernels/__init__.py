"""Fast twins of the passes of ``minirnn.recurrent.direction``, one folder for each kind of processor.

Imported as ``minirnn.kernels``: in a checkout by way of a symlink, in an installation because it is packaged there.
"""
