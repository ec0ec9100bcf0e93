"""The config: what is accepted, what is refused and how it is said, and the schema."""

from __future__ import annotations

import copy
import csv
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from wecolora.config.campaign import Config
from wecolora.config.checks import RULES
from wecolora.config.kinds import KINDS
from wecolora.config.methods import METHODS, papers_name
from wecolora.config.reading import parse, read_config, typed
from wecolora.core.errors import BadInput

REPOSITORY = Path(__file__).parents[3]
SCHEMA = REPOSITORY / "schemas" / "config.schema.json"
CONFIGS = ["config.yaml", "config/demo_teachers.yaml"]
DELETE = object()


def load(name):
    return yaml.safe_load((REPOSITORY / name).read_text())


def change(config, key, value):
    """Set (or DELETE) a key given as a.b.c, in place."""
    *parents, last = key.split(".")
    node = config
    for part in parents:
        node = node.setdefault(part, {})
    if value is DELETE:
        del node[last]
    else:
        node[last] = value


def refusal(config):
    with pytest.raises(BadInput) as caught:
        parse(config)
    # Pydantic's own error, with its types and links, is not shown below it.
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    return str(caught.value)


# What is accepted


@pytest.mark.parametrize("name", CONFIGS)
def test_the_shipped_configs_are_accepted(name):
    config = parse(load(name))
    assert config.name == load(name)["name"]
    assert all(teacher.architecture.depth == 12 for teacher in config.teachers.values())


def yaml_blocks(page):
    return re.findall(r"```yaml\n(.*?)```", (REPOSITORY / page).read_text(), re.DOTALL)


def test_the_config_for_own_images_is_accepted_in_each_of_its_forms():
    """In under ten lines; the other blocks of the page replace its data set, its teacher or its artifact."""
    (own,) = [block for block in yaml_blocks("README.md") if block.startswith("name: ")]
    whole, *others = yaml_blocks("docs/own-data.md")
    assert whole == own and len(own.splitlines()) < 10
    values = yaml.safe_load(own)
    assert [run.slug() for run in parse(values).runs()] == ["wecolora_r2_k64_a100_s0"]
    for block in others:
        found = yaml.safe_load(block)
        teachers, datasets = ({**values[key], **found.get(key, {})} for key in ("teachers", "datasets"))
        parse({**values, **found, "teachers": teachers, "datasets": datasets})
    assert len(others) >= 3


def test_the_default_has_the_artifacts_of_the_paper():
    config = parse(load("config.yaml"))
    names = {*(f"table{n}" for n in range(1, 8)), *(f"figure{n}" for n in range(2, 10)), "verdicts"}
    assert names <= set(config.artifacts)
    # Each of the paper's scores has a run and a data set that stand for it.
    roles = {name: entry.stands_for for name, entry in [*config.teachers.items(), *config.datasets.items()]}
    with open(REPOSITORY / "wecolora" / "results" / "paper_results.csv", encoding="utf-8", newline="") as file:
        papers = [tuple(row.values())[:-1] for row in csv.DictReader(file)]
    found = {
        (str(number), roles[run.teacher], str(run.r), papers_name(run.method),
         "" if run.alpha is None else f"{run.alpha:g}", roles[dataset])
        for number in range(1, 8)
        for run in config.runs_of(f"table{number}")
        for dataset in config.artifacts[f"table{number}"].datasets
    }  # fmt: skip
    assert found == set(papers) and len(papers) == 241
    assert [config.artifacts[f"table{number}"].paper_table for number in range(1, 8)] == [*range(1, 8)]
    table1 = [(run.method, run.r, run.alpha) for run in config.runs_of("table1") if run.seed == 0]
    methods = ("scratch_kd", "weco_kd", "weco_lora_qv", "wecolora")
    assert sorted(table1) == sorted((method, 2, alpha) for method in methods for alpha in (1, 10))
    for number in range(5, 10):
        over_alpha = {(run.method, run.r, run.alpha) for run in config.runs_of(f"figure{number}")}
        assert over_alpha == {(m, r, a) for m in ("weco_kd", "wecolora") for r in (2, 3) for a in (1, 2, 5, 10)}


def test_demo_teachers_are_trained_in_the_shape_in_which_they_are_used():
    used, trained = (parse(load(name)).teachers for name in CONFIGS)
    for name in used:
        for key in ("architecture", "mean", "std"):
            assert getattr(used[name], key) == getattr(trained[name], key), (name, key)


def test_the_smallest_config_gets_the_papers_defaults(small_config):
    for key in ("distill", "probe", "artifacts"):
        del small_config[key]
    config = parse(small_config)
    # Section 4.2 of the paper.
    assert (config.distill.epochs, config.distill.batch, config.distill.accumulate) == (10, 128, 8)
    assert config.distill.lr == {2: 1e-3, 3: 1e-4}
    assert config.distill.weight_decay == 0.05
    assert (config.probe.epochs, config.probe.batch, config.probe.base_lr) == (90, 512, 0.1)
    assert config.seeds == [0] and config.runs() == []


def test_numbers_that_yaml_takes_for_text_are_numbers(small_config):
    small_config["distill"]["lr"] = yaml.safe_load("{2: 1e-3, 3: 1e-4}")
    assert isinstance(small_config["distill"]["lr"][2], str)  # YAML 1.1 wants 1.0e-3
    assert parse(small_config).distill.lr == {2: 0.001, 3: 0.0001}


def test_targets_choose_artifacts(small_config):
    assert list(parse(small_config).chosen()) == ["table1", "figure5"]
    small_config["targets"] = ["figure5"]
    assert list(parse(small_config).chosen()) == ["figure5"]
    assert {run.alpha for run in parse(small_config).runs()} == {1, 2, 10}


# What is refused

RUNS = "artifacts.table1.runs"
REFUSED = [
    # (key, value, what the message has to say besides the key)
    ("colour", "red", ["unknown key", "name, title, protocol, normalisation, seeds, corpus, teachers"]),
    ("distill.epoch", 3, ["unknown key", "epochs", "warmup_epochs", "accumulate"]),
    ("teachers.one.architecture.width", 32, ["unknown key", "img_size", "embed_dim"]),
    ("artifacts.table1.row", ["r"], ["unknown key", "kind", "rows"]),
    (f"{RUNS}.alphas", [1], ["unknown key", "teacher, method, r, k, alpha"]),
    ("probe_of.marks.epoch", 3, ["unknown key", "epochs, warmup_epochs, batch, base_lr"]),
    ("name", DELETE, ["required"]),
    ("corpus", DELETE, ["required"]),
    ("corpus", None, ["dictionary", "None"]),
    ("name", "../other", ["'../other'", "^[a-z0-9][a-z0-9_]*$"]),
    ("name", "x" * 25, ["24"]),
    ("teachers.Big Model", {}, ["Big Model", "^[a-z0-9][a-z0-9_]*$"]),
    ("seeds", [], ["at least 1"]),
    ("seeds", [-1], ["-1", "greater than or equal to 0"]),
    ("distill.epochs", "ten", ["'ten'", "integer"]),
    ("distill.epochs", 1.5, ["1.5", "integer"]),
    ("distill.epochs", 0, ["greater than 0"]),
    ("distill.layers", "last", ["'last'", "'authors_code', 'first', 'influence' or 'search'", "list"]),
    ("distill.layers", [0], ["distill.layers: [0]", "name ", "blocks from 0 to"]),
    ("distill.layers", [999] * 6, ["distill.layers", "blocks from 0 to"]),
    ("distill.layers_of", {"nothing": "first"}, ["distill.layers_of", "'nothing'", "no known method"]),
    ("distill.layers_of", {"weco_kd": "last"}, ["distill.layers_of.weco_kd", "'last'"]),
    ("distill.layers_of", {"weco_kd": [0]}, ["distill.layers_of.weco_kd: [0]", "blocks from 0 to"]),
    ("distill.calibration_views", 0, ["distill.calibration_views", "greater than 0"]),
    ("corpus.views", "10", ["corpus.views", "'10'", "integer"]),
    ("datasets.shapes.job", "a b", ["datasets.shapes.job", "'a b'"]),
    ("distill.epochs", True, ["distill.epochs", "other than true or false", "True"]),
    ("distill.loss_point", "middle", ["'middle'", "'before_norm' or 'after_norm'", "'authors_code'"]),
    ("distill.teacher", "remote", ["'remote'", "'cached' or 'online'"]),
    ("distill.leftover", "keep", ["'keep'", "'use' or 'drop'"]),
    ("distill.lr", {2: 0, 3: 1}, ["distill.lr.2", "not 0", "greater than 0"]),
    ("distill.lr", {2: math.inf, 3: 1}, ["distill.lr.2", "inf", "finite"]),
    ("distill.lr", {"two": 1}, ["distill.lr.two", "'two'", "integer"]),
    ("probe.momentum", 1, ["not 1", "less than 1"]),
    ("probe.warmup_epochs", 4, ["4 is more than probe.epochs, 3"]),
    ("probe.batch", 1, ["not 1", "greater than or equal to 2"]),
    ("probe_of.marks.batch", 1, ["not 1", "greater than or equal to 2"]),
    ("probe_of.marks", {"warmup_epochs": 9}, ["probe_of.marks.warmup_epochs: 9 is more than", "3"]),
    ("probe_of.marks", {"epochs": 0.5}, ["probe_of.marks.epochs", "integer"]),
    ("distill.warmup_epochs", 2.5, ["2.5 is more than distill.epochs, 2"]),
    ("corpus.dataset", "shape", ["'shape'", "did you mean shapes", "known are shapes, marks"]),
    ("corpus.views", 0, ["greater than 0"]),
    ("corpus.shard_percent", 101, ["101", "less than or equal to 100"]),
    ("corpus.strategy", "random", ["'random'", "'balanced' or 'uniform'"]),
    ("teachers.one.mean", [0.5, 0.5], ["required"]),
    ("teachers.one.std", [0.5, 0, 0.5], ["teachers.one.std.1", "not 0", "greater than 0"]),
    ("teachers.one.architecture.num_heads", 5, ["teachers.one.architecture", "num_heads 5", "embed_dim 32"]),
    ("teachers.one.architecture.patch_size", 5, ["teachers.one: architecture", "patch_size 5", "img_size 16"]),
    ("datasets.shapes.source", "web", ["'web'", "bundled, folder, table"]),
    (
        "datasets.shapes.source",
        "folder",
        ["datasets.shapes.root", "required", "unknown key; allowed here are label"],
    ),
    ("datasets.shapes.bundled", DELETE, ["datasets.shapes.bundled", "required"]),
    ("datasets.shapes.bundled", "cats", ["'cats'", "'photos', 'digits', 'textures', 'glyphs' or 'tags'"]),
    ("probe_of.mark", {"epochs": 1}, ["'mark'", "did you mean marks", "known are shapes, marks"]),
    ("targets", ["table2"], ["'table2'", "no known artifact", "known are table1, figure5"]),
    ("artifacts.table1.rows", DELETE, ["artifacts.table1", "`rows`"]),
    ("artifacts.table1.x", "k", ["artifacts.table1", "no `x`"]),
    (
        "artifacts.table1.rows",
        ["k"],
        ["artifacts.table1.rows.0", "'k'", "'teacher', 'r', 'alpha', 'loss_point', 'layers', 'method'"],
    ),
    ("artifacts.table1.datasets", ["mark"], ["'mark'", "did you mean marks", "known are shapes, marks"]),
    ("artifacts.table1.datasets", [], ["artifacts.table1", "kind table needs `datasets`"]),
    ("artifacts.table1.images", 3, ["artifacts.table1", "kind table has no `images`"]),
    ("artifacts.table1.paper_table", 0, ["artifacts.table1.paper_table", "greater than or equal to 1"]),
    ("artifacts.table1.paper_table", 8, ["artifacts.table1.paper_table", "less than or equal to 7"]),
    ("artifacts.figure5.paper_table", 1, ["artifacts.figure5", "kind figure has no `paper_table`"]),
    ("artifacts.table1.kind", "plot", ["artifacts.table1.kind", "'plot'", "'latent', 'rollout'", "'claims'"]),
    ("protocol", "ours", ["'paper' or 'authors_code'", "'ours'"]),
    ("protocol", ["paper"], ["'paper' or 'authors_code'"]),
    ("protocol", {}, ["'paper' or 'authors_code'"]),
    ("protocol", None, ["'paper' or 'authors_code'"]),
    ("normalisation", "none", ["'teacher' or 'imagenet'", "'none'"]),
    ("distill", None, ["dictionary", "None"]),
    ("probe.seed", 3, ["unknown key", "base_lr"]),  # it is the run's
    (f"{RUNS}.seeds", [-1], [f"{RUNS}.seeds.0", "greater than or equal to 0"]),
    ("teachers.one.paper", "vit", ["teachers.one.paper", "'vitb_sup' or 'vitb_mae'"]),
    ("datasets.marks.stands_for", "cifar10", ["datasets.marks.stands_for", "'cifar100'"]),
    ("artifacts.figure5.x", DELETE, ["artifacts.figure5", "`x`"]),
    ("artifacts.figure5.x", "r", ["'r'", "'k' or 'alpha'"]),
    ("artifacts.figure5.datasets", ["shapes", "marks"], ["artifacts.figure5", "exactly one name in `datasets`"]),
    (f"{RUNS}.alpha", [0], [f"{RUNS}.alpha.0", "not 0", "greater than 0"]),
    (f"{RUNS}.alpha", [1, -5], [f"{RUNS}.alpha.1", "not -5", "greater than 0"]),
    (f"{RUNS}.alpha", [100.5], ["100.5", "less than or equal to 100"]),
    (f"{RUNS}.alpha", [math.nan], ["nan", "finite"]),
    (f"{RUNS}.alpha", ["all"], ["'all'", "number"]),
    (f"{RUNS}.alpha", 1, ["list", "not 1"]),
    (f"{RUNS}.alpha", [], ["at least 1"]),
    (f"{RUNS}.method", [], ["at least 1"]),
    (f"{RUNS}.teacher", [], ["at least 1"]),
    (f"{RUNS}.r", [], ["at least 1"]),
    (f"{RUNS}.r", [0], ["not 0", "greater than 0"]),
    (f"{RUNS}.r", [5], ["5", "4 blocks of one", "1..4"]),
    (f"{RUNS}.r", [4], ["distill.lr", "r = 4", "[2, 3]"]),
    (f"{RUNS}.k", [33], ["33", "min(d1, d2) = 32", "1..32"]),
    (f"{RUNS}.k", [0], ["not 0", "greater than 0"]),
    (f"{RUNS}.k", [], ["wecolora", "needs a rank"]),
    (f"{RUNS}.method", ["wecolra"], ["'wecolra'", "did you mean wecolora", "weco_kd, weco_lora_qv"]),
    (f"{RUNS}.teacher", ["two"], ["'two'", "no known teacher", "known are one"]),
    # Cells or points that would silently stand for one another.
    (f"{RUNS}.k", [2, 4], ["[2, 4]", "one value"]),
    ("artifacts.table1.rows", ["r", "method"], ["artifacts.table1.runs.alpha", "[1.0, 10.0]", "`rows: r, method`"]),
    ("artifacts.figure5.runs.k", [2, 4], ["[2, 4]", "one value"]),
    ("artifacts.figure5.x", "k", ["artifacts.figure5.runs.alpha", "[1.0, 2.0, 10.0]", "`x: k`", "one value"]),
]


@pytest.mark.parametrize(
    ("key", "value", "said"), REFUSED, ids=[f"{key}={'-' if v is DELETE else v}" for key, v, _ in REFUSED]
)
def test_what_is_wrong_is_refused_with_its_key_and_what_is_allowed(small_config, key, value, said):
    parse(small_config)
    change(small_config, key, value)
    message = refusal(small_config)
    for words in said:
        assert words in message, message
    for part in key.split("."):
        assert part in message, message
    for noise in ("Traceback", "pydantic", "Value error", "type=", "literal[", "list[", "[key]", "instance of"):
        assert noise not in message
    assert message.startswith("config: ") and message.endswith(".")


# Kinds of artifacts

WHOLE = {
    "table": {"rows": ["method"], "datasets": ["shapes"]},
    "figure": {"x": "alpha", "datasets": ["shapes"]},
    "latent": {"datasets": ["shapes"]},
    "rollout": {"datasets": ["shapes"], "images": 2},
    "seconds": {"datasets": ["shapes", "marks"]},
    "computation": {},
    "claims": {},
    "students": {},
}
VALUES = {"rows": ["method"], "datasets": ["shapes"], "x": "alpha", "images": 2, "paper_table": 1}
ONE_RUN = {"teacher": ["one"], "method": ["wecolora"], "r": [2], "k": [4], "alpha": [1]}


def artifact(kind, **changes):
    runs = {} if kind == "claims" else {"runs": ONE_RUN}
    values = {"kind": kind, "title": "T", "caption": "C", **WHOLE[kind], **runs, **changes}
    return {key: value for key, value in values.items() if value is not DELETE}


@pytest.mark.parametrize("kind", KINDS)
def test_an_artifact_has_what_its_kind_needs_and_nothing_else(small_config, kind):
    def said(**changes):
        small_config["artifacts"]["one"] = artifact(kind, **changes)
        message = refusal(small_config)
        assert message.startswith("config: artifacts.one: ") and message.count(".") == 2  # one sentence
        return message

    small_config["artifacts"]["one"] = artifact(kind)
    parse(small_config)
    given = {**WHOLE[kind], **({} if kind == "claims" else {"runs": ONE_RUN})}
    for key, value in {**VALUES, "runs": ONE_RUN}.items():
        if key in given:
            assert f"an artifact of kind {kind} needs `{key}`" in said(**{key: DELETE})
        elif key != "paper_table" or kind != "table":
            assert f"an artifact of kind {kind} has no `{key}`" in said(**{key: value})


@pytest.mark.parametrize("kind", ["latent", "rollout", "figure"])
def test_what_draws_one_data_set_takes_exactly_one(small_config, kind):
    small_config["artifacts"]["one"] = artifact(kind, datasets=["shapes", "marks"])
    assert f"an artifact of kind {kind} needs exactly one name in `datasets`" in refusal(small_config)


@pytest.mark.parametrize("kind", ["latent", "rollout"])
@pytest.mark.parametrize(
    ("axis", "values"),
    [("r", [2, 3]), ("alpha", [1, 10]), ("k", [2, 4]), ("loss_point", ["before_norm", "after_norm"])],
)
def test_panels_are_told_apart_by_their_methods_alone(small_config, kind, axis, values):
    runs = {**ONE_RUN, "method": ["weco_kd", "wecolora"]}
    small_config["artifacts"]["one"] = artifact(kind, runs=runs)
    parse(small_config)
    small_config["artifacts"]["one"] = artifact(kind, runs={**runs, axis: values})
    assert f"artifacts.one.runs.{axis}" in refusal(small_config)


SEVERAL = {
    "bundled": {"label": "S", "source": "bundled", "bundled": "tags"},
    "chestxray14": {"label": "S", "source": "chestxray14", "root": "xrays"},
    "table": {"label": "S", "source": "table", "root": "own", "table": "a.csv", "separator": "|"},
}


@pytest.mark.parametrize("source", SEVERAL)
def test_what_takes_one_label_an_image_refuses_a_data_set_of_several(small_config, source):
    """It would be found out when all students are trained, or when the corpus is."""
    small_config["artifacts"]["one"] = artifact("latent")
    small_config["datasets"]["several"] = SEVERAL[source]
    parse(small_config)
    small_config["artifacts"]["one"]["datasets"] = ["several"]
    assert "artifacts.one.datasets: several has several labels an image" in refusal(small_config)
    small_config["artifacts"]["one"] = artifact("rollout", datasets=["several"])
    parse(small_config)
    small_config["corpus"]["dataset"] = "several"
    parse(small_config)
    small_config["teachers"]["one"] = {"label": "1", "timm": "vit_tiny_patch16_224"}
    small_config["artifacts"]["one"] = artifact("table", runs={**ONE_RUN, "method": ["deit_soft"]})
    said = "runs.method: deit_soft learns from one label an image, and the corpus, several, has several"
    assert said in refusal(small_config)
    if source == "table":  # of a table it is the separator that says so
        del small_config["datasets"]["several"]["separator"]
        parse(small_config)


def test_a_picture_of_more_images_than_can_be_written_is_refused(small_config):
    small_config["artifacts"]["one"] = artifact("rollout", images=100)
    parse(small_config)
    small_config["artifacts"]["one"] = artifact("rollout", images=101)
    assert "artifacts.one.images: " in refusal(small_config) and "100, not 101" in refusal(small_config)


def test_a_venue_alone_tells_no_methods_apart(small_config):
    runs = {**ONE_RUN, "method": ["deit", "deit_hard"]}
    small_config["artifacts"]["one"] = artifact("table", rows=["venue"], runs=runs)
    assert "artifacts.one.runs.method: ['deit', 'deit_hard'] cannot be told apart" in refusal(small_config)
    small_config["artifacts"]["one"] = artifact("table", rows=["venue", "method"], runs=runs)
    parse(small_config)


def test_a_teacher_is_refused_where_it_has_no_place(small_config):
    small_config["artifacts"]["one"] = artifact("figure", runs={**ONE_RUN, "method": ["teacher", "wecolora"]})
    assert "artifacts.one.runs.method: teacher has no alpha to draw over" in refusal(small_config)


def test_every_method_is_counted(small_config):
    small_config["artifacts"]["one"] = artifact("computation", runs={**ONE_RUN, "k": [2], "method": list(METHODS)})
    assert {run.method for run in parse(small_config).runs_of("one")} == set(METHODS)


@pytest.mark.parametrize("method", [name for name in METHODS if name.startswith("deit")])
def test_deit_needs_a_class_token(small_config, method):
    small_config["artifacts"]["one"] = artifact("table", runs={**ONE_RUN, "method": [method]})
    parse(small_config)
    change(small_config, "teachers.one.architecture.global_pool", "avg")
    assert f"artifacts.one.runs.method: {method} needs a class token, and one pools patches" in refusal(small_config)
    small_config["artifacts"]["one"]["runs"]["method"] = ["dmae"]
    parse(small_config)


@pytest.mark.parametrize(
    ("method", "timm", "words"),
    [
        ("deit", "vit_medium_patch16_gap_240", "needs a class token, and one pools patches"),
        ("scratch_kd", "vit_base_patch16_siglip_224", "never trains the pooling of one; give that `global_pool: avg`"),
        ("dmae", "vit_base_patch16_siglip_224", "never trains the pooling"),
        ("minivit", "beit3_base_patch16_224", "shares plain attention, and that of one has a norm"),
        ("deit_hard", "vit_base_patch16_224.mae", "one has no head; take deit, or weights with a head"),
        ("deit_soft", "vit_small_patch14_dinov2", "one has no head"),
    ],
)
def test_a_method_that_cannot_learn_from_a_teacher_is_refused(small_config, method, timm, words):
    small_config["artifacts"] = {"one": artifact("table", runs={**ONE_RUN, "method": [method]})}
    small_config["teachers"]["one"] = {"label": "The one", "timm": timm}
    assert f"artifacts.one.runs.method: {method} " in refusal(small_config) and words in refusal(small_config)
    for allowed in ("weco_kd", "wecolora", "teacher"):
        small_config["artifacts"]["one"]["runs"]["method"] = [allowed]
        parse(small_config)


def test_attention_that_pools_patches_is_left_out_on_request(small_config):
    small_config["artifacts"] = {"one": artifact("table", runs={**ONE_RUN, "method": ["scratch_kd"]})}
    small_config["teachers"]["one"] = {"label": "1", "timm": "vit_base_patch16_siglip_224", "global_pool": "avg"}
    parse(small_config)


def test_a_rollout_needs_a_class_token(small_config):
    small_config["artifacts"] = {"one": artifact("rollout", runs=ONE_RUN)}
    parse(small_config)
    small_config["teachers"]["one"] = {"label": "The one", "timm": "vit_medium_patch16_gap_240"}
    assert "artifacts.one.runs.teacher: a rollout shows the class token's, and one has none" in refusal(small_config)


def test_logits_need_a_head_in_the_file_where_it_is_there_to_be_read(small_config, tmp_path):
    import numpy as np
    from safetensors.numpy import save_file

    small_config["artifacts"] = {"one": artifact("table", runs={**ONE_RUN, "method": ["deit_hard"]})}
    path = tmp_path / "one.safetensors"
    for teacher in (small_config["teachers"]["one"], {"label": "1", "timm": "vit_tiny_patch16_224"}):
        small_config["teachers"]["one"] = {**teacher, "weights": str(path)}
        path.unlink(missing_ok=True)
        parse(small_config)  # nobody knows yet
        path.write_bytes(b"broken")
        parse(small_config)
        names = {"patch_embed.proj.weight": np.zeros(1, np.float32)}
        save_file(names, path)
        assert "deit_hard learns from the teacher's logits, and one has no head" in refusal(small_config)
        save_file({**names, "head.weight": np.zeros(1, np.float32)}, path)
        parse(small_config)


def test_labels_need_a_corpus_that_has_them(small_config):
    small_config["artifacts"] = {
        "one": artifact("table", runs={**ONE_RUN, "method": ["deit_soft"]}, datasets=["marks"])
    }
    listed = {"label": "Listed", "source": "table", "root": "/data", "table": "list.csv"}
    small_config["datasets"]["shapes"] = listed
    parse(small_config)
    small_config["datasets"]["shapes"] = {**listed, "labels": None}
    assert "deit_soft learns from labels, and the corpus, shapes, has none" in refusal(small_config)


# The paper's own


@pytest.mark.parametrize(
    ("key", "one", "other", "role", "another_role"),
    [("teachers", "one", "two", "vitb_mae", "vitb_sup"), ("datasets", "shapes", "marks", "cifar100", "inat19")],
)
@pytest.mark.parametrize("first", ["paper", "stands_for"])
@pytest.mark.parametrize("second", ["paper", "stands_for"])
def test_one_stands_for_one_of_the_papers(small_config, key, one, other, role, another_role, first, second):
    small_config["teachers"]["two"] = {**small_config["teachers"]["one"], "label": "The other"}
    change(small_config, f"{key}.{one}.{first}", role)
    parse(small_config)
    change(small_config, f"{key}.{other}.{second}", role)
    message = refusal(small_config)
    assert f"config: {key}.{other}: another is, or stands for, the paper's {role} already." == message
    change(small_config, f"{key}.{other}.{second}", another_role)
    parse(small_config)
    change(small_config, f"{key}.{other}.paper", another_role)
    change(small_config, f"{key}.{other}.stands_for", another_role)
    assert f"{key}.{other}: `paper` says that it is the paper's, so leave out `stands_for`" in refusal(small_config)


def test_a_learning_rate_of_its_own_is_of_a_known_method(small_config):
    small_config["distill"]["lr_of"] = {"dmea": 1e-3}
    assert "distill.lr_of: 'dmea' is no known method; did you mean dmae" in refusal(small_config)


def test_two_artifacts_for_one_of_the_papers_tables_are_refused(small_config):
    small_config["artifacts"]["table1"]["paper_table"] = 3
    small_config["artifacts"]["other"] = small_config["artifacts"]["table1"]
    assert refusal(small_config) == "config: artifacts.other.paper_table: another is the paper's Table 3."


# Seeds


def seeds_of(config, name):
    return {(run.slug().rpartition("_s")[0], run.seed) for run in parse(config).runs_of(name)}


def test_a_run_has_the_seeds_of_every_artifact_that_names_it(small_config):
    small_config["seeds"] = [5]
    small_config["artifacts"] = {
        "a": artifact("table", runs={**ONE_RUN, "seeds": [2, 0, 2]}),
        "b": artifact("figure", runs={**ONE_RUN, "alpha": [1, 10], "seeds": [1]}),
        "c": artifact("table", rows=["alpha"], runs={**ONE_RUN, "alpha": [10, 20]}),
        "d": artifact("computation", runs={**ONE_RUN, "alpha": [20], "seeds": [7]}),
        "e": artifact("claims"),
    }
    one, ten, twenty = (
        {(f"wecolora_r2_k4_a{alpha}", seed) for seed in seeds}
        for alpha, seeds in {1: (0, 1, 2), 10: (1, 5), 20: (5, 7)}.items()
    )
    wanted = {"a": one, "b": one | ten, "c": ten | twenty, "d": twenty, "e": one | ten | twenty}
    for name, runs in wanted.items():
        assert seeds_of(small_config, name) == runs
        for targets in (["a"], ["e"], [name]):  # chosen or not
            assert seeds_of({**small_config, "targets": targets}, name) == runs
    found = parse(small_config).runs_of("a")
    assert [run.seed for run in found] == [0, 1, 2]
    assert len({*parse(small_config).runs()}) == len(parse(small_config).runs()) == 7


def test_a_run_with_a_loss_point_of_its_own_has_seeds_of_its_own(small_config):
    small_config["artifacts"] = {
        "a": artifact("table", runs={**ONE_RUN, "loss_point": ["before_norm"], "seeds": [1]}),
        "b": artifact("table", runs={**ONE_RUN, "loss_point": ["after_norm"], "seeds": [2]}),
        "c": artifact("table", runs={**ONE_RUN, "seeds": [3]}),
    }
    assert [run.slug() for run in parse(small_config).runs()] == [
        "wecolora_r2_k4_a1_s1_before_norm",
        "wecolora_r2_k4_a1_s2",  # the config's own point is not named
        "wecolora_r2_k4_a1_s3",
    ]


def test_a_teacher_has_no_seeds(small_config):
    runs = {**ONE_RUN, "method": ["wecolora", "teacher"], "alpha": [1, 10], "r": [2, 3], "seeds": [0, 1]}
    small_config["artifacts"]["one"] = artifact("table", rows=["r", "alpha", "method"], runs=runs)
    found = [run.slug() for run in parse(small_config).runs_of("one")]
    assert found.count("teacher") == 1 and len(found) == 2 * 2 * 2 + 1


def test_claims_need_the_runs_of_every_table_and_figure_and_of_nothing_else(small_config):
    other = {**ONE_RUN, "alpha": [50]}
    small_config["artifacts"] |= {
        "verdicts": artifact("claims"),
        "latent2": artifact("latent", runs=other),
        "study": artifact("computation", runs=other),
    }
    for targets in ([], ["verdicts"]):
        config = parse({**small_config, "targets": targets})
        assert config.scored() == ["table1", "figure5"]
        assert set(config.runs_of("verdicts")) == {*config.runs_of("table1"), *config.runs_of("figure5")}
        assert len(config.runs_of("verdicts")) == 2 * 2 * 3


def test_a_method_without_rank_is_refused_on_a_figure_over_ranks(small_config):
    runs = {"teacher": ["one"], "method": ["wecolora", "weco_kd"], "r": [2], "k": [2, 4], "alpha": [1]}
    change(small_config, "artifacts.figure5", small_config["artifacts"]["figure5"] | {"x": "k", "runs": runs})
    message = refusal(small_config)
    assert "artifacts.figure5.runs.method: weco_kd" in message and "wecolora" in message
    runs["method"] = ["wecolora", "weco_lora_qv"]
    assert len(parse(small_config).runs_of("figure5")) == 4


def test_methods_that_table_1_ticks_alike_are_refused_in_its_rows(small_config):
    table = small_config["artifacts"]["table1"]
    table["rows"] = ["r", "alpha", "components"]
    table["runs"] = {"teacher": ["one"], "method": ["weco_kd", "wecolora"], "r": [2], "k": [2], "alpha": [1]}
    parse(small_config)
    table["runs"]["method"] = ["wecolora", "weco_dora"]
    message = refusal(small_config)
    assert "artifacts.table1.rows: `components` cannot tell wecolora, weco_dora apart" in message


def test_what_would_be_printed_alike_is_refused(small_config):
    """A table with two columns, or two groups, of one name would show one of them for both."""
    table = small_config["artifacts"]["table1"]
    names = list(small_config["datasets"])[:2]
    table["datasets"] = names
    parse(small_config)
    small_config["datasets"][names[1]]["label"] = small_config["datasets"][names[0]]["label"]
    assert "artifacts.table1.datasets: two would be printed as" in refusal(small_config)
    small_config["datasets"][names[1]]["label"] = "another"
    small_config["teachers"]["two"] = dict(small_config["teachers"]["one"])
    table["rows"], table["runs"]["teacher"] = ["teacher", *table["rows"]], ["one", "two"]
    assert "artifacts.table1.runs.teacher: two would be printed as" in refusal(small_config)
    small_config["teachers"]["two"]["label"] = "another"
    parse(small_config)
    table["rows"] = [*table["rows"], table["rows"][-1]]
    assert "artifacts.table1.rows: two would be printed as" in refusal(small_config)


def test_an_artifact_cannot_have_the_name_of_a_rule(small_config):
    rules = {
        name
        for path in (REPOSITORY / "rules").glob("*.smk")
        for name in re.findall(r"^rule (\w+):", path.read_text(), re.MULTILINE)
    }
    assert rules | {"all"} == RULES
    small_config["datasets"]["shapes"]["job"] = "small"
    for name in [*RULES, "features_small", "probe_small"]:
        config = copy.deepcopy(small_config)
        config["artifacts"][name] = config["artifacts"]["table1"]
        assert f"artifacts.{name}: is the name of a rule" in refusal(config)


def test_a_loss_point_that_is_the_configs_own_is_no_other_run(small_config):
    table = small_config["artifacts"]["table1"]
    table["rows"] = ["loss_point", "method"]
    runs = {"teacher": ["one"], "method": ["weco_kd", "wecolora"], "r": [2], "k": [2], "alpha": [1]}
    table["runs"] = {**runs, "loss_point": ["before_norm", "after_norm"]}
    for own, named in {
        "after_norm": {"weco_kd": "before_norm", "wecolora": "before_norm"},
        "before_norm": {"weco_kd": "after_norm", "wecolora": "after_norm"},
        "authors_code": {"weco_kd": "before_norm", "wecolora": "after_norm"},
    }.items():
        change(small_config, "distill.loss_point", own)
        found = parse(small_config).runs_of("table1")
        assert len(found) == 4
        assert {(run.method, run.loss_point) for run in found} == {
            *named.items(),
            ("weco_kd", None),
            ("wecolora", None),
        }
    table["rows"] = ["method"]
    assert "artifacts.table1.runs.loss_point" in refusal(small_config)


def test_a_rule_for_the_copied_blocks_that_is_the_configs_own_is_no_other_run(small_config):
    """Calibrated methods have a rule of their own, whatever the config's is."""
    table = small_config["artifacts"]["table1"]
    table["rows"] = ["layers", "method"]
    methods = ["scratch_kd", "weco_kd", "calibrated"]
    runs = {"teacher": ["one"], "method": methods, "r": [2], "k": [2], "alpha": [1]}
    table["runs"] = {**runs, "layers": ["paper", "authors_code", "search"]}
    for own in ("paper", "search"):
        change(small_config, "distill.layers", own)
        found = [(run.method, run.layers) for run in parse(small_config).runs_of("table1")]
        others = {"paper", "authors_code", "search"} - {own}
        assert len(found) == 7
        assert set(found) == {
            ("scratch_kd", None),
            ("weco_kd", None),
            *(("weco_kd", rule) for rule in others),
            ("calibrated", None),
            ("calibrated", "paper"),
            ("calibrated", "search"),
        }
    table["rows"] = ["method"]
    assert "artifacts.table1.runs.layers" in refusal(small_config)


def test_pretraining_names_a_teacher_and_a_data_set(small_config):
    training = {"objective": "supervised", "dataset": "shapes", "augmentation": "weak", "epochs": 1}
    small_config["pretraining"] = {"one": training}
    parse(small_config)
    small_config["pretraining"] = {"two": training}
    assert "pretraining: 'two' is no known teacher" in refusal(small_config)
    small_config["pretraining"] = {"one": {**training, "dataset": "shade"}}
    assert "pretraining.one.dataset: 'shade' is no known data set; did you mean shapes" in refusal(small_config)


def test_every_mistake_is_named_at_once(small_config):
    wrong = {"colour": 1, "distill.epochs": "ten", "probe.batch": 0, "artifacts.table1.runs.alpha": [0]}
    for key, value in wrong.items():
        change(small_config, key, value)
    lines = refusal(small_config).splitlines()
    assert len(lines) == 4
    for key in wrong:
        assert sum(key in line for line in lines) == 1, key


def test_a_config_cannot_be_changed_after_it_was_checked(small_config):
    config = parse(small_config)
    with pytest.raises(ValueError, match="frozen"):
        config.distill.epochs = 0
    before = copy.deepcopy(small_config)
    parse(small_config)
    assert small_config == before


# The schema


def test_the_schema_file_is_what_the_config_says():
    command = [sys.executable, "-m", "wecolora.config.campaign"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout
    assert SCHEMA.read_text() == printed, "the schema is out of date: run `make schema`"


def properties(node, where=""):
    """(place, schema) of each key of a JSON schema."""
    for name, inner in node.get("properties", {}).items():
        yield f"{where}.{name}", inner
    for name, inner in node.get("$defs", {}).items():
        yield from properties(inner, name)


def test_every_key_has_a_description():
    found = dict(properties(Config.model_json_schema()))
    assert len(found) > 60
    assert [place for place, schema in found.items() if len(schema.get("description", "")) < 10] == []


@pytest.mark.parametrize("name", CONFIGS)
def test_the_schema_accepts_what_is_accepted_and_refuses_what_is_refused(name):
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(SCHEMA.read_text())
    config = json.loads(json.dumps(load(name)))  # an editor's JSON has text for keys
    jsonschema.validate(config, schema)
    for key, value in {"colour": 1, "corpus.views": 0, "probe.epochs": "ten", "corpus.dataset": "Not A Name"}.items():
        wrong = copy.deepcopy(config)
        change(wrong, key, value)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


@pytest.mark.parametrize("module", ["config.campaign", "config.runs", "campaign.selection"])
def test_what_the_snakefile_imports_loads_no_torch(module):
    code = f"import sys, wecolora.{module}; print([m for m in ('torch', 'torchvision', 'timm') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.strip() == "[]"


def test_students_alone_need_no_data_set_to_score_them(small_config):
    runs = {"teacher": ["one"], "method": ["wecolora", "top_kd"], "r": [2, 4], "k": [4, 8], "alpha": [1, 10]}
    small_config["distill"]["lr"][4] = 1e-3
    small_config["artifacts"] = {"mine": {"kind": "students", "title": "Mine", "caption": "Mine.", "runs": runs}}
    assert len(parse(small_config).runs()) == 2 * 2 * (2 + 1)
    small_config["artifacts"]["mine"]["datasets"] = ["shapes"]
    assert "students has no `datasets`" in refusal(small_config)


# The file


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1 gives the key 'a' again, which line 1, column 1 gives already; keep"),
        (
            "corpus: {views: 1, seed: 0, views: 3}",
            "line 1, column 29 gives the key 'views' again, which line 1, column 10",
        ),
        ("a: {<<: {b: 1, b: 2}}", "line 1, column 16 gives the key 'b' again"),
        ("lr: {2: 0.1, 2.0: 0.5}", "gives the key '2' again"),
        ('lr: {2: 0.1, "2": 0.5}', "gives the key '2' again"),
        ('{"a": 1, "\\u0061": 2}', "gives the key 'a' again"),
        ('{\n\t"a": 1,\n\t"a": 2}', "line 3, column 2 gives the key 'a' again, which line 2"),
        ("epochs: 010", "line 1, column 9: the number 010 can be read in several ways; write it in plain digits"),
        ("epochs: 1:30", "the number 1:30 can be read in several ways"),
        ("epochs: 0x10", "the number 0x10 can be read in several ways"),
        ("name: 2024_01", "or, if it is a text, in quotes"),
        ("a: [", "cannot be read as YAML in UTF-8"),
        ("a: !!python/object:os.system x", "cannot be read as YAML in UTF-8"),
        ("- a", "holds no keys"),
    ],
)
def test_a_file_that_can_be_read_in_two_ways_is_refused(tmp_path, text, said):
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path}: ") and said in str(caught.value)


def test_what_a_file_says(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("\ufeffa: &x {b: 1, c: 1.5e-3}\r\nd: {<<: *x, b: 2}\r\ne: 2024-01-01\nf: [-3, 0, true, ~]\n")
    assert read_config(path) == {
        "a": {"b": 1, "c": 0.0015},
        "d": {"b": 2, "c": 0.0015},
        "e": "2024-01-01",
        "f": [-3, 0, True, None],
    }
    path.write_text('{\n\t"a": {"b": [1, "x\\u00e9"]}\n}')
    assert read_config(path) == {"a": {"b": [1, "xé"]}}
    path.write_bytes("label: é".encode("latin1"))
    with pytest.raises(BadInput, match="UTF-8"):
        read_config(path)


def test_every_config_of_the_repository_is_read_as_yaml_reads_it():
    for path in [*REPOSITORY.glob("config/*.yaml"), REPOSITORY / "config.yaml"]:
        assert read_config(path) == yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"epochs": "9", "base_lr": "2.5"}, {"epochs": 9, "base_lr": 2.5}),
        (["0", "-3", "1.5e-3", ".5"], [0, -3, 0.0015, 0.5]),
        ({"2": "0.1"}, {2: 0.1}),
        (
            ["true", "null", "yes", "~", "1_0", "12:30", "0x10", "a1"],
            [True, None, "yes", "~", "1_0", "12:30", "0x10", "a1"],
        ),
        (7, 7),
    ],
)
def test_values_of_the_command_line(given, found):
    assert typed(given) == found
