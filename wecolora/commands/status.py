"""Print how far a campaign is: runs that are done, running and failed, why they failed, and what is left.

example:
  wecolora status config/paper.yaml
"""

from __future__ import annotations

import argparse
import os

from rich.console import Console

from wecolora.commands.shared import PLAIN, add_config, campaign_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print the states of the campaign's jobs; raise BadInput where the config cannot be read."""
    from wecolora.campaign import status

    campaign = campaign_of(arguments)
    if not os.path.isdir(campaign.layout.root):
        print(f"There is no {campaign.layout.root} here: nothing has run yet, or it ran in another folder.")
    status.show(status.look(campaign), campaign.config.name, Console(**PLAIN))
