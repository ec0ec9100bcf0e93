"""Write a commented config to edit.

examples:
  wecolora new mine                    your own images and teacher
  wecolora new try --from demo         the demo: the paper in miniature, on bundled pictures
  wecolora new grid --from paper       the paper's own data sets and teachers
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from wecolora.campaign.launch import workflow_folder
from wecolora.config.values import Name
from wecolora.core.errors import BadInput
from wecolora.core.files import write_text

STARTS = {"own": "config/own.yaml", "demo": "config.yaml", "paper": "config/paper.yaml"}
BUNDLED = "assets/teachers/"  # where the demo's teachers lie in the workflow's folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("name", help="of the campaign: a-z, 0-9 and _; the file is NAME.yaml, here")
    parser.add_argument("--from", dest="start", choices=STARTS, default="own", help="default: own")


def run(arguments: argparse.Namespace) -> None:
    """Write NAME.yaml; raise BadInput where that file is there already, or NAME is no name."""
    name, path = arguments.name, Path(f"{arguments.name}.yaml")
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        raise BadInput(f"{name}: is no name of a campaign; take up to 24 of a-z, 0-9 and _, the first no _.") from error
    if path.exists():
        raise BadInput(f"{path}: is there already; take another name, or move it away.")
    workflow = workflow_folder()
    text = (workflow / STARTS[arguments.start]).read_text(encoding="utf-8")
    # The comment behind the name stays where it was.
    text = re.sub(r"^name: (\w+)( *)", lambda found: f"name: {name:<{len(found[1] + found[2])}}", text, flags=re.M)
    if not Path(BUNDLED).is_dir():  # paths count from the current folder
        text = text.replace(f" {BUNDLED}", f" {workflow}/{BUNDLED}")
    write_text(path, text.replace("NAME.yaml", str(path)))
    print(f"{path} is written: edit it, then `wecolora plan {path}` and `wecolora run {path}`.")
