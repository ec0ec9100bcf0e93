"""What several commands share: the campaign of a config, and a console that prints what users typed as it is."""

from __future__ import annotations

import argparse
from typing import Any

from wecolora.campaign.selection import Campaign
from wecolora.config.reading import read_config

# What users type, such as a root, is text, and brackets in it are no markup of rich's.
PLAIN: Any = {"markup": False, "highlight": False}


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a command that looks at a campaign."""
    parser.add_argument("config", nargs="?", default="config.yaml", help="default: config.yaml")
    parser.add_argument("targets", nargs="*", help="artifacts, in the place of all that the config makes")


def campaign_of(arguments: argparse.Namespace) -> Campaign:
    """Return the campaign of the config and the targets that add_config's arguments name; raise BadInput."""
    values = read_config(arguments.config)
    return Campaign(values | {"targets": arguments.targets} if arguments.targets else values)
