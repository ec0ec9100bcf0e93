"""Distil Vision Transformers from a few unlabelled images, and regenerate the WeCoLoRA paper."""

from __future__ import annotations

import argparse
import importlib
import sys

from wecolora.core.errors import BadInput
from wecolora.core.files import in_utf8

# In the order of the help. Each is a module of wecolora/commands: its docstring is the command's help, and it has
# add_arguments and run.
COMMANDS = ("plan", "status", "compare")


def main(arguments: list[str] | None = None) -> int:
    """Run a command, and return its exit status: 0, 1 for bad input or what the command returns.

    Without ``arguments``, those of the command line are taken. Wrong usage ends the process with status 2.
    """
    parser = argparse.ArgumentParser(prog="wecolora", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in COMMANDS:
        command = importlib.import_module(f"wecolora.commands.{name}")
        about = str(command.__doc__).partition("\n")[0]
        added = commands.add_parser(
            name, help=about, description=command.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        command.add_arguments(added)
        added.set_defaults(run=command.run)
    chosen = parser.parse_args(arguments)
    try:
        if arguments is None:
            in_utf8()
        return chosen.run(chosen) or 0
    except BadInput as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
