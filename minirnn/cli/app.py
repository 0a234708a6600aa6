"""The command line: ``minirnn train``, ``generate``, ``explain`` and the others."""

import click

from minirnn.cli.explaining import explain
from minirnn.cli.grading import grade
from minirnn.cli.language import evaluate, fill, generate
from minirnn.cli.machine import check, info
from minirnn.cli.models import convert, inspect
from minirnn.cli.shared import OneSentence
from minirnn.cli.training import plot_command, train_command
from minirnn.core.version import VERSION


@click.group(cls=OneSentence, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, package_name="minirnn")
def main() -> None:
    """Recurrent networks whose every gradient is derived by hand."""


for command in (train_command, generate, fill, evaluate, convert, inspect, plot_command, check, grade, explain, info):
    main.add_command(command)
