"""The command line: ``minirnn train``, ``generate``, ``explain`` and the others."""

from minirnn.cli.app import main

__all__ = ["main"]
