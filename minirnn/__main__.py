"""``python -m minirnn`` is the command line."""

from minirnn.cli.app import main

main(prog_name="minirnn")
