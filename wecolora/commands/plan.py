"""Print what a campaign takes, and what of it is done; nothing runs.

example:
  wecolora plan config/paper.yaml table1 --tflops 60
"""

from __future__ import annotations

import argparse
import os

from rich.console import Console

from wecolora.commands.shared import PLAIN, add_config, campaign_of
from wecolora.core.errors import BadInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config(parser)
    parser.add_argument("--tflops", type=float, help="what a GPU sustains, in 1e12 operations a second")
    parser.add_argument("--measure", action="store_true", help="measure that on this machine's GPU or CPU")


def run(arguments: argparse.Namespace) -> None:
    """Print the plan; raise BadInput where the config or its images cannot be read."""
    from wecolora.campaign import plan
    from wecolora.core import hardware  # torch

    campaign = campaign_of(arguments)
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
