"""``python -m minirnn`` is the command line."""

from minirnn.cli import main

main(prog_name="minirnn")
