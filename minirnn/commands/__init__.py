"""The commands of ``minirnn``, a room for each kind of work; ``minirnn.cli`` puts them together."""
