"""The command `wecolora`: what a campaign takes (`wecolora plan`), and how far it is (`wecolora status`)."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from rich.console import Console

from wecolora.campaign.selection import Campaign
from wecolora.config.reading import read_config
from wecolora.core.errors import BadInput
from wecolora.core.files import in_utf8

# What users type, such as a root, is text, and brackets in it are no markup of rich's.
PLAIN: Any = {"markup": False, "highlight": False}


def _campaign(arguments: argparse.Namespace) -> Campaign:
    values = read_config(arguments.config)
    return Campaign(values | {"targets": arguments.targets} if arguments.targets else values)


def plan(arguments: argparse.Namespace) -> None:
    """Print what a campaign takes."""
    from wecolora.campaign import plan
    from wecolora.core import hardware  # torch

    campaign = _campaign(arguments)
    if arguments.tflops is not None and not arguments.tflops > 0:
        raise BadInput(f"--tflops: {arguments.tflops:g} is no rate; give a number above 0.")
    tflops, rate = arguments.tflops, "as given" if arguments.tflops else "a guess for an RTX 3090"
    if arguments.measure:
        device = hardware.device(threads=os.cpu_count() or 1)
        teacher = next(iter(campaign.config.teachers.values()))
        tflops, rate = plan.measured_tflops(teacher.architecture, device), f"measured here, {teacher.label} on {device}"
    console = Console(**PLAIN)
    plan.show(plan.make_plan(campaign), campaign.config.name, tflops or plan.TFLOPS, rate, console)
    roots = [data.folder for data in campaign.config.datasets.values() if data.folder is not None]
    if missing := [root for root in roots if not os.path.isdir(root)]:
        console.print(f"These roots of data sets do not exist here: {', '.join(missing)}.", soft_wrap=True)


def status(arguments: argparse.Namespace) -> None:
    """Print how far a campaign is."""
    from wecolora.campaign import status

    campaign = _campaign(arguments)
    if not os.path.isdir(campaign.layout.root):
        print(f"There is no {campaign.layout.root} here: nothing has run yet, or it ran in another folder.")
    status.show(status.look(campaign), campaign.config.name, Console(**PLAIN))


def main(arguments: list[str] | None = None) -> int:
    """Run a command, that of the command line where no ``arguments`` are given; bad input ends it with one line and
    status 1."""
    parser = argparse.ArgumentParser(prog="wecolora", description=__doc__)
    commands = parser.add_subparsers(required=True)
    commands_of = {
        plan: "what a campaign takes, and what of it is done; nothing runs",
        status: "how far a campaign is: runs done, running and failed, why, and what is left",
    }
    added = {}
    for command, about in commands_of.items():
        added[command] = commands.add_parser(command.__name__, help=about, description=f"Print {about}.")
        added[command].add_argument("config", nargs="?", default="config.yaml", help="default: config.yaml")
        added[command].add_argument("targets", nargs="*", help="artifacts, in the place of all that the config makes")
        added[command].set_defaults(command=command)
    added[plan].add_argument("--tflops", type=float, help="what a GPU sustains, in 1e12 operations a second")
    added[plan].add_argument("--measure", action="store_true", help="measure that on this machine's GPU or CPU")
    chosen = parser.parse_args(arguments)
    try:
        if arguments is None:
            in_utf8()
        chosen.command(chosen)
    except BadInput as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
