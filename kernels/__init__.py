"""Fast twins of ``minirnn.scan.Scan``, one folder for each kind of processor.  So far there are none.

Imported as ``minirnn.kernels``: in a checkout by way of a symlink, in an installation because it is packaged there.
"""
