"""Snakemake as a campaign needs it: where the workflow's files are, and the command that runs them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from wecolora.core.errors import BadInput


def workflow_folder() -> Path:
    """Return the folder with the Snakefile, rules, scripts, profiles and example configs.

    In a checkout it is the folder that holds the package. An installed package has it where its wheel put it. Raise
    BadInput where there is neither.
    """
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "Snakefile").is_file():
        return checkout
    try:
        found = [path for path in files("wecolora") or [] if path.name == "Snakefile"]
    except PackageNotFoundError:
        found = []
    if not found:
        raise BadInput("wecolora: its Snakefile is not installed with it; install the package again from a checkout.")
    return Path(str(found[0].locate())).resolve().parent


def snakemake_command(
    config: str | Path,
    targets: Sequence[str] = (),
    *,
    profile: str = "default",
    dry_run: bool = False,
    further: Sequence[str] = (),
) -> list[str]:
    """Return the command that makes a config's artifacts, or the ``targets`` alone, in the current folder.

    ``profile`` is a folder of settings: one of the workflow's profiles by its name, or a path. ``further`` are
    arguments of Snakemake's own.
    """
    workflow = workflow_folder()
    settings = workflow / "profiles" / profile
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(workflow / "Snakefile")]
    command += ["--workflow-profile", str(settings if settings.is_dir() else profile)]
    command += ["--configfile", str(config)]
    return [*command, *(["--dry-run"] if dry_run else []), *further, *(["--", *targets] if targets else [])]
