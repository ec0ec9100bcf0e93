"""Make every table and figure of a config, or some of its artifacts; what is made already stays as it is.

It calls Snakemake with the workflow's own settings. Results go to results/<name> in the current folder.

examples:
  wecolora run mine.yaml                             on this machine
  wecolora run mine.yaml table1 -n                   show what would run for one table
  wecolora run config/paper.yaml --slurm             on a SLURM cluster
  wecolora run mine.yaml --snakemake "--cores 4"     with options of Snakemake's own
"""

from __future__ import annotations

import argparse
import shlex
import subprocess

from rich.console import Console

from wecolora.campaign.launch import snakemake_command
from wecolora.campaign.watch import follow
from wecolora.commands.shared import PLAIN, campaign_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("config", help="the config file")
    parser.add_argument("targets", nargs="*", metavar="artifact", help="an artifact; none: all that the config makes")
    parser.add_argument("--slurm", action="store_true", help="submit the jobs to SLURM, as profiles/slurm says")
    parser.add_argument("--profile", metavar="DIR", help="another folder with Snakemake's settings")
    parser.add_argument("-n", "--dry-run", action="store_true", help="show what would run, and run nothing")
    parser.add_argument("-v", "--verbose", action="store_true", help="show Snakemake's own output in place of bars")
    parser.add_argument("--snakemake", default="", metavar="OPTIONS", help="options that are handed on to Snakemake")


def run(arguments: argparse.Namespace) -> int:
    """Run Snakemake and return its exit status; raise BadInput, before it starts, where the config is wrong."""
    campaign = campaign_of(arguments)
    profile = arguments.profile or ("slurm" if arguments.slurm else "default")
    command = snakemake_command(
        arguments.config,
        arguments.targets,
        profile=profile,
        dry_run=arguments.dry_run,
        further=shlex.split(arguments.snakemake),
    )
    if arguments.dry_run or arguments.verbose:
        return subprocess.run(command, check=False).returncode
    return follow(command, campaign, Console(**PLAIN))
