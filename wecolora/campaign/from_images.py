"""A campaign from images and a teacher alone: the config that `wecolora distill` writes."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from wecolora.campaign.revisions import REVISIONS
from wecolora.campaign.selection import Campaign
from wecolora.config.datasets import SOURCES
from wecolora.config.methods import METHODS
from wecolora.config.reading import flat, read_config
from wecolora.config.recipes import FetchRecipe
from wecolora.config.teachers import Architecture, Teacher
from wecolora.config.timm_catalogue import weights_file
from wecolora.config.training import DistillSettings
from wecolora.core.errors import BadInput
from wecolora.core.files import write_text
from wecolora.data.columns import read_columns
from wecolora.data.listing import Listing
from wecolora.data.prepare import listing_of
from wecolora.models.fetch import download, fetched
from wecolora.models.shapes import describe
from wecolora.models.vit import load
from wecolora.results.computation import bytes_per_view

TEACHER, IMAGES = "teacher", "images"  # what the config calls them
BATCH, UPDATES = 64, 8  # the largest batch, and how many of them an epoch should have
VIEWS = 10  # the most crops of an image that are recorded: up to there, a fresh one each epoch
TEST_SHARE = 0.2  # of labelled images without a split
# A cache of at most this is recorded, and serves every student of these images; a larger one is not.
MOST_CACHED = 20e9
ONE_SHARD = 2e9  # a cache of at most this is one file
# The probe's defaults are for tens of thousands of images. Fewer are probed with these.
FEW = 10_000
PROBE_OF_FEW = {"epochs": 120, "warmup_epochs": 12, "batch": 128, "base_lr": 32}
SHOWN = ("img_size", "patch_size", "embed_dim", "depth", "num_heads")  # of an architecture, whatever it is
TABLES = (".csv", ".tsv", ".parquet")


@dataclass(frozen=True)
class Wish:
    """What a user asks for. None stands for a choice that is left to choose here."""

    images: str  # a folder, a table, or a text file of paths
    teacher: str  # timm's name of a model, or a safetensors file
    weights: str | None = None  # of that model of timm's
    heads: int | None = None
    method: str = "wecolora"
    r: int = 2
    k: int = 64
    epochs: int | None = None
    batch: int | None = None
    lr: float | None = None
    seed: int = 0
    labels: str | bool = False  # True: class folders; a text: the column of a table
    paths: str = "path"  # the column of a table
    name: str | None = None


@dataclass(frozen=True)
class Wanted:
    """A campaign that makes the student of a wish."""

    campaign: Campaign
    artifact: str  # its part that this wish asks for
    config: Path  # the file that it is to be written to
    values: dict[str, Any]
    chosen: list[str]  # what was chosen for the user, a sentence each


def wanted(wish: Wish) -> Wanted:
    """Return the campaign of a wish, whose images and teacher are checked.

    Nothing is written but the table of a wish whose images are in no folder of their own. A config of the campaign's
    name that is there already gets the wish's student as one more artifact. Raise BadInput for images, a teacher or
    settings that no student can be made of, and for a name that other settings have; then nothing is left behind.
    """
    name = wish.name or _name(wish.images)
    table = Path(f"{name}.images.csv").absolute()
    before = table.read_bytes() if table.exists() else None
    try:
        return _wanted(wish, name, table)
    except BadInput:
        if before is not None:
            table.write_bytes(before)
        else:
            table.unlink(missing_ok=True)
        raise


def _wanted(wish: Wish, name: str, table: Path) -> Wanted:
    config = Path(f"{name}.yaml")
    data, listed = _data(wish, name, table)
    chosen: list[str] = []
    values: dict[str, Any] = {
        "name": name,
        "title": f"Students from {wish.images}",
        "corpus": {"dataset": IMAGES},
        "seeds": [wish.seed],
        "teachers": {TEACHER: _teacher(wish, chosen)},
        "datasets": {IMAGES: data},
    }
    images = Counter(entry.split for entry in listed.entries)["train"]
    values |= _settings(wish, images, _architecture(values["teachers"][TEACHER]), chosen)
    artifact, entry = _artifact(wish)
    values["artifacts"] = {artifact: entry}
    if config.exists():
        values = _joined(read_config(config), values, config)
    campaign = Campaign({**values, "targets": [artifact]})
    refuse_wrong_weights(campaign)
    return Wanted(campaign, artifact, config, values, chosen)


def refuse_wrong_weights(campaign: Campaign) -> None:
    """Raise BadInput where the teacher's weights cannot be had, or do not fit its architecture.

    Those of a model of timm's are downloaded into the hub's cache, where they are not there yet.
    """
    teacher = campaign.config.teachers[TEACHER]
    if teacher.timm is None:
        load(teacher.architecture.model_dump(), str(teacher.weights), head=True)
        return
    path = weights_file(teacher.weights) if teacher.weights else download(teacher.timm)
    fetched(FetchRecipe.of(campaign.config, REVISIONS, TEACHER), path)


def write(found: Wanted) -> None:
    """Write the campaign's config, unless the file holds it already."""
    if found.config.exists() and read_config(found.config) == found.values:
        return
    head = (
        "# Written by `wecolora distill`, which adds a student to it for each further method, r and k. It is a config\n"
        f"# like any other: edit it, and make all of it with `wecolora run {found.config}`.\n"
    )
    text = yaml.dump(found.values, Dumper=_Readable, sort_keys=False, allow_unicode=True, width=110)
    write_text(found.config, head + text)


class _Readable(yaml.SafeDumper):
    """Lists of plain values stand on one line."""


def _list(dumper: yaml.SafeDumper, values: list[Any]) -> yaml.Node:
    flow = not any(isinstance(value, list | dict) for value in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=flow)


_Readable.add_representer(list, _list)
_Readable.ignore_aliases = lambda self, data: True  # type: ignore[method-assign, assignment]


def _name(images: str) -> str:
    """Return the name of a campaign after its images."""
    stem = Path(os.path.abspath(os.path.expanduser(images))).stem.lower()
    name = re.sub(r"[^a-z0-9]+", "_", stem).strip("_")[:24].rstrip("_")
    if not name:
        raise BadInput(f"{images}: no name of a campaign follows from it; give --name, of a-z, 0-9 and _.")
    return name


# Images


def _data(wish: Wish, name: str, table: Path) -> tuple[dict[str, Any], Listing]:
    """Return the entry of the images in the config, and the images that it lists; write the ``table`` that it needs."""
    path = Path(os.path.expanduser(wish.images))
    if path.is_dir():
        if isinstance(wish.labels, str):
            raise BadInput(f"--labels {wish.labels}: a folder has no columns; give --labels alone for class folders.")
        entry: dict[str, Any] = {"label": name, "source": "folder", "root": str(path)}
    elif path.is_file() and path.suffix.lower() in (".txt", *TABLES):
        rows = _lines(path, wish) if path.suffix.lower() == ".txt" else _rows(path, wish)
        labels = "label" if wish.labels else None
        root = write_table(rows, table, ["path", labels] if labels else ["path"])
        entry = {"label": name, "source": "table", "root": root, "table": str(table), "labels": labels}
    else:
        what = "is no folder, and no .csv, .tsv, .parquet or .txt file" if path.exists() else "is not there"
        raise BadInput(f"{wish.images}: {what}; give a folder of images, a table of them, or a .txt file of paths.")
    listed = _listed(entry)
    if wish.labels and not any(one.split == "test" for one in listed.entries):
        entry["test_share"] = TEST_SHARE
        listed = _listed(entry)
    return entry, listed


def write_table(rows: Sequence[tuple[str, ...]], table: Path, columns: Sequence[str]) -> str:
    """Write a table of images, whose absolute paths come first in ``rows``; return the folder that paths count from."""
    root = os.path.commonpath([os.path.dirname(row[0]) for row in rows])
    with io.StringIO() as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows((os.path.relpath(row[0], root), *row[1:]) for row in rows)
        write_text(table, text.getvalue())
    return root


def _lines(path: Path, wish: Wish) -> list[tuple[str, ...]]:
    """Return the paths that a text file lists, a line each, from its folder."""
    if wish.labels:
        raise BadInput(f"--labels: {path} lists paths alone; give a table with a column of labels.")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read as UTF-8 text ({error}); save it as such.") from error
    if not (found := [line.strip() for line in lines if line.strip()]):
        raise BadInput(f"{path}: lists no paths; give one a line.")
    return [(_absolute(path, line),) for line in found]


def _rows(path: Path, wish: Wish) -> list[tuple[str, ...]]:
    """Return the paths and, where they are asked for, the labels that a table lists."""
    if wish.labels is True:
        raise BadInput(f"--labels: {path} is a table; name its column of labels, as in --labels label.")
    wanted = [wish.paths, *([wish.labels] if wish.labels else [])]
    columns = read_columns(path, str(path), wanted, None)
    if wish.labels in columns.several:
        raise BadInput(f"{path}: column {wish.labels!r} holds lists; write a config (docs/own-data.md, `separator`).")
    if not (paths := columns.texts[wish.paths]):
        raise BadInput(f"{path}: has no rows; list the images there.")
    labels = [columns.texts[column] for column in wanted[1:]]
    return list(zip([_absolute(path, one.strip()) for one in paths], *labels, strict=True))


def _absolute(file: Path, path: str) -> str:
    """Return a path that a file lists, from that file's folder, as an absolute one."""
    return os.path.abspath(file.parent / os.path.expanduser(path))


def _listed(entry: Mapping[str, Any]) -> Listing:
    """Return the images of an entry; raise BadInput where there are none."""
    return listing_of(IMAGES, SOURCES[entry["source"]].model_validate(entry))


# The teacher


def _teacher(wish: Wish, chosen: list[str]) -> dict[str, Any]:
    """Return the entry of the teacher in the config."""
    path = Path(os.path.expanduser(wish.teacher))
    if not path.exists() and not wish.teacher.endswith(".safetensors") and os.sep not in wish.teacher:
        entry: dict[str, Any] = {"label": wish.teacher, "timm": wish.teacher}
        return entry | ({"weights": wish.weights} if wish.weights else {})
    if wish.weights:
        raise BadInput(f"--weights: {wish.teacher} is a file already; give a model by timm's name, or the file alone.")
    found = describe(path, wish.heads)
    shape = found.architecture.model_dump(exclude_defaults=True)
    shape = {key: getattr(found.architecture, key) for key in (*SHOWN, *shape)}
    statistics = found.statistics or {"mean": [0.5] * 3, "std": [0.5] * 3}
    words = ", ".join(f"{key} {value}" for key, value in shape.items())
    chosen.append(f"Its architecture, from {found.source}: {words}.")
    if not found.statistics:
        chosen.append("Its pixels are normalised with mean 0.5 and std 0.5, since no file tells others.")
    return {"label": path.stem, "weights": str(path), "architecture": shape, **statistics}


def _architecture(entry: Mapping[str, Any]) -> Architecture:
    """Return the architecture of an entry; raise BadInput where it is no teacher."""
    try:
        return Teacher.model_validate(entry).architecture
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise BadInput(f"--teacher {entry['label']}: {reason}.") from error


# Settings


def distillation(images: int, r: int, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config's ``distill`` for one student from so many images; ``given`` holds what is not left to choose.

    The learning rate in ``given`` is a number. Where it is not given, it is the paper's for r.
    """
    defaults = DistillSettings()
    epochs = given.get("epochs", defaults.epochs)
    chosen = {
        "epochs": epochs,
        "warmup_epochs": min(defaults.warmup_epochs, epochs / 5),
        "batch": max(2, min(BATCH, images // UPDATES)),
        "accumulate": 1,
    }
    return {**chosen, **given, "lr": {r: given.get("lr", defaults.lr.get(r, min(defaults.lr.values())))}}


def _settings(wish: Wish, images: int, architecture: Architecture, chosen: list[str]) -> dict[str, Any]:
    """Return how the student is trained and scored, and how its teacher's tokens are kept."""
    if images < 2:
        raise BadInput(f"{wish.images}: {images} image to learn from; a student needs two at least.")
    given = {key: value for key in ("epochs", "batch", "lr") if (value := getattr(wish, key))}
    distill = distillation(images, wish.r, given)
    batch, views = distill["batch"], min(distill["epochs"], VIEWS)
    if batch > images:
        raise BadInput(f"--batch {batch}: {images} images do not fill one; lower it.")
    if batch < BATCH and wish.batch is None:
        chosen.append(f"Batches are of {batch}, so that {images} images give {images // batch} updates an epoch.")
    size = images * views * bytes_per_view(architecture)
    cached = size <= MOST_CACHED
    if not cached:
        chosen.append(f"The teacher runs in every step: a cache of its tokens would take {size / 1e9:.0f} GB.")
    distill["teacher"] = "cached" if cached else "online"
    corpus = {"dataset": IMAGES, "views": views, "shard_percent": 100 if size <= ONE_SHARD else 10}
    probe = {"probe": PROBE_OF_FEW} if wish.labels and images < FEW else {}
    return {"corpus": corpus, "distill": distill, **probe}


# The student


def _artifact(wish: Wish) -> tuple[str, dict[str, Any]]:
    """Return the name and the entry of the wish's student, or of the table with its score."""
    ranked = "k" in METHODS[wish.method].axes if wish.method in METHODS else True
    artifact = f"{wish.method}_r{wish.r}{f'_k{wish.k}' if ranked else ''}"[:24]
    runs = {"teacher": [TEACHER], "method": [wish.method], "r": [wish.r], "alpha": [100]}
    if ranked:
        runs["k"] = [wish.k]
    words = {"title": artifact, "caption": f"A student of r = {wish.r} by {wish.method}."}
    if not wish.labels:
        return artifact, {"kind": "students", **words, "runs": runs}
    runs["method"] = [wish.method, "teacher"]
    return artifact, {"kind": "table", **words, "rows": ["method"], "runs": runs, "datasets": [IMAGES]}


def _joined(there: dict[str, Any], new: dict[str, Any], config: Path) -> dict[str, Any]:
    """Return the config that is there with the new one's artifact and learning rate; raise BadInput where they differ
    in anything else, or that artifact is another there."""
    there_lr, new_lr = there.get("distill", {}).get("lr", {}), new["distill"]["lr"]
    old = flat({**there, "distill": {**there.get("distill", {}), "lr": {**new_lr, **there_lr}}})
    asked = flat({**new, "distill": {**new["distill"], "lr": {**there_lr, **new_lr}}})
    parts = ("artifacts", "targets", "title")
    if wrong := [
        f"{key} is {old.get(key, 'not given')} there, and {asked.get(key, 'not given')} now"
        for key in dict.fromkeys([*old, *asked])
        if key.split(".")[0] not in parts and old.get(key) != asked.get(key)
    ]:
        raise BadInput(
            f"{config}: has other settings ({'; '.join(wrong)}); give another --name, or run that config as it is with "
            "`wecolora run`."
        )
    joined = {**there, "distill": {**there["distill"], "lr": {**there_lr, **new_lr}}}
    for name, entry in new["artifacts"].items():
        if there["artifacts"].get(name, entry) != entry:
            raise BadInput(f"{config}: has another artifact {name}; give another --name.")
        joined["artifacts"] = {**there["artifacts"], name: entry}
    return joined
