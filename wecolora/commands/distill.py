"""Make a student of a teacher from a folder of images, a table of them, or a text file of their paths.

Everything is checked first; then a config is written, which any other command takes, and it is run. Calling it again
makes nothing again; another method, r or k adds a student to the same campaign.

examples:
  wecolora distill photos/ --teacher vit_base_patch16_224.mae
  wecolora distill photos/ --teacher vit_small_patch16_224.augreg_in21k_ft_in1k --r 3 --k 32 --epochs 20
  wecolora distill photos/ --teacher my_vit.safetensors --heads 6 --labels
  wecolora distill images.csv --teacher vit_base_patch16_224.mae --labels species --name birds
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from dataclasses import fields
from pathlib import Path

from rich.console import Console

from wecolora.campaign.launch import snakemake_command
from wecolora.campaign.selection import Campaign
from wecolora.campaign.watch import follow
from wecolora.commands.shared import PLAIN
from wecolora.config.layout import ABOUT
from wecolora.config.methods import METHODS
from wecolora.config.recipes import StudentShape, assumed_classes
from wecolora.config.runs import RunSpec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("images", help="a folder; a .csv, .tsv or .parquet table; or a .txt file with a path a line, from its folder")
    add("--teacher", required=True, help="timm's name of a model, with its tag, or a safetensors file")
    add("--weights", metavar="FILE", help="of that model of timm's, in the place of the hub's")
    add("--heads", type=int, help="attention heads of a file that no JSON file describes; default: width / 64")
    add("--method", default="wecolora", help="as in docs/methods.md; default: wecolora")
    add("--r", type=int, default=2, help="keep floor(blocks / r) blocks; default: 2")
    add("--k", type=int, default=64, help="rank of the adapters; default: 64")
    add("--epochs", type=int, help="passes over the images; default: 10")
    add("--batch", type=int, help="images a step; default: 64, or fewer where there are few images")
    add("--lr", type=float, help="learning rate; default: the paper's for r = 2 and 3")
    add("--seed", type=int, default=0, help="of the weights and the order; default: 0")
    add(
        "--labels",
        nargs="?",
        const=True,
        default=False,
        metavar="COLUMN",
        help="probe teacher and student, too: the labels are the class folders, or that column of the table",
    )
    add("--paths", default="path", metavar="COLUMN", help="the table's column of paths; default: path")
    add("--name", help="of the campaign; default: the images'")
    add("-n", "--dry-run", action="store_true", help="write the config, and show what would run")


def run(arguments: argparse.Namespace) -> int:
    """Make the student, and tell about it; return Snakemake's exit status. Raise BadInput before anything runs."""
    from wecolora.campaign import from_images  # torch

    wish = from_images.Wish(**{field.name: getattr(arguments, field.name) for field in fields(from_images.Wish)})
    found = from_images.wanted(wish)
    from_images.write(found)
    print("\n".join([f"{found.config} is the campaign's config.", *found.chosen]), flush=True)
    command = snakemake_command(found.config, dry_run=arguments.dry_run)
    if arguments.dry_run:
        return subprocess.run(command, check=False).returncode
    status = follow(command, Campaign(found.values), Console(**PLAIN))
    if status == 0:
        print("\n".join(["", *told(found.campaign, found.artifact)]))
    return status


def told(campaign: Campaign, artifact: str) -> list[str]:
    """Return what is to be known about a finished student, a line each."""
    from wecolora.core import hardware
    from wecolora.results import summary

    (run,) = [run for run in campaign.trained_for(artifact) if METHODS[run.method].axes]
    teacher, student = campaign.config.teachers[run.teacher], campaign.student(run)
    shape = StudentShape(method=run.method, r=run.r, k=run.k)
    classes = assumed_classes(campaign.config, run.teacher)
    device = hardware.device(threads=os.cpu_count() or 1)
    record = json.loads(Path(student).with_name(ABOUT).read_text(encoding="utf-8"))
    batch = 1 if device == "cpu" else campaign.config.distill.batch
    facts = [
        summary.size(teacher, shape, classes),
        summary.speed_up(teacher, shape, classes, device, batch),
        *summary.learnt(record),
        *_scores(campaign, run),
    ]
    code = summary.loads(teacher, student)
    return [
        f"The student is {student}:",
        *(f"  {fact}" for fact in facts),
        "Two lines of Python load the student:",
        *(f"  {line}" for line in code),
        f"Other programs load it after: wecolora export {Path(student).parent} DIR --to hf onnx torch",
    ]


def _scores(campaign: Campaign, run: RunSpec) -> list[str]:
    """Return the probe's scores of teacher and student, where the images have labels."""
    paths = [
        Path(campaign.score(one, dataset))
        for dataset in campaign.config.datasets
        for one in (run, RunSpec(run.teacher, "teacher"))
    ]
    if not all(path.exists() for path in paths):
        return []
    student, teacher = (json.loads(path.read_text(encoding="utf-8")) for path in paths)
    return [
        f"linear probe: {student['last']:.1f}, its teacher {teacher['last']:.1f} ({teacher['metric']}): "
        f"{student['last'] - teacher['last']:+.1f} points"
    ]
