"""Print how far a campaign is: runs that are done, running and failed, why they failed, and what is left.

examples:
  wecolora status config/paper.yaml
  wecolora status config/paper.yaml --watch
"""

from __future__ import annotations

import argparse
import os
import time
from contextlib import suppress

from rich.console import Console
from rich.live import Live
from rich.text import Text

from wecolora.campaign.selection import Campaign
from wecolora.commands.shared import PLAIN, add_config, campaign_of

SECONDS = 2.0  # between two looks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config(parser)
    parser.add_argument("--watch", action="store_true", help="on a terminal, look again until nothing runs or waits")


def run(arguments: argparse.Namespace) -> None:
    """Print the states of the campaign's jobs; raise BadInput where the config cannot be read."""
    campaign, console = campaign_of(arguments), Console(**PLAIN)
    if not os.path.isdir(campaign.layout.root):
        print(f"There is no {campaign.layout.root} here: nothing has run yet, or it ran in another folder.")
    if arguments.watch and console.is_terminal:
        with suppress(KeyboardInterrupt):
            _watch(campaign, console)
    else:
        _show(campaign, console)


def _show(campaign: Campaign, console: Console) -> bool:
    """Print the status once, and return whether anything runs or waits."""
    from wecolora.campaign import status

    found = status.look(campaign)
    status.show(found, campaign.config.name, console)
    return bool(found.of("running") or found.of("waiting"))


def _watch(campaign: Campaign, console: Console) -> None:
    with Live(console=console, auto_refresh=False) as live:
        going = True
        while going:
            with console.capture() as shown:
                going = _show(campaign, console)
            live.update(Text.from_ansi(shown.get()), refresh=True)
            if going:
                time.sleep(SECONDS)
