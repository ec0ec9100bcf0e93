"""Bad input of every kind, each as its job meets it: one sentence that names the culprit and the remedy, status 1, and
no output, whole or in part.

A row of the table: what is wrong; the job; what spoils a finished small campaign; words that its message has to hold.
"""

from __future__ import annotations

import copy
import fcntl
import io
import json
import os
import pickle
import re
import resource
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch: one thread, before anything imports it

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import wecolora.data.images
from tests import layouts
from wecolora import cli
from wecolora.campaign.selection import Campaign
from wecolora.config.layout import RESUME, Layout
from wecolora.config.runs import RunSpec
from wecolora.core import job
from wecolora.core.checkpoint import Checkpoint
from wecolora.core.errors import BadInput
from wecolora.core.process_group import ProcessGroup
from wecolora.models import vit
from workflow_scripts import (
    cache_teacher,
    claims,
    collect,
    distill,
    features,
    fetch_teacher,
    figure,
    latent,
    prepare,
    pretrain_teacher,
    probe,
    report,
    rollout,
    subset,
    table,
)

REPOSITORY = Path(__file__).parents[1]
LONGEST = 400  # characters of a message
SHAPE = {"img_size": 16, "patch_size": 8, "embed_dim": 32, "depth": 4, "num_heads": 2}
RUN, DEIT = "wecolora_r2_k4_a100_s0", "deit_hard_r2_a100_s0"
RUNS = {"teacher": ["tiny"], "method": ["weco_kd", "wecolora"], "r": [2], "k": [4], "alpha": [100]}
ROOT = "results/bad"
INDEX, SUBSET = f"{ROOT}/data/pictures/index.parquet", f"{ROOT}/data/pictures/subset.parquet"
SHARDS = [f"{ROOT}/teachers/tiny/cache/00{number}.h5" for number in range(2)]
STUDENT, ABOUT = (f"{ROOT}/runs/tiny/{RUN}/student.{suffix}" for suffix in ("safetensors", "json"))
FEATURES, SCORE = f"{ROOT}/runs/tiny/{RUN}/features/pictures.h5", f"{ROOT}/runs/tiny/{RUN}/scores/pictures.json"
CONFIG: dict[str, Any] = {
    "name": "bad",
    "title": "Bad input",
    "corpus": {"dataset": "pictures", "views": 2, "shard_percent": 50},
    "teachers": {"tiny": {"label": "Tiny", "weights": "tiny.safetensors", "architecture": SHAPE}},
    "datasets": {
        "pictures": {"label": "Pictures", "source": "folder", "root": "pictures"},
        "digits": {"label": "Digits", "source": "bundled", "bundled": "digits", "train": 20, "test": 10},
    },
    "distill": {"epochs": 2, "warmup_epochs": 1, "batch": 4, "accumulate": 1, "lr": {2: 0.001}},
    "probe": {"epochs": 2, "warmup_epochs": 1, "batch": 8},
    "artifacts": {
        "table1": {
            "kind": "table",
            "title": "Table 1",
            "caption": "A caption.",
            "rows": ["r", "method"],
            "runs": {**RUNS},
            "datasets": ["pictures"],
        },
        "figure4": {
            "kind": "figure",
            "title": "Figure 4",
            "caption": "A caption.",
            "x": "alpha",
            "runs": {**RUNS},
            "datasets": ["pictures"],
        },
        "figure2": {
            "kind": "latent",
            "title": "Figure 2",
            "caption": "A caption.",
            "runs": {**RUNS},
            "datasets": ["pictures"],
        },
        "figure3": {
            "kind": "rollout",
            "title": "Figure 3",
            "caption": "A caption.",
            "runs": {**RUNS},
            "datasets": ["pictures"],
            "images": 2,
        },
        "verdicts": {"kind": "claims", "title": "Verdicts", "caption": "A caption."},
    },
}


# A place to work in, and the jobs


@dataclass
class Place:
    """A working directory (the current one) and the config of what runs there."""

    folder: Path
    config: dict[str, Any]

    def path(self, *names: str) -> Path:
        return self.folder.joinpath(*names)

    def set(self, key: str, value: Any) -> None:
        """Of the config; ``key`` by dots."""
        *parents, last = key.split(".")
        node = self.config
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value

    def dataset(self, **values: Any) -> None:
        """A further data set, ``new``, in the folder ``new``."""
        self.config["datasets"]["new"] = {"label": "New", "root": "new", **values}


@dataclass(frozen=True)
class Job:
    """A script's main, what it is called with, and which of that are outputs."""

    main: Callable[..., None]
    arguments: dict[str, Any]
    outputs: dict[str, Any]

    def files(self) -> list[Path]:
        found: list[Path] = []
        for paths in self.outputs.values():
            found += map(Path, [paths] if isinstance(paths, str) else paths)
        return found

    def run(self, log: str) -> None:
        """As Snakemake runs the script."""
        with job.running(log, self.arguments.get("recipe", "")):
            self.main(**self.arguments, **self.outputs)


def job_of(config: dict[str, Any], name: str) -> Job:
    """A rule's job (``cache_teacher 1``) as the rules of the Snakefile make it."""
    campaign = Campaign(config)
    rule, _, what = name.partition(" ")
    return MAKERS[rule](campaign, campaign.layout, what or RUN)


def _prepare(c: Campaign, paths: Layout, dataset: str) -> Job:
    outputs = {"index": c.index(dataset), "report": paths.images_report.format(dataset=dataset)}
    return Job(prepare.main, {"recipe": c.prepare_recipe(dataset), "threads": 1}, outputs)


def _subset(c: Campaign, paths: Layout, _: str) -> Job:
    return Job(subset.main, {"index": c.corpus, "recipe": c.subset_recipe()}, {"subset": c.subset})


def _fetch(c: Campaign, paths: Layout, _: str) -> Job:
    inputs = {"source": c.sources["new"], "recipe": c.fetch_recipe("new"), "threads": 1}
    return Job(fetch_teacher.main, inputs, {"weights": c.weights("new")})


def _pretrain(c: Campaign, paths: Layout, _: str) -> Job:
    index = c.index(c.config.pretraining["new"].dataset)
    inputs = {"index": index, "recipe": c.pretrain_recipe("new"), "threads": 1}
    return Job(pretrain_teacher.main, inputs, {"weights": paths.pretrained.format(teacher="new")})


def _cache(c: Campaign, paths: Layout, shard: str) -> Job:
    inputs = {"index": c.corpus, "subset": c.subset, "weights": c.weights("tiny"), "threads": 1}
    inputs["recipe"] = c.cache_recipe("tiny", int(shard))
    return Job(cache_teacher.main, inputs, {"cache": paths.cache.format(teacher="tiny", shard=f"{int(shard):03d}")})


def _distill(c: Campaign, paths: Layout, slug: str) -> Job:
    run = RunSpec.parse("tiny", slug)
    inputs = {"index": c.corpus, "subset": c.subset, "weights": c.weights("tiny"), "shards": c.shards(run)}
    inputs |= {"blocks": [], "resume": RESUME, "recipe": c.distill_recipe(run), "threads": 1, "group": ProcessGroup()}
    outputs = {"student": c.student(run), "provenance": paths.provenance.format(teacher="tiny", run=slug)}
    return Job(distill.main, inputs, outputs)


def _features(c: Campaign, paths: Layout, slug: str) -> Job:
    run = RunSpec.parse("tiny", slug)
    inputs = {"student": c.student(run), "indexes": [c.corpus], "recipe": c.feature_recipe(run, ["pictures"])}
    return Job(features.main, {**inputs, "resume": RESUME, "threads": 1}, {"features": [c.features(run, "pictures")]})


def _probe(c: Campaign, paths: Layout, slug: str) -> Job:
    run = RunSpec.parse("tiny", slug)
    inputs = {
        "about": c.about(run),
        "features": [c.features(run, "pictures")],
        "threads": 1,
        "teacher": "tiny",
        "run": slug,
    }
    happened = paths.probe_provenance.format(teacher="tiny", run=slug, job="pictures")
    outputs = {"scores": [c.score(run, "pictures")], "provenance": happened}
    return Job(probe.main, {**inputs, "recipe": c.probe_recipe(run, ["pictures"])}, outputs)


def _collect(c: Campaign, paths: Layout, _: str) -> Job:
    return Job(collect.main, {"scores": c.all_scores()}, {"table": paths.scores})


def _artifact(c: Campaign, name: str, main: Callable[..., None], **inputs: Any) -> Job:
    files = c.layout.artifact(c.config.artifacts[name].kind)
    outputs = {output: pattern.format(artifact=name) for output, pattern in files.items()}
    return Job(main, {"recipe": c.artifact_recipe(name) if "recipe" not in inputs else None, **inputs}, outputs)


def _rollout(c: Campaign, paths: Layout, name: str) -> Job:
    sight = c.sight_recipe(name)
    return _artifact(
        c, name, rollout.main, students=c.students_of(name), index=c.index_of(name), sight=sight, threads=1
    )


def _report(c: Campaign, paths: Layout, _: str) -> Job:
    inputs = {"scores": c.all_scores(), "students": c.told(), "indexes": c.report_indexes(), "config": paths.config}
    return Job(report.main, {**inputs, "recipe": c.report_recipe()}, {"html": paths.report})


MAKERS: dict[str, Callable[[Campaign, Layout, str], Job]] = {
    "prepare": _prepare,
    "subset": _subset,
    "fetch_teacher": _fetch,
    "pretrain_teacher": _pretrain,
    "cache_teacher": _cache,
    "distill": _distill,
    "features": _features,
    "probe": _probe,
    "collect": _collect,
    "table": lambda c, paths, name: _artifact(c, name, table.main, scores=c.scores_of(name)),
    "figure": lambda c, paths, name: _artifact(c, name, figure.main, scores=c.scores_of(name)),
    "latent": lambda c, paths, name: _artifact(c, name, latent.main, features=c.features_of(name)),
    "rollout": _rollout,
    "claims": lambda c, paths, name: _artifact(
        c, name, claims.main, scores=c.scores_of(name), recipe=c.claims_recipe(name)
    ),
    "report": _report,
}


OTHER = RUN.replace("wecolora", "weco_kd").replace("_k4", "")
GOOD = [
    "prepare pictures", "prepare digits", "subset", "cache_teacher 0", "cache_teacher 1", f"distill {RUN}",
    f"distill {OTHER}", f"features {RUN}", f"features {OTHER}", f"probe {RUN}", f"probe {OTHER}", "collect",
    "table table1", "figure figure4", "latent figure2", "rollout figure3", "claims verdicts",
]  # fmt: skip


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """The working directory is this one; what a job keeps in memory is that of a new process, and the log, which a job
    takes over, is given back."""
    before, log = os.getcwd(), job.log
    kept, level = (log.handlers, log.propagate), log.level
    wecolora.data.images._ARRAYS = {}
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        log.handlers, log.propagate = kept
        log.setLevel(level)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A campaign in which every job has run, with the resume file of its student kept."""
    place = Place(tmp_path_factory.mktemp("good"), copy.deepcopy(CONFIG))
    rng = np.random.default_rng(0)
    for part, count in (("train", 6), ("test", 3)):
        for label in ("cat", "dog", "owl"):
            (place.path("pictures") / part / label).mkdir(parents=True)
            for number in range(count):
                coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
                coarse.resize((24, 20), Image.Resampling.BICUBIC).save(
                    place.path(f"pictures/{part}/{label}/{number}.png")
                )
    torch.manual_seed(0)
    vit.save_weights(vit.build(SHAPE), place.path("tiny.safetensors"), {})
    with inside(place.folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "remove", lambda self: None)
        for name in GOOD:
            job_of(place.config, name).run("logs/job.log")
        place.path(f"{ROOT}/config.yaml").write_text(Campaign(place.config).resolved())
        job_of(place.config, "report").run("logs/job.log")
    os.rename(place.path("results/.resume"), place.path("kept"))
    return place


@pytest.fixture
def place(good: Place, tmp_path: Path) -> Iterator[Place]:
    """A copy of it, to spoil."""
    shutil.copytree(good.folder, tmp_path / "place")
    with inside(tmp_path / "place"):
        yield Place(tmp_path / "place", copy.deepcopy(good.config))


# How things are spoiled: each of these returns a function of the place

Spoil = Callable[[Place], object]


def both(*spoils: Spoil) -> Spoil:
    return lambda place: [spoil(place) for spoil in spoils]


def sets(key: str, value: Any) -> Spoil:
    return lambda place: place.set(key, value)


def drops(key: str) -> Spoil:
    return lambda place: place.config.pop(key)


def removes(name: str) -> Spoil:
    def spoil(place: Place) -> None:
        path = place.path(name)
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return spoil


def writes(name: str, content: bytes | str) -> Spoil:
    return lambda place: layouts.put(place.path(name), content)


def truncates(name: str, keep: float = 0.6) -> Spoil:
    def spoil(place: Place) -> None:
        content = place.path(name).read_bytes()
        place.path(name).write_bytes(content[: int(len(content) * keep)])

    return spoil


def copies(source: str, target: str) -> Spoil:
    return lambda place: shutil.copy(place.path(source), place.path(target))


def runs(name: str) -> Spoil:
    """Another job, which succeeds."""
    return lambda place: job_of(place.config, name).run("logs/job.log")


def edits(name: str, change: Callable[[Any], Any]) -> Spoil:
    """A JSON file."""

    def spoil(place: Place) -> None:
        content = json.loads(place.path(name).read_text())
        change(content)
        place.path(name).write_text(json.dumps(content))

    return spoil


def replaces(name: str, old: str, new: str) -> Spoil:
    """Words of a text file."""

    def spoil(place: Place) -> None:
        content = place.path(name).read_text()
        assert old in content
        place.path(name).write_text(content.replace(old, new))

    return spoil


def hdf5(name: str, change: Callable[[Any], object]) -> Spoil:
    def spoil(place: Place) -> None:
        with h5py.File(place.path(name), "r+") as file:
            change(file)

    return spoil


def fills(dataset: str, place_of: Any, value: Any) -> Callable[[Any], object]:
    return lambda file: file[dataset].__setitem__(place_of, value)


def parquet(name: str, change: Callable[[pa.Table], pa.Table]) -> Spoil:
    def spoil(place: Place) -> None:
        pq.write_table(change(pq.read_table(place.path(name))), place.path(name))

    return spoil


def column(name: str, values: Callable[[list[Any]], list[Any]]) -> Callable[[pa.Table], pa.Table]:
    def change(rows: pa.Table) -> pa.Table:
        number = rows.schema.get_field_index(name)
        kind = rows.schema.field(name)
        return rows.set_column(number, kind, pa.array(values(rows.column(name).to_pylist()), kind.type))

    return change


def told(**changes: Any) -> Callable[[pa.Table], pa.Table]:
    """An index's own words: None takes one away."""

    def change(rows: pa.Table) -> pa.Table:
        about = {**json.loads(rows.schema.metadata[b"wecolora"]), **changes}
        about = {key: value for key, value in about.items() if value is not None or key not in changes}
        return rows.replace_schema_metadata({b"wecolora": json.dumps(about).encode()})

    return change


def teacher(**shape: Any) -> Spoil:
    """Weights of another shape."""
    return lambda place: vit.save_weights(vit.build({**SHAPE, **shape}), place.path("tiny.safetensors"), {})


def tensors(name: str, change: Callable[[dict[str, torch.Tensor]], object]) -> Spoil:
    def spoil(place: Place) -> None:
        state = load_file(place.path(name))
        change(state)
        save_file(state, place.path(name))

    return spoil


def no_numbers(state: dict[str, torch.Tensor]) -> None:
    state["norm.weight"][3] = torch.nan


class Code:
    """What runs when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("it_ran",)


def timm_weights(write: Spoil, name: str = "new.pth") -> Spoil:
    def spoil(place: Place) -> None:
        place.set("teachers.new", {"label": "New", "timm": "vit_tiny_patch16_224", "weights": name})
        write(place)

    return spoil


def png_of(width: int, height: int) -> bytes:
    """A PNG file that claims this size."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


def official(source: str, make: Callable[[Path], object], *spoils: Spoil, **values: Any) -> Spoil:
    """A data set ``new`` in an official layout, spoiled."""

    def spoil(place: Place) -> None:
        place.dataset(source=source, **values)
        make(place.path("new"))
        for one in spoils:
            one(place)

    return spoil


def tabled(content: bytes | str, name: str = "list.csv", **values: Any) -> Spoil:
    """A data set ``new``: the pictures, and a table of them."""

    def spoil(place: Place) -> None:
        place.dataset(source="table", table=name, **{"root": "pictures", **values})
        layouts.put(place.path("pictures") / name, content)

    return spoil


CAT, DOG = "train/cat/0.png", "train/dog/0.png"
CHEST = "Data_Entry_2017_v2020.csv"


def pickled(value: Any) -> bytes:
    return pickle.dumps(value, protocol=2)


# The table

NEW = "prepare new"
ROWS: list[tuple[str, str, Spoil, list[str]]] = []

# Configs, which are refused before anything is planned
ROWS += [
    ("a key that is none", "plan", sets("colour", "red"), ["colour", "unknown key", "allowed here are"]),
    ("a misspelt key", "plan", sets("distill.epoch", 3), ["distill.epoch", "allowed here are", "epochs"]),
    ("words for a number", "plan", sets("distill.epochs", "many"), ["distill.epochs", "'many'", "integer"]),
    ("a yes for a number", "plan", sets("corpus.views", True), ["corpus.views", "other than true or false"]),
    ("a number that is none", "plan", sets("distill.lr", {2: float("nan")}), ["distill.lr.2", "finite"]),
    ("a share above all", "plan", sets("artifacts.table1.runs.alpha", [101]), ["alpha", "101", "100"]),
    ("a key is missing", "plan", drops("corpus"), ["corpus", "required"]),
    ("a list for names", "plan", sets("teachers", ["tiny"]), ["teachers", "dictionary"]),
    ("no teacher", "plan", sets("teachers", {}), ["teachers", "at least 1"]),
    ("a method that is none", "plan", sets("artifacts.table1.runs.method", ["wecolara"]),
     ["table1.runs.method", "'wecolara'", "did you mean wecolora"]),
    ("a teacher that is none", "plan", sets("artifacts.table1.runs.teacher", ["tony"]),
     ["table1.runs.teacher", "'tony'", "known are tiny"]),
    ("a data set that is none", "plan", sets("corpus.dataset", "picture"),
     ["corpus.dataset", "'picture'", "did you mean pictures"]),
    ("an artifact that is none", "plan", sets("targets", ["table9"]), ["targets", "'table9'", "table1"]),
    ("a source that is none", "plan", sets("datasets.digits.source", "zip"), ["digits.source", "'zip'", "folder"]),
    ("a protocol that is none", "plan", sets("protocol", "ours"), ["protocol", "'ours'", "'paper'"]),
    ("r beyond the blocks", "plan", sets("artifacts.table1.runs.r", [5]), ["table1.runs.r", "tiny", "1..4"]),
    ("k beyond the width", "plan", sets("artifacts.table1.runs.k", [33]), ["table1.runs.k", "tiny", "1..32"]),
    ("r without a learning rate", "plan", sets("artifacts.table1.runs.r", [3]), ["distill.lr", "r = 3", "[2]"]),
    ("more warm-up than training", "plan", sets("distill.warmup_epochs", 9), ["distill.warmup_epochs", "9", "epochs"]),
    ("heads that do not divide", "plan", sets("teachers.tiny.architecture", {**SHAPE, "num_heads": 5}),
     ["teachers.tiny.architecture", "num_heads 5", "divide"]),
    ("a model that timm has not", "plan", sets("teachers.tiny", {"label": "x", "timm": "vit_bose_patch16_224"}),
     ["teachers.tiny", "vit_bose_patch16_224", "did you mean vit_base_patch16_224"]),
    ("a model of another kind", "plan", sets("teachers.tiny", {"label": "x", "timm": "swin_base_patch4_window7_224"}),
     ["teachers.tiny", "swin_base", "take a VisionTransformer"]),
    ("weights of an unknown kind", "plan", timm_weights(writes("new.h5", b""), "new.h5"),
     ["new.h5", "no file of weights", ".safetensors"]),
    ("an address for weights", "plan", sets("teachers.tiny.weights", "https://a.org/w.safetensors"),
     ["teachers.tiny.weights", "not an address", "download it"]),
    ("braces in the path of weights", "plan", sets("teachers.tiny.weights", "{1}/w.safetensors"),
     ["teachers.tiny.weights", "braces", "rename the file"]),
    ("a label that nobody sees", "plan", sets("datasets.digits.label", "  "), ["digits.label", "can be seen"]),
    ("a text with a control character", "plan", sets("title", "a\0b"), ["title", "cannot be printed"]),
    ("labels that no eye tells apart", "plan",
     both(sets("datasets.digits.label", "Pictures\u200b"), sets("artifacts.table1.datasets", ["pictures", "digits"])),
     ["table1.datasets", "'Pictures'", "its own label"]),
    ("a data set that is no dictionary", "plan", sets("datasets.digits", None), ["datasets.digits", "None"]),
    ("a folder of two weights", "plan", timm_weights(both(writes("new/a.pth", b""), writes("new/b.pth", b"")), "new"),
     ["new: has a.pth, b.pth", "name the one file"]),
    ("an artifact named like a rule", "plan", sets("artifacts.report", CONFIG["artifacts"]["verdicts"]),
     ["artifacts.report", "name of a rule", "choose another"]),
    ("two labels that print the same", "plan",
     both(sets("datasets.digits.label", "Pictures"), sets("artifacts.table1.datasets", ["pictures", "digits"])),
     ["table1.datasets", "'Pictures'", "its own label"]),
    ("a campaign outside results/", "plan", sets("name", "../elsewhere"), ["name", "'../elsewhere'", "pattern"]),
    ("a data set outside its folder", "plan",
     lambda place: place.config["datasets"].update({"../x": CONFIG["datasets"]["digits"]}),
     ["datasets", "../x", "pattern"]),
]  # fmt: skip

# Data sets
IMAGE = "pictures/train/cat/3.png"
ROWS += [
    ("no folder", "prepare pictures", removes("pictures"), ["/pictures: the root", "set datasets.pictures.root"]),
    ("a file for a folder", "prepare pictures", both(removes("pictures"), writes("pictures", "x")),
     ["/pictures: the root", "set datasets.pictures.root"]),
    ("an empty folder", NEW, official("folder", Path.mkdir), ["/new", "no image files", "put"]),
    ("a class without training images", "prepare pictures", removes("pictures/train/owl"),
     ["pictures", "(owl)", "add some"]),
    ("an empty class folder", "prepare pictures",
     both(removes("pictures/train/owl"), lambda place: place.path("pictures/train/owl").mkdir()),
     ["pictures", "(owl)", "add some"]),
    ("no test images", "prepare pictures", both(*(removes(f"pictures/test/{c}") for c in ("cat", "dog", "owl"))),
     ["pictures", "no test images", "add test/"]),
    ("an image beside the classes", "prepare pictures", writes("pictures/train/a.png", b"x"),
     ["train/a.png", "no class folder", "move them into"]),
    ("an empty image", "prepare pictures", writes(IMAGE, b""), ["train/cat/3.png", "skip_unreadable: true"]),
    ("half an image", "prepare pictures", truncates(IMAGE), ["train/cat/3.png", "skip_unreadable: true"]),
    ("text for an image", "prepare pictures", writes(IMAGE, "hello"), ["train/cat/3.png", "skip_unreadable: true"]),
    ("an image of 40 gigabytes", "prepare pictures", writes(IMAGE, png_of(120000, 120000)),
     ["train/cat/3.png", "skip_unreadable: true"]),
    ("no table", NEW, both(tabled(""), removes("pictures/list.csv")), ["list.csv", "set datasets.new.table"]),
    ("an empty table", NEW, tabled(""), ["list.csv", "no column 'path'"]),
    ("a table without rows", NEW, tabled("path,label\n"), ["list.csv", "no rows", "list the images there"]),
    ("a table of another kind", NEW, tabled("x", "list.xlsx"), ["list.xlsx", ".csv, .tsv or .parquet"]),
    ("a column is missing", NEW, tabled(f"file,labels\n{CAT},a\n", path="file"),
     ["list.csv", "no column 'label'", "did you mean 'labels'"]),
    ("a short line", NEW, tabled(f"path,label\n{CAT}\n"), ["list.csv", "line 2", "mend it"]),
    ("a path that climbs", NEW, tabled("path,label\n../tiny.safetensors,a\n"),
     ["list.csv", "'../tiny.safetensors'", "correct it"]),
    ("an absolute path", NEW, tabled("path,label\n/etc/passwd,a\n"), ["list.csv", "'/etc/passwd'", "correct it"]),
    ("a link that leads out", NEW,
     both(tabled("path,label\nout.png,a\n"), lambda place: place.path("pictures/out.png").symlink_to("/etc/passwd")),
     ["list.csv", "'out.png'", "put it there"]),
    ("a row twice", NEW, tabled(f"path,label\n{CAT},a\n{CAT},a\n"), ["list.csv", CAT, "one row"]),
    ("an image that is not there", NEW, tabled(f"path,label\n{CAT},a\nno.png,a\n"), ["list.csv", "no.png", "correct"]),
    ("a label is missing", NEW, tabled(f"path,label\n{CAT},a\n{DOG},\n"), ["list.csv", DOG, "labels: null"]),
    ("a split that is none", NEW, tabled(f"path,label,part\n{CAT},a,some\n", split="part"),
     ["list.csv", "'part'", "train or test"]),
    ("a table in another encoding", NEW, tabled("path,label\n\xe9.png,a\n".encode("latin1")),
     ["list.csv", "UTF-8", "save it as one"]),
    ("a Parquet table that is none", NEW, tabled("path,label\n", "list.parquet"), ["list.parquet", "Parquet", "save"]),
    ("no training images of ImageNet", NEW, official("imagenet", layouts.imagenet_folders, removes("new/train")),
     ["/new", "train/<wnid>/", "image-net.org"]),
    ("no devkit", NEW, official("imagenet", layouts.imagenet_inner_tars, removes("new/ILSVRC2012_devkit_t12")),
     ["/new", "ILSVRC2012_devkit_t12", "image-net.org"]),
    ("a damaged devkit", NEW,
     official("imagenet", layouts.imagenet_inner_tars, truncates("new/ILSVRC2012_devkit_t12/data/meta.mat")),
     ["devkit", "cannot be read", "image-net.org"]),
    ("half a tar", NEW, official("imagenet", layouts.imagenet_tars, truncates("new/ILSVRC2012_img_train.tar", 0.55)),
     ["ILSVRC2012_img_train.tar", "download it again"]),
    ("a tar that is none", NEW, official("imagenet", layouts.imagenet_tars, writes("new/ILSVRC2012_img_val.tar", "x")),
     ["ILSVRC2012_img_val.tar", "download it again"]),
    ("a tar that leads out", NEW,
     official("imagenet", layouts.imagenet_tars,
              writes("new/ILSVRC2012_img_val.tar", layouts.tar_of({"../ILSVRC2012_val_00000001.JPEG": b"x"}))),
     ["ILSVRC2012_img_val.tar", "'../ILSVRC2012_val_00000001.JPEG'", "not the official file"]),
    ("a validation image without a class", NEW,
     official("imagenet", layouts.imagenet_inner_tars, writes("new/val/ILSVRC2012_val_00000009.JPEG", "x")),
     ["ILSVRC2012_val_00000009.JPEG", "image-net.org"]),
    ("a pickle with code", NEW,
     official("cifar100", layouts.cifar100, writes("new/cifar-100-python/train", pickled({"data": Code()}))),
     ["cifar-100-python/train", "may run code", "cs.toronto.edu"]),
    ("half a pickle", NEW, official("cifar100", layouts.cifar100, truncates("new/cifar-100-python/test")),
     ["cifar-100-python/test", "cs.toronto.edu"]),
    ("a pickle without labels", NEW,
     official("cifar100", layouts.cifar100, writes("new/cifar-100-python/meta", pickled({}))),
     ["cifar-100-python/meta", "'fine_label_names'", "cs.toronto.edu"]),
    ("nothing of CIFAR-100", NEW, official("cifar100", Path.mkdir), ["/new", "cifar-100-python", "cs.toronto.edu"]),
    ("half of CIFAR-100's tar.gz", NEW,
     official("cifar100", partial(layouts.cifar100, packed=True), truncates("new/cifar-100-python.tar.gz")),
     ["cifar-100-python.tar.gz", "download it again"]),
    ("no table of findings", NEW, official("chestxray14", layouts.chestxray14_kaggle, removes(f"new/{CHEST}")),
     ["/new", CHEST, "nihcc.app.box.com"]),
    ("no list of the test images", NEW,
     official("chestxray14", layouts.chestxray14_kaggle, removes("new/test_list.txt")),
     ["/new", "test_list.txt", "nihcc.app.box.com"]),
    ("a list in another encoding", NEW,
     official("chestxray14", layouts.chestxray14_kaggle, writes("new/test_list.txt", b"\xff\xfe\x00")),
     ["test_list.txt", "cannot be read", "nihcc.app.box.com"]),
    ("a listed image without findings", NEW,
     official("chestxray14", layouts.chestxray14_kaggle, writes("new/test_list.txt", "00000009_000.png")),
     ["test_list.txt", "'00000009_000.png'", "nihcc.app.box.com"]),
    ("a finding that is none", NEW,
     official("chestxray14", layouts.chestxray14_kaggle, replaces(f"new/{CHEST}", "Hernia", "Herniae")),
     [CHEST, "Herniae", "nihcc.app.box.com"]),
    ("an image in both lists", NEW,
     official("chestxray14", layouts.chestxray14_kaggle, copies("new/test_list.txt", "new/train_val_list.txt")),
     ["train_val_list.txt", "00000004_000.png", "nihcc.app.box.com"]),
    ("no X-rays", NEW, official("chestxray14", layouts.chestxray14_nih, removes("new/images")),
     ["/new", "no PNG files", "unpack"]),
    ("half a list of iNaturalist", NEW, official("inat2019", layouts.inat2019, truncates("new/train2019.json")),
     ["train2019.json", "COCO", "github.com/visipedia"]),
    ("a list of another structure", NEW, official("inat2019", layouts.inat2019, writes("new/val2019.json", "[1]")),
     ["val2019.json", "COCO", "github.com/visipedia"]),
    ("a list is missing", NEW, official("inat2019", layouts.inat2019, removes("new/val2019.json")),
     ["val2019.json", "no such file", "github.com/visipedia"]),
    ("a list that leads out", NEW,
     official("inat2019", layouts.inat2019,
              edits("new/val2019.json", lambda found: found["images"][0].update(file_name="../../x.jpg"))),
     ["val2019.json", "'../../x.jpg'", "correct it"]),
    ("none of the listed images", NEW, official("inat2019", layouts.inat2019, removes("new/train_val2019")),
     ["/new", "none of the images", "github.com/visipedia"]),
    ("no class folders", NEW, official("resisc45", Path.mkdir), ["/new", "airplane", "unpack it"]),
]  # fmt: skip

# Own data that would be read, and not as it is meant
TWO = f"path,label\n{CAT},a\n{DOG},"
ROWS += [
    ("a quote that closes five rows later", NEW,
     tabled("path,label,note\n" + "".join(f'train/cat/{n}.png,cat,{chr(34) * (n in (0, 4))}\n' for n in range(6))),
     ["list.csv: line 2", "closes at line 6", "take out the quote"]),
    ("a quote that does not close", NEW, tabled(f'path,label,note\n{CAT},a,"\n{DOG},b,\n', labels=None),
     ["list.csv: line 2", "a quote opens", "close it"]),
    ("a quote that closes in a cell", NEW, tabled(f'{TWO}"b" c\n'), ["list.csv: line 3", "mend its quotes"]),
    ("a label of two lines", NEW, tabled(f'{TWO}"b\nc"\n'), ["list.csv: line 3", "line breaks"]),
    ("a comma in a label", NEW, tabled(f"{TWO}retriever, golden\n"), ["list.csv: line 3", "in double quotes"]),
    ("a control character in a label", NEW, tabled(f"{TWO}b\a\n"), ["list.csv: line 3", "'b\\x07'", "take it out"]),
    ("a row without a path", NEW, tabled(f"path,label\n{CAT},a\n,b\n"), ["list.csv: line 3", "'path'", "take out"]),
    ("a column twice", NEW, tabled(f"path,label,label\n{CAT},a,b\n"), ["list.csv", "'label'", "rename"]),
    ("a Parquet column twice", NEW,
     both(tabled("", "list.parquet"),
          lambda place: pq.write_table(pa.table([[CAT], ["a"], ["b"]], names=["path", "label", "label"]),
                                       place.path("pictures/list.parquet"))),
     ["list.parquet", "'label'", "rename"]),
    ("a Parquet row without a path", NEW,
     both(tabled("", "list.parquet"),
          lambda place: pq.write_table(pa.table({"path": [CAT, None], "label": ["a", "b"]}),
                                       place.path("pictures/list.parquet"))),
     ["list.parquet: row 2", "'path'", "take out"]),
    ("splits divided as classes", "prepare pictures", sets("datasets.pictures.test_share", 0.5),
     ["test/ and train/", "datasets.pictures.test_share", "take that key out"]),
    ("two folders of test images", "prepare pictures", writes("pictures/val/cat/1.png", "x"),
     ["test/ and val/", "move the other out"]),
    ("splits in capitals", "prepare pictures",
     both(lambda place: place.path("pictures/train").rename("pictures/Train"),
          lambda place: place.path("pictures/test").rename("pictures/Test")),
     ["Test/", "Train/", "rename them"]),
    ("labels beside other images", "prepare pictures",
     both(removes("pictures/test"), writes("pictures/other/1.png", "x")),
     ["other/1.png", "no class folder of train/", "move them", "rename train/"]),
    ("a root too high", "prepare pictures",
     both(sets("datasets.pictures.root", "high"), lambda place: shutil.copytree("pictures", "high/pictures")),
     ["one folder, pictures/", "set datasets.pictures.root to", "/high/pictures"]),
    ("a class of other files", "prepare pictures",
     both(removes("pictures/train/owl"), writes("pictures/train/owl/1.heic", "x")), ["owl: 1 .heic", "add some"]),
    ("a class folder with a control character", "prepare pictures", writes("pictures/train/a\tb/1.png", "x"),
     ["'train/a\\tb'", "rename it"]),
    ("a root of other files", NEW, official("folder", Path.mkdir, writes("new/1.heic", "x")),
     ["/new", "1 .heic", "put some"]),
    ("half of the validation images in class folders", NEW,
     official("imagenet", layouts.imagenet_folders, writes("new/val/ILSVRC2012_val_00000009.JPEG", "x")),
     ["val/ILSVRC2012_val_00000009.JPEG", "no class folder", "move them"]),
    ("an X-ray twice", NEW,
     official("chestxray14", layouts.chestxray14_kaggle,
              lambda place: shutil.copytree("new/images_003", "new/images_004")),
     ["00000006_000.png", "images_003/", "images_004/", "keep one"]),
    ("an X-ray with other findings", NEW,
     official("chestxray14", layouts.chestxray14_kaggle, replaces(f"new/{CHEST}", "2_000.png,", "1_000.png,")),
     [f"{CHEST}: line 4", "00000001_000.png", "nihcc.app.box.com"]),
    ("an X-ray without findings", NEW,
     official("chestxray14", layouts.chestxray14_kaggle, replaces(f"new/{CHEST}", "Hernia,", ",")),
     [f"{CHEST}: line 8", "nihcc.app.box.com"]),
    ("findings twice", NEW,
     official("chestxray14", layouts.chestxray14_kaggle, replaces(f"new/{CHEST}", "View Position", "Finding Labels")),
     [CHEST, "several columns 'Finding Labels'", "nihcc.app.box.com"]),
    ("an image of two categories", NEW,
     official("inat2019", layouts.inat2019,
              edits("new/val2019.json",
                    lambda found: found["annotations"].append({**found["annotations"][0], "category_id": 0}))),
     ["val2019.json", "annotates image 11", "10 and 0", "github.com/visipedia"]),
    ("two images of one id", NEW,
     official("inat2019", layouts.inat2019, edits("new/val2019.json", lambda found: found["images"][1].update(id=9))),
     ["val2019.json", "one id (9)", "github.com/visipedia"]),
    ("a category of two names", NEW,
     official("inat2019", layouts.inat2019, replaces("new/val2019.json", "Ducks", "Geese")),
     ["val2019.json", "category 9", "'Geese'", "github.com/visipedia"]),
]  # fmt: skip

# What would be found out when all students are trained
ROWS += [
    ("a latent figure of several labels an image", "plan",
     both(sets("datasets.digits.bundled", "tags"), sets("artifacts.figure2.datasets", ["digits"])),
     ["artifacts.figure2.datasets: digits", "several labels an image", "take a data set with one"]),
    ("a rollout of very many images", "plan", sets("artifacts.figure3.images", 1000),
     ["artifacts.figure3.images", "1000", "100"]),
    ("test images of the same labels", NEW,
     both(tabled(f"path,label,split\n{CAT},a|b,train\n{DOG},b|a,test\ntrain/cat/1.png,a|b,test\n",
                 separator="|", split="split"), sets("artifacts.table1.datasets", ["new"])),
     ["data set new", "no class has an AUC", "take other test images"]),
    ("no test image with a label", "rollout figure3",
     parquet(INDEX, column("labels", lambda found: [[]] * len(found))),
     ["data set pictures", "no test image has a label", "take another"]),
]  # fmt: skip

# Tables and folders of people's own, as other programs write them
RARE = "".join(f"train/cat/{number}.png,a{'|rare' * (number == 4)}\n" for number in range(6))
ROWS += [
    ("labels as a list of Python", NEW, tabled(f"{TWO}\"['b', 'c']\"\n", separator=","),
     ["list.csv: line 3", "\"['b', 'c']\"", "divide them by ','", "Parquet"]),
    ("labels as a Parquet list that nothing divides", NEW,
     both(tabled("", "list.parquet"),
          lambda place: pq.write_table(pa.table({"path": [CAT], "label": [["a", "b"]]}),
                                       place.path("pictures/list.parquet"))),
     ["list.parquet", "column of lists", "`separator` to be set"]),
    ("quoted columns of other names, divided by ;", NEW, tabled(f'"path";"labels"\n"{CAT}";"a"\n'),
     ["list.csv", "no column 'label'", "did you mean 'labels'"]),
    ("a comment above the header", NEW, tabled(f"# by hand\n{TWO}b\n"), ["list.csv: line 1", "#", "take out"]),
    ("a header without the rows' names", NEW, tabled(f'"path","label"\n"1","{CAT}","a"\n'),
     ["list.csv: line 2", "R leaves out", "name the rows' names"]),
    ("a note of several lines that may be rows", NEW, tabled(f'path,label,note\n{CAT},a,"1, 2, 3\n{DOG}, 5, 6"\n'),
     ["list.csv: line 2", "save the table as Parquet"]),
    ("an image named as an array", NEW,
     both(tabled("path,label\n1.npy,a\n"), copies(f"pictures/{CAT}", "pictures/1.npy")),
     ["list.csv", "'1.npy'", "rename it"]),
    ("a path that climbs out of a link", NEW,
     both(tabled("path,label\nlink/../cat/0.png,a\n"),
          lambda place: place.path("pictures/link").symlink_to(place.path("pictures/train/dog"))),
     ["list.csv", "'link/../cat/0.png'", "without `..`"]),
    ("an image in a hidden folder", NEW,
     both(tabled("path,label\n.new/0.png,a\n"),
          lambda place: shutil.copytree(place.path("pictures/train/cat"), place.path("pictures/.new"))),
     ["list.csv", ".new/0.png", "other names"]),
    ("a rare label that chance takes for tests", NEW,
     tabled(f"path,label\n{RARE}", separator="|", test_share=0.99), ["(rare)", "split_seed", "smaller test_share"]),
    ("splits of longer names divided as classes", NEW,
     official("folder", Path.mkdir, writes("new/cars_train/1.png", "x"), writes("new/cars_test/1.png", "x"),
              test_share=0.5),
     ["cars_test/ and cars_train/", "datasets.new.test_share", "take that key out"]),
    ("classes of one image divided", NEW,
     official("folder", Path.mkdir, writes("new/a/1.png", "x"), copies(f"pictures/{CAT}", "new/a/1.png"),
              lambda place: shutil.copytree("new/a", "new/b"), test_share=0.5),
     ["no test images", "datasets.new.test_share", "add some"]),
    ("no test image that can be read", "prepare pictures",
     both(sets("datasets.pictures.skip_unreadable", True),
          lambda place: [path.write_bytes(b"") for path in place.path("pictures/test").rglob("*.png")]),
     ["no test images", "cannot be read", "replace them"]),
    ("no image of a class that can be read", "prepare pictures",
     both(sets("datasets.pictures.skip_unreadable", True),
          lambda place: [path.write_bytes(b"") for path in place.path("pictures/train/owl").iterdir()]),
     ["owl: ", "that cannot be read", "add some"]),
    ("ImageNet's tar beside folders of some classes", NEW,
     official("imagenet", layouts.imagenet_folders, writes("new/ILSVRC2012_img_train.tar", "x"),
              removes(f"new/train/{layouts.WNIDS[0]}")),
     [layouts.WNIDS[0], "ILSVRC2012_img_train.tar is not read", "unpack the others"]),
]  # fmt: skip

# Pixels


def greys(kind: str, values: Any, dtype: Any) -> bytes:
    """An image file of these values."""
    file = io.BytesIO()
    Image.fromarray(np.array(values, dtype)).save(file, kind)
    return file.getvalue()


def disguised(place: Place) -> None:
    """An image's last bytes are others, which Pillow reads as well."""
    path, about = place.path(IMAGE), place.path(IMAGE).stat()
    path.write_bytes(path.read_bytes()[:-4] + bytes(4))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    wecolora.data.images.decode(path, "it can be read")


RANGE = "datasets.pictures.grey_range: [lowest, highest]"
ROWS += [
    ("greys of 32 bits", "prepare pictures", writes(IMAGE, greys("TIFF", [[0, 200]], np.int32)),
     ["train/cat/3.png", "TIFF I", "0 to 200", RANGE]),
    ("floating-point greys", "prepare pictures", writes(IMAGE, greys("TIFF", [[0, 0.5]], np.float32)),
     ["train/cat/3.png", "TIFF F", "0 to 0.5", RANGE]),
    ("greys that are no numbers", "prepare pictures",
     both(writes(IMAGE, greys("TIFF", [[0, np.nan]], np.float32)), sets("datasets.pictures.grey_range", [0, 1])),
     ["train/cat/3.png", "skip_unreadable: true"]),
    ("an image that another one replaced, of its size and time", f"features {RUN}",
     lambda place: reindexed(place) or disguised(place),
     ["train/cat/3.png", "data set pictures", "has changed", "restore it", "to index the set again"]),
    ("a range of greys from high to low", "plan", sets("datasets.pictures.grey_range", [4095, 0]),
     ["datasets.pictures.grey_range", "the lower value first"]),
    ("a range of greys of one value", "plan", sets("datasets.pictures.grey_range", [5]),
     ["datasets.pictures.grey_range"]),
    ("a range of no numbers", "plan", sets("datasets.pictures.grey_range", [0, True]),
     ["datasets.pictures.grey_range"]),
]  # fmt: skip

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
ROWS += [
    ("a Git LFS pointer", "prepare pictures", writes(IMAGE, LFS), ["train/cat/3.png", "skip_unreadable: true"]),
    ("an image that is a folder now", f"features {RUN}",
     lambda place: reindexed(place) or removes(IMAGE)(place) or place.path(IMAGE).mkdir(),
     ["train/cat/3.png", "cannot be read (Is a directory)", "run again"]),
]  # fmt: skip

# Teachers' weights that are others than they seem


def vit_tiny(**changes: torch.Tensor) -> Spoil:
    """A checkpoint of ViT-Ti, changed."""
    state = timm.create_model("vit_tiny_patch16_224").state_dict()
    return timm_weights(lambda place: torch.save({**state, **changes}, place.path("new.pth")))


def fewer(state: dict[str, torch.Tensor]) -> None:
    state["norm.weight"] = state["norm.weight"].to(torch.int8)


FETCH, LORA = "fetch_teacher new", {"base_model.model.blocks.0.attn.qkv.lora_A.weight": torch.zeros(4, 192)}
ROWS += [
    ("a checkpoint without weights", FETCH,
     timm_weights(lambda place: torch.save({"state_dict": {}, "epoch": 3}, place.path("new.pth"))),
     ["new.pth", "holds no weights", "give a file"]),
    ("a checkpoint that is a list", FETCH, timm_weights(lambda place: torch.save([1], place.path("new.pth"))),
     ["new.pth", "holds a list", "state_dict"]),
    ("a checkpoint of two models under one name", FETCH, vit_tiny(**{"module.norm.bias": torch.zeros(192)}),
     ["new.pth", "module.norm.bias", "two models", "in a file of their own"]),
    ("a checkpoint of whole numbers", FETCH, vit_tiny(**{"norm.bias": torch.zeros(192, dtype=torch.int8)}),
     ["new.pth", "norm.bias", "int8", "quantised"]),
    ("a checkpoint of no numbers", FETCH, vit_tiny(**{"norm.bias": torch.full((192,), torch.nan)}),
     ["new.pth", "norm.bias", "no numbers"]),
    ("a checkpoint of larger patches", FETCH, vit_tiny(**{"patch_embed.proj.weight": torch.zeros(192, 3, 32, 32)}),
     ["new.pth", "32 x 32", "16 x 16", "give that model's weights"]),
    ("a checkpoint of adapters", FETCH, timm_weights(lambda place: torch.save(LORA, place.path("new.pth"))),
     ["new.pth", "adapters alone", "merge them"]),
    ("a checkpoint of transformers' names", FETCH,
     timm_weights(lambda place: torch.save({"vit.encoder.layer.0.x": torch.zeros(1)}, place.path("new.pth"))),
     ["new.pth", "transformers", "vit.encoder.layer.0.x", "timm's file"]),
    ("a pointer for a checkpoint", FETCH, timm_weights(writes("new.pth", LFS)),
     ["new.pth", "Git LFS pointer", "git lfs pull"]),
    ("a page for a checkpoint", FETCH, timm_weights(writes("new.pth", "<!DOCTYPE html>")),
     ["new.pth", "HTML page", "download failed"]),
    ("a pointer for weights", "cache_teacher 0", writes("tiny.safetensors", LFS),
     ["tiny.safetensors", "Git LFS pointer", "git lfs pull"]),
    ("weights of whole numbers", "cache_teacher 0", tensors("tiny.safetensors", fewer),
     ["tiny.safetensors", "norm.weight", "int8", "quantised"]),
    ("a folder of shards", "plan",
     timm_weights(both(writes("new/a-1-of-2.bin", b""), writes("new/a-2-of-2.bin", b"")), "new"),
     ["new/a-1-of-2.bin", "shards", "merge the shards"]),
    ("a folder of adapters", "plan", timm_weights(writes("new/adapter_model.safetensors", b""), "new"),
     ["new/adapter_model.safetensors", "adapters alone", "merge them"]),
]  # fmt: skip

# Indexes and subsets
AGAIN = "delete it to prepare the data set again"
ROWS += [
    ("an index that is none", "subset", writes(INDEX, "hello"), [INDEX, AGAIN]),
    ("half an index", "subset", truncates(INDEX), [INDEX, AGAIN]),
    ("an index is missing", "subset", removes(INDEX), [INDEX, "No such file", "run snakemake again"]),
    ("an index without a column", "subset", parquet(INDEX, lambda rows: rows.drop_columns("split")),
     [INDEX, "split", AGAIN]),
    ("an index without metadata", "subset", parquet(INDEX, lambda rows: rows.replace_schema_metadata({})),
     [INDEX, AGAIN]),
    ("an index that does not tell its classes", "subset", parquet(INDEX, told(classes=None)),
     [INDEX, "classes", AGAIN]),
    ("an index with another's labels", f"features {RUN}", parquet(INDEX, told(classes=["cat"])), [INDEX, AGAIN]),
    ("an index without labels", f"features {RUN}",
     parquet(INDEX, lambda rows: told(classes=[])(column("labels", lambda found: [[]] * len(found))(rows))),
     ["data set pictures", "no labels", "corpus only"]),
    ("no training images", "subset", parquet(INDEX, column("split", lambda found: ["test"] * len(found))),
     ["pictures", "no training images", "add some"]),
    ("a subset that is none", "cache_teacher 0", writes(SUBSET, "hello"), [SUBSET, "delete it"]),
    ("half a subset", f"distill {RUN}", truncates(SUBSET), [SUBSET, "delete it"]),
    ("a subset without a column", f"distill {RUN}", parquet(SUBSET, lambda rows: rows.drop_columns("share")),
     [SUBSET, "share", "delete it"]),
    ("a subset of a larger corpus", "cache_teacher 0",
     parquet(SUBSET, column("position", lambda found: [place + 1000 for place in found])),
     [SUBSET, "delete it"]),
    ("a subset of another corpus", "cache_teacher 0",
     parquet(SUBSET, column("id", lambda found: [f"other/{name}" for name in found])),
     [SUBSET, "data set pictures", "delete it"]),
    ("a subset of another corpus, online", f"distill {RUN}",
     both(sets("distill.teacher", "online"), parquet(SUBSET, column("position", lambda found: found[::-1]))),
     [SUBSET, "delete it"]),
]  # fmt: skip

# Images that were there when the index was made
ROWS += [
    ("an image is gone", "cache_teacher 0", lambda place: reindexed(place) or removes("pictures/train")(place),
     ["/pictures/train/", "cannot be read (No such file", "restore it", "to index the set again"]),
    ("an image is damaged", f"features {RUN}", lambda place: reindexed(place) or truncates(IMAGE)(place),
     ["train/cat/3.png", "data set pictures", "has changed", "restore it", "to index the set again"]),
    ("an array of images is damaged", f"features {RUN}",
     both(copies(f"{ROOT}/data/digits/index.parquet", INDEX), parquet(INDEX, told(name="pictures")),
          writes(f"{ROOT}/data/pictures/images.npy", "hello")),
     ["images.npy", "to prepare the data set again"]),
    ("an array of images is short", f"features {RUN}",
     both(copies(f"{ROOT}/data/digits/index.parquet", INDEX), parquet(INDEX, told(name="pictures")),
          lambda place: np.save(place.path(f"{ROOT}/data/pictures/images.npy"), np.zeros((2, 16, 16, 3), np.uint8))),
     ["images.npy", "to prepare the data set again"]),
]  # fmt: skip


def reindexed(place: Place) -> None:
    """The index names the images of this place."""
    runs("prepare pictures")(place)


# Teachers' weights
TINY, GIVE = "tiny.safetensors", "give"
ROWS += [
    ("weights that are none", "cache_teacher 0", writes(TINY, "hello"), [TINY, "cannot be read", GIVE]),
    ("half of the weights", "cache_teacher 0", truncates(TINY), [TINY, "cannot be read", "give a whole file"]),
    ("no weights", "cache_teacher 0", removes(TINY), [TINY, "No such file"]),
    ("empty weights", "cache_teacher 0", writes(TINY, b""), [TINY, GIVE]),
    ("weights of a deeper model", "cache_teacher 0", teacher(depth=5), [TINY, "blocks.4", "`architecture`"]),
    ("weights of a shallower model", "cache_teacher 0", teacher(depth=3), [TINY, "blocks.3", "`architecture`"]),
    ("weights of a wider model", "cache_teacher 0", teacher(embed_dim=64), [TINY, "[1, 1, 64]", "`architecture`"]),
    ("weights of larger patches", f"distill {RUN}", teacher(patch_size=4), [TINY, "does not fit", "`architecture`"]),
    ("weights that are no numbers", "cache_teacher 0", tensors(TINY, no_numbers), [TINY, "norm.weight", "no number"]),
    ("weights that are a pickle", "cache_teacher 0", lambda place: torch.save({}, place.path(TINY)),
     [TINY, "safetensors", GIVE]),
    ("a checkpoint with code", "fetch_teacher new",
     timm_weights(lambda place: torch.save({"model": Code()}, place.path("new.pth"))),
     ["new.pth", "never run", ".safetensors"]),
    ("half a checkpoint", "fetch_teacher new",
     timm_weights(both(lambda place: torch.save({"a": torch.zeros(99)}, "new.pth"), truncates("new.pth"))),
     ["new.pth", "cannot be read", GIVE]),
    ("a checkpoint of another model", "fetch_teacher new", timm_weights(lambda place: shutil.copy(TINY, "new.pth")),
     ["new.pth", "cannot be read", GIVE]),
    ("weights of another model", "fetch_teacher new",
     timm_weights(lambda place: shutil.copy(TINY, "new.safetensors"), "new.safetensors"),
     ["new.safetensors", "does not fit timm's vit_tiny_patch16_224", "give that model's weights"]),
    ("labels to train a teacher with", "pretrain_teacher",
     lambda place: (
         place.config["teachers"].update(new={**place.config["teachers"]["tiny"], "label": "New"}),
         place.set("pretraining.new", {"objective": "supervised", "dataset": "pictures", "augmentation": "weak",
                                       "epochs": 1}),
         parquet(INDEX, column("labels", lambda found: [[]] * len(found)))(place),
     ),
     ["pictures", "single label", "take another method"]),
]  # fmt: skip

# Caches, and what a student is distilled with
RECORD = "delete the file to record it again"
DISTIL = f"distill {RUN}"
MINE = {"implementation": "mine.py:Mine", "label": "Mine", "start": "copy", "trains": "all"}


def own(text: str) -> Spoil:
    """A method of the user's own."""
    return both(writes("mine.py", text), sets("methods", {"mine": MINE}))


ROWS += [
    ("half a cache", DISTIL, truncates(SHARDS[1]), [SHARDS[1], "(shard 1)", RECORD]),
    ("a cache that is none", DISTIL, writes(SHARDS[0], "hello"), [SHARDS[0], "(shard 0)", RECORD]),
    ("an empty cache", DISTIL, writes(SHARDS[0], b""), [SHARDS[0], "(shard 0)", RECORD]),
    ("no cache", DISTIL, removes(SHARDS[1]), [SHARDS[1], "(shard 1)", "No such file", "run snakemake again"]),
    ("a cache of another teacher", DISTIL, hdf5(SHARDS[0], lambda file: file.attrs.update(teacher_sha256="ab" * 32)),
     [SHARDS[0], "teacher's sha256", RECORD]),
    ("a teacher that changed", DISTIL, teacher(), [SHARDS[0], "teacher's sha256", RECORD]),
    ("a cache of other views", DISTIL, sets("corpus.views", 3), [SHARDS[0], "views = 2", "needs 3", RECORD]),
    ("a cache of another seed", DISTIL, sets("corpus.seed", 1), [SHARDS[0], "seed = 0", "needs 1", RECORD]),
    ("a cache by other software", DISTIL, hdf5(SHARDS[0], lambda file: file.attrs.update(software='{"torch": "1"}')),
     [SHARDS[0], "software", RECORD]),
    ("a cache without tokens", DISTIL, hdf5(SHARDS[0], lambda file: file.__delitem__("tokens")), [SHARDS[0], RECORD]),
    ("a cache without attributes", DISTIL, hdf5(SHARDS[0], lambda file: file.attrs.clear()), [SHARDS[0], RECORD]),
    ("a changed token", DISTIL, hdf5(SHARDS[1], fills("tokens", (2, 0, 0, 0), 9.0)),
     [SHARDS[1], "image train/", "view 0", "checksum", RECORD]),
    ("a changed pixel", DISTIL,
     hdf5(SHARDS[1], lambda file: fills("crops", (2, 1, 0, 0, 0), 255 - file["crops"][2, 1, 0, 0, 0])(file)),
     [SHARDS[1], "image train/", "view 1", "checksum", RECORD]),
    ("two shards for one another", DISTIL, both(copies(SHARDS[1], SHARDS[0])), [SHARDS[0], "holds image", RECORD]),
    ("a shard of too few images", "distill weco_kd_r2_a100_s0",
     sets("corpus.shard_percent", 100), [SHARDS[0], "after 9 of 18 images", "record"]),
    ("images for no batch", "distill wecolora_r2_k4_a17_s0", sets("distill.batch", 64),
     ["alpha = 17", "distill.batch = 64", "lower it"]),
    ("labels that the corpus has not", f"distill {DEIT}",
     parquet(INDEX, column("labels", lambda found: [[]] * len(found))), ["pictures", "single label", "take another"]),
    ("a head that the teacher has not", f"distill {DEIT}", lambda place: None, ["head", "teacher", "take"]),
    ("a learning rate that breaks it", DISTIL, sets("distill.lr", {2: 1e30}), ["wecolora", "lower distill.lr"]),
    ("a method's file that is not there", "plan", sets("methods", {"mine": MINE}),
     ["methods.mine.implementation", "mine.py", "No such file", "give its path"]),
    ("a method's file that is no Python", "plan", own("class Mine("), ["mine.py", "line 1", "correct it"]),
    ("a method's file without its class", "plan", own("class Other: pass"), ["mine.py has no class Mine", "Other"]),
    ("a method with a name of the library", "plan", sets("methods", {"deit": MINE}), ["methods.deit", "another name"]),
    ("a method's file that fails to import", "distill mine_r2_a100_s0", own("import not_there\nclass Mine: pass"),
     ["mine.py", "line 1", "No module named", "correct it"]),
    ("a method that is no objective", "distill mine_r2_a100_s0", own("class Mine: pass"),
     ["mine.py", "Mine is no Objective", "subclass"]),
]  # fmt: skip

# Students, features and scores
EXTRACT = f"features {RUN}"
ROWS += [
    ("half a student", EXTRACT, truncates(STUDENT), [STUDENT, "cannot be read", "again"]),
    ("a student that is none", EXTRACT, writes(STUDENT, "hello"), [STUDENT, "cannot be read", "again"]),
    ("no student", EXTRACT, removes(STUDENT), [STUDENT, "No such file", "again"]),
    ("a student that is no number", EXTRACT, tensors(STUDENT, no_numbers), [STUDENT, "norm.weight", "again"]),
    ("a student of another teacher", EXTRACT,
     lambda place: vit.save_weights(vit.build({**SHAPE, "embed_dim": 64, "depth": 2}), place.path(STUDENT), {}),
     [STUDENT, "does not fit", "give the weights"]),
    ("a student without a block", EXTRACT,
     tensors(STUDENT, lambda state: [state.pop(name) for name in list(state) if name.startswith("blocks.0.attn")]),
     [STUDENT, "does not fit", "give the weights"]),
    ("a rollout of half a student", "rollout figure3", truncates(STUDENT), [STUDENT, "cannot be read", "again"]),
    ("half of the features", f"probe {RUN}", truncates(FEATURES), [FEATURES, "delete it"]),
    ("features that are none", f"probe {RUN}", writes(FEATURES, "hello"), [FEATURES, "delete it"]),
    ("features without a split", f"probe {RUN}", hdf5(FEATURES, lambda file: file.__delitem__("test")),
     [FEATURES, "delete it"]),
    ("features that are no numbers", f"probe {RUN}", hdf5(FEATURES, fills("train/features", (3, 4), np.nan)),
     [FEATURES, "no number", "delete it"]),
    ("features without classes", f"probe {RUN}", hdf5(FEATURES, lambda file: file.__delitem__("classes")),
     [FEATURES, "delete it"]),
    ("features of another data set", f"probe {RUN}", hdf5(FEATURES, lambda file: file.attrs.update(dataset="digits")),
     [FEATURES, "digits", "pictures", "delete it"]),
    ("features with labels of other classes", f"probe {RUN}", hdf5(FEATURES, fills("train/targets", 2, 7)),
     [FEATURES, "delete it"]),
    ("a picture of half of the features", "latent figure2", truncates(FEATURES), [FEATURES, "delete it"]),
    ("half of a student's history", f"probe {RUN}", truncates(ABOUT), [ABOUT, "delete it"]),
    ("a student's history of nothing", f"probe {RUN}", writes(ABOUT, "{}"), [ABOUT, "'recipe'", "delete it to distil"]),
    ("a probe that breaks", f"probe {RUN}", sets("probe.base_lr", 1e38), ["no number", "lower probe.base_lr"]),
    ("half a score", "table table1", truncates(SCORE), [SCORE, "delete it"]),
    ("an empty score", "collect", writes(SCORE, b""), [SCORE, "delete it"]),
    ("a score that is a list", "collect", writes(SCORE, "[]"), [SCORE, "delete it"]),
    ("a score without a key", "figure figure4", edits(SCORE, lambda score: score.pop("last")),
     [SCORE, "last", "delete it"]),
    ("a score that is no number", "claims verdicts", edits(SCORE, lambda score: score.update(last="high")),
     [SCORE, "'high'", "delete it"]),
    ("a score of another data set", "table table1", edits(SCORE, lambda score: score["run"].update(dataset="digits")),
     [SCORE, "digits", "delete it"]),
    ("a score of another run", "figure figure4", copies(SCORE, SCORE.replace(RUN, OTHER)),
     [SCORE.replace(RUN, OTHER), RUN, "delete it"]),
    ("no score", "collect", removes(SCORE), [SCORE, "No such file", "run snakemake again"]),
    ("half a score in the report", "report", truncates(SCORE), [SCORE, "delete it"]),
    ("half of a student's history in the report", "report", truncates(ABOUT), [ABOUT, "delete it"]),
    ("half of the config in the report", "report", truncates(f"{ROOT}/config.yaml"), ["config.yaml", "delete it"]),
]  # fmt: skip


def is_a_sentence(message: str) -> None:
    assert message.endswith((".", "?")) and "\n" not in message, message
    words = re.sub(r"/\S*/place/", "", message)  # how deep the test's folder lies is no matter
    assert len(words) < LONGEST, f"{len(words)} characters: {words}"
    assert "Traceback" not in message


def failed(place: Place, job: Job, fresh: bool = True) -> str:
    """The message with which the job fails; its outputs are deleted before, as Snakemake does it, where ``fresh``."""
    before = {path: None if fresh or not path.exists() else path.read_bytes() for path in job.files()}
    for path in job.files() if fresh else ():
        path.unlink(missing_ok=True)
    with pytest.raises(SystemExit) as ended:
        job.run("logs/job.log")
    assert ended.value.code == 1
    log = place.path("logs/job.log").read_text()
    assert "Traceback" not in log, log
    (message,) = re.findall(r"ERROR: (.*)", log)
    assert {path: path.read_bytes() if path.exists() else None for path in before} == before
    assert list(place.folder.rglob("*.part")) == []
    return message


@pytest.mark.parametrize(("job", "spoil", "words"), [pytest.param(*row[1:], id=row[0]) for row in ROWS])
def test_bad_input_is_named_with_its_remedy_and_leaves_nothing(place, job, spoil, words):
    spoil(place)
    if job == "plan":
        with pytest.raises(BadInput) as refused:
            Campaign(place.config)
        message = str(refused.value)
    else:
        message = failed(place, job_of(place.config, job))
    is_a_sentence(message)
    for word in words:
        assert word in message, (word, message)
    assert not place.path("it_ran").exists()


@pytest.mark.parametrize(
    ("job", "spoil"),
    [
        ("prepare pictures", truncates(IMAGE)),
        ("subset", truncates(INDEX)),
        ("cache_teacher 0", teacher(depth=3)),
        (DISTIL, hdf5(SHARDS[0], fills("tokens", ..., 9.0))),
        (EXTRACT, truncates(STUDENT)),
        (f"probe {RUN}", truncates(FEATURES)),
        ("table table1", truncates(SCORE)),
        ("figure figure4", truncates(SCORE)),
        ("report", truncates(SCORE)),
    ],
)
def test_what_was_there_before_a_failure_stays_as_it_was(place, job, spoil):
    spoil(place)
    job = job_of(place.config, job)
    assert all(path.stat().st_size for path in job.files())
    is_a_sentence(failed(place, job, fresh=False))


# Files that the system does not give: they may be whole, and nobody is told to delete them

READ = [
    ("subset", INDEX),
    ("cache_teacher 0", SUBSET),
    (DISTIL, SHARDS[1]),
    (EXTRACT, STUDENT),
    (f"probe {RUN}", FEATURES),
    (f"probe {RUN}", ABOUT),
    ("latent figure2", FEATURES),
    ("table table1", SCORE),
    ("report", f"{ROOT}/config.yaml"),
]


@pytest.mark.parametrize(("job", "name"), [(DISTIL, SHARDS[1]), (f"probe {RUN}", FEATURES)])
def test_a_lock_is_named_and_the_file_stays(place, job, name):
    before = place.path(name).read_bytes()
    with open(place.path(name), "rb") as held:  # as another program that has the file open
        fcntl.flock(held, fcntl.LOCK_EX)
        message = failed(place, job_of(place.config, job))
    is_a_sentence(message)
    for word in (name, "lock", "HDF5_USE_FILE_LOCKING", "holds it open"):
        assert word in message
    assert "delete" not in message and place.path(name).read_bytes() == before
    job_of(place.config, job).run("logs/job.log")  # once the other is done


@pytest.mark.parametrize(("job", "name"), [(DISTIL, SHARDS[1]), (f"probe {RUN}", FEATURES)])
def test_a_file_system_without_locks_is_no_full_disk(place, monkeypatch, job, name):
    said = "[Errno 37] Unable to synchronously {} file (unable to lock file, errno = 37, error message = 'No locks')"
    opened = h5py.File

    def refused(path, mode="r", **options):
        if str(path).endswith(name):
            raise OSError(37, said.format("open"))
        return opened(path, mode, **options)

    monkeypatch.setattr(h5py, "File", refused)
    message = failed(place, job_of(place.config, job))
    assert name in message and "No locks available" in message and "HDF5_USE_FILE_LOCKING" in message
    assert "delete" not in message

    def nowhere(path, mode="r", **options):
        if mode == "w":
            raise OSError(37, said.format("create"))
        return opened(path, mode, **options)

    monkeypatch.setattr(h5py, "File", nowhere)
    message = failed(place, job_of(place.config, "cache_teacher 0"))
    assert SHARDS[0] in message and "HDF5_USE_FILE_LOCKING" in message and "disk" not in message


@pytest.mark.parametrize(("job", "name"), READ)
@pytest.mark.parametrize("trouble", ["gone", "a link to nowhere"])
def test_nobody_is_told_to_delete_what_was_not_read(place, job, name, trouble):
    place.path(name).unlink()
    if trouble == "a link to nowhere":
        place.path(name).symlink_to("nowhere")
    job = job_of(place.config, job)
    with pytest.raises(SystemExit):
        job.run("logs/job.log")
    (message,) = re.findall(r"ERROR: (.*)", place.path("logs/job.log").read_text())
    is_a_sentence(message)
    assert Path(name).name in message and "delete" not in message


# Disks that are full, and folders that take no files


@contextmanager
def mounted(folder: Path, size: str, read_only: bool = False) -> Iterator[None]:
    """A file system of its own on this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a file system can be mounted by root alone, and not in every container")
    try:
        if read_only:
            subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


# A job, the folder of its outputs, and the first of them
WRITTEN = [
    ("prepare digits", f"{ROOT}/data/digits", "images.npy"),
    ("cache_teacher 0", f"{ROOT}/teachers/tiny/cache", "000.h5"),
    (DISTIL, f"{ROOT}/runs/tiny/{RUN}", "student.safetensors"),
    (EXTRACT, f"{ROOT}/runs/tiny/{RUN}/features", "pictures.h5"),
    ("figure figure4", f"{ROOT}/figures", "figure4.csv"),
    ("table table1", f"{ROOT}/tables", "table1.csv"),
]


def test_there_is_a_row_for_each_kind_of_input():
    assert len(ROWS) >= 60 and len({row[0] for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize(("job", "folder", "name"), WRITTEN)
def test_a_full_disk_is_named(place, job, folder, name):
    job = job_of(place.config, job)
    with mounted(place.path(folder), "4k"):
        place.path(folder, "ballast").write_bytes(bytes(4096))
        message = failed(place, job, fresh=False)
        assert os.listdir(folder) == ["ballast"]
    is_a_sentence(message)
    assert f"{folder}/{name}" in message and re.search("free (disk )?space", message)


@pytest.mark.parametrize(("job", "folder", "name"), WRITTEN)
def test_a_folder_that_takes_no_files_is_named(place, job, folder, name):
    job = job_of(place.config, job)
    with mounted(place.path(folder), "1m", read_only=True):
        message = failed(place, job, fresh=False)
    is_a_sentence(message)
    for word in (f"{folder}/{name}", "Read-only file system", "let it be written to"):
        assert word in message


@pytest.mark.parametrize("job", ["prepare digits", DISTIL])
def test_a_file_that_ends_too_soon_leaves_nothing(place, job):
    """As on a full disk, and for users other than root too: a limit to the size of files."""
    job = job_of(place.config, job)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        message = failed(place, job)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    is_a_sentence(message)
    assert re.search(r"cannot be written \((File too large|\d+ requested and \d+ written)\); free disk space", message)


def test_a_disk_that_has_no_room_for_the_log_does_not_hide_the_error(place, capsys):
    truncates(STUDENT)(place)
    job = job_of(place.config, EXTRACT)
    with mounted(place.path("full"), "4k"):
        place.path("full/ballast").write_bytes(bytes(4096))
        with pytest.raises(SystemExit) as ended:
            job.run("full/job.log")
    assert ended.value.code == 1
    shown = capsys.readouterr().err
    assert STUDENT in shown and "Traceback" not in shown


def test_a_log_that_cannot_be_written_is_named(place, capsys):
    job = job_of(place.config, EXTRACT)
    with mounted(place.path("closed"), "4k", read_only=True), pytest.raises(SystemExit) as ended:
        job.run("closed/job.log")
    assert ended.value.code == 1
    shown = capsys.readouterr().err
    assert "closed/job.log: cannot be written (Read-only file system)" in shown and "Traceback" not in shown


# Resume files: one that is damaged is no file at all


def test_a_whole_resume_file_is_used(place):
    shutil.copytree("kept", "results/.resume")
    job_of(place.config, DISTIL).run("logs/job.log")
    assert "resumed after epoch 2" in place.path("logs/job.log").read_text()


def flips(name: str) -> Spoil:
    """A bit in the middle."""

    def spoil(place: Place) -> None:
        content = bytearray(place.path(name).read_bytes())
        content[len(content) // 2] ^= 1
        place.path(name).write_bytes(content)

    return spoil


@pytest.mark.parametrize("damage", [flips, truncates, lambda name: writes(name, b""), lambda name: writes(name, "x")])
def test_a_damaged_resume_file_changes_nothing(good, place, damage):
    shutil.copytree("kept", "results/.resume")
    for path in place.path("results/.resume").iterdir():
        damage(f"results/.resume/{path.name}")(place)
    job_of(place.config, DISTIL).run("logs/job.log")
    assert "resumed" not in place.path("logs/job.log").read_text()
    assert place.path(STUDENT).read_bytes() == good.path(STUDENT).read_bytes()
    assert len(list(place.path("results/.resume").iterdir())) == 1  # of the other run


# Through Snakemake, as a user meets it


def started(place: Place, config: str, *arguments: str) -> str:
    """What the screen shows of a campaign that starts anew and fails."""
    if not os.path.ismount("results"):
        shutil.rmtree("results")
    place.path("bad.yaml").write_text(config)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--cores", "1"]
    command += [*arguments, "--configfile", "bad.yaml"]
    run = subprocess.run(
        command, cwd=place.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert run.returncode != 0
    assert "Traceback" not in run.stdout, run.stdout
    return run.stdout


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"colour": "red"}, ["config: colour: unknown key; allowed here are"]),
        # Snakemake reads the file itself, in its own words.
        ("name: [bad\n", ["Config file is not valid JSON or YAML"]),
        ("- bad\n", ["Config file must be given as JSON or YAML with keys at top level"]),
        ({"teachers": {"tiny": {**CONFIG["teachers"]["tiny"], "weights": "no.safetensors"}}},
         ["teachers.tiny.weights: there is no file no.safetensors; correct the path."]),
    ],
)  # fmt: skip
def test_snakemake_refuses_a_bad_config(place, config, words):
    shown = started(place, config if isinstance(config, str) else json.dumps({**CONFIG, **config}), "--dry-run")
    for word in words:
        assert word in shown, shown


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["No such file"]),
        (b"name: [bad\n", ["line 2"]),
        (b"name: \xff\n", ["UTF-8"]),
        (b"- bad\n", ["no keys"]),
        (b"", ["no keys"]),
    ],
)
def test_the_plan_of_a_file_that_is_no_config_names_it(place, capsys, content, words):
    if content is not None:
        place.path("bad.yaml").write_bytes(content)
    assert cli.main(["plan", "bad.yaml"]) == 1
    message = capsys.readouterr().err.removeprefix("ERROR: ").removesuffix("\n")
    is_a_sentence(message)
    for word in ("bad.yaml", "config.yaml", *words):
        assert word in message


def test_snakemake_names_a_target_that_is_none(place):
    assert "No rule to produce tabel1" in started(place, json.dumps(CONFIG), "tabel1")


def test_snakemake_shows_the_sentence_of_a_failed_job(place):
    removes("pictures")(place)
    shown = started(place, json.dumps(CONFIG), INDEX)
    assert "pictures: the root of data set pictures is no folder" in shown and "datasets.pictures.root" in shown
    assert not place.path(INDEX).exists()


def test_snakemake_names_a_results_folder_that_takes_no_files(place):
    """Snakemake itself writes there first."""
    with mounted(place.path("results"), "1m", read_only=True):
        shown = started(place, json.dumps(CONFIG), INDEX)
    assert "Read-only file system" in shown and "results/bad" in shown
