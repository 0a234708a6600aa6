"""The version of minirnn, for whatever writes it into a file."""

VERSION = "0.1.0"
