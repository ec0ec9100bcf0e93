"""What the rules ask: recipes that change with what decides a result, and with nothing else; paths; shards."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from wecolora.campaign.selection import Campaign
from wecolora.config.kinds import KINDS
from wecolora.config.recipes import (
    ArtifactRecipe,
    CacheRecipe,
    ClaimsRecipe,
    DistillRecipe,
    ProbeJob,
    ReportRecipe,
    assumed_classes,
)
from wecolora.config.runs import RunSpec
from wecolora.core.errors import BadInput
from wecolora.core.folders import folder_state

DRAWN = [name for name, kind in KINDS.items() if kind.files]
TRAINING = {"objective": "supervised", "dataset": "marks", "augmentation": "weak", "epochs": 1}


@pytest.fixture
def config(small_config):
    return {**small_config, "pretraining": {"one": TRAINING}}


@pytest.fixture
def whole(config):
    """The same with an artifact of every kind, and a teacher that is probed as it is."""
    config["teachers"]["one"]["stands_for"] = "vitb_mae"
    config["teachers"]["two"] = {"label": "The other", "timm": "vit_tiny_patch16_224.augreg_in21k"}
    config["datasets"]["shapes"]["stands_for"] = "imagenet1k"
    runs = {"teacher": ["one"], "method": ["weco_kd", "wecolora"], "r": [2], "k": [4], "alpha": [1]}
    words = {"title": "T", "caption": "C", "runs": runs}
    config["artifacts"] |= {
        "table2": {
            **words,
            "kind": "table",
            "paper_table": 2,
            "rows": ["alpha", "method", "venue"],
            "runs": {**runs, "method": ["dmae", "weco_kd", "teacher"]},
            "datasets": ["shapes"],
        },
        "figure2": {**words, "kind": "latent", "datasets": ["marks"]},
        "figure3": {**words, "kind": "rollout", "datasets": ["shapes"], "images": 2},
        "speed": {**words, "kind": "seconds", "runs": {**runs, "layers": ["search"]}, "datasets": ["marks"]},
        "study": {**words, "kind": "computation"},
        "verdicts": {"title": "V", "caption": "C", "kind": "claims"},
    }
    return config


def changed(config, key, value):
    """A copy of the config with the key a.b.c set."""
    new = copy.deepcopy(config)
    node = new
    *parents, last = key.split(".")
    for part in parents:
        node = node.setdefault(part, {})
    node[last] = value
    return new


def recipes(config):
    """Each job's recipe, by stage and job."""
    campaign = Campaign(config)
    found = {}
    for name in campaign.config.datasets:
        found["prepare", name] = campaign.prepare_recipe(name)
    found["subset", ""] = campaign.subset_recipe()
    for name in campaign.sources:
        found["fetch", name] = campaign.fetch_recipe(name)
    for name in campaign.config.pretraining:
        found["pretrain", name] = campaign.pretrain_recipe(name)
        found["compare", name] = campaign.compare_recipe(name)
    for run in campaign.config.runs():
        w = run
        for job, datasets in campaign.probe_jobs().items():
            found |= {("features", (name, run)): campaign.feature_recipe(w, [name]) for name in datasets}
            found["probe", (job, run)] = campaign.probe_recipe(w, datasets)
        if run.method == "teacher":
            continue
        found["distill", run] = campaign.distill_recipe(w)
        if campaign.blocks(w):
            found["choose", run.share] = campaign.blocks_recipe(run.teacher, "search", run.alpha)
        for path in campaign.shards(w):
            shard = path.removesuffix(".h5").rpartition("/")[2]
            found["cache", shard] = campaign.cache_recipe(run.teacher, int(shard))
    for name, artifact in campaign.config.chosen().items():
        special = {"computation": campaign.computation_recipe, "claims": campaign.claims_recipe}
        w = name
        found[artifact.kind, name] = special.get(artifact.kind, campaign.artifact_recipe)(w)
        if artifact.kind == "rollout":
            found["sight", name] = campaign.sight_recipe(w)
    found["report", ""] = campaign.report_recipe()
    return found


def difference(before, after):
    """The stages whose recipes changed, and the jobs that came or went."""
    old, new = recipes(before), recipes(after)
    return {
        stage for stage, job in old.keys() & new.keys() if old[stage, job] != new[stage, job]
    }, old.keys() ^ new.keys()


# Recipes


def test_recipes_are_canonical_json_and_the_same_each_time(whole):
    first, second = recipes(whole), recipes(copy.deepcopy(whole))
    assert first == second
    stages = {"prepare", "subset", "pretrain", "compare", "cache", "distill", "features", "probe", "sight", "report"}
    stages |= {"fetch", "choose", *DRAWN}
    assert {stage for stage, _ in first} == stages
    for (stage, _), text in first.items():
        values = json.loads(text)
        assert text.replace("1e-6", "1e-06") == json.dumps(values, separators=(",", ":"), ensure_ascii=False)
        assert isinstance((values["probes"] if stage == "compare" else values)["revision"], int)


def test_a_recipe_is_that_of_its_run(config):
    campaign = Campaign(config)
    (run,) = [run for run in campaign.config.runs() if run.slug() == "wecolora_r3_k4_a10_s0"]
    recipe = DistillRecipe.model_validate_json(campaign.distill_recipe(RunSpec.parse("one", "wecolora_r3_k4_a10_s0")))
    axes = recipe.student
    assert (recipe.method, recipe.teacher, axes.r, axes.k, axes.alpha, axes.seed) == (
        run.method, run.teacher, run.r, run.k, run.alpha, run.seed
    ) == ("wecolora", "one", 3, 4, 10, 0)  # fmt: skip
    assert (recipe.images.corpus, recipe.optimisation.epochs, recipe.lr) == ("shapes", 2, 1e-4)


def test_the_order_of_keys_in_the_file_does_not_matter(config):
    backwards = {key: config[key] for key in reversed(config)}
    backwards["distill"] = {key: config["distill"][key] for key in reversed(config["distill"])}
    backwards["teachers"]["one"]["architecture"] = dict(reversed(config["teachers"]["one"]["architecture"].items()))
    assert recipes(backwards) == recipes(config)


EFFECTS = [
    # (key, value, the stages whose recipes change)
    ("probe.epochs", 7, {"probe", "compare"}),
    ("probe_of", {"marks": {"base_lr": 3}}, {"probe"}),
    ("artifacts.table1.caption", "Other words.", {"table", "report"}),
    ("artifacts.figure5.title", "Figure V", {"figure", "report"}),
    ("artifacts.table1.rows", ["r", "alpha", "method"], {"table", "report"}),
    ("artifacts.table1.paper_table", 1, {"table", "claims", "report"}),
    ("artifacts.verdicts.caption", "Other words.", {"claims", "report"}),
    ("artifacts.figure3.images", 3, {"rollout"}),
    ("title", "Other words", {"report"}),
    (
        "targets",
        ["verdicts", "figure5", "table1", "table2", "figure2", "figure3", "study", "speed"],
        {"report"},
    ),  # their order
    (
        "teachers.one.label",
        "Another name",
        {"table", "figure", "latent", "rollout", "computation", "claims", "report", "seconds"},
    ),
    ("teachers.one.stands_for", "vitb_sup", {"table", "figure", "latent", "rollout", "claims", "report", "seconds"}),
    ("datasets.shapes.label", "Forms", {"table", "figure", "rollout", "claims", "report"}),
    ("datasets.shapes.stands_for", "inat19", {"table", "figure", "rollout", "claims", "report"}),
    ("datasets.marks.train", 90, {"prepare", "pretrain"}),
    ("distill.batch", 16, {"distill", "computation", "choose"}),
    ("distill.epochs", 3, {"distill"}),
    ("distill.lr_scaling", "linear_256", {"distill"}),
    ("distill.teacher", "online", {"distill"}),
    ("corpus.views", 3, {"cache", "distill", "computation", "choose"}),
    ("corpus.seed", 1, {"subset", "cache", "distill", "choose"}),
    ("corpus.strategy", "uniform", {"subset"}),
    ("teachers.one.mean", [0.1, 0.2, 0.3], {"cache", "distill", "features", "sight", "pretrain", "compare", "choose"}),
    ("normalisation", "imagenet", {"cache", "distill", "features", "sight", "choose"}),
]


@pytest.mark.parametrize(("key", "value", "stages"), EFFECTS, ids=[key for key, _, _ in EFFECTS])
def test_a_change_reaches_the_recipes_that_it_decides_and_no_other(whole, key, value, stages):
    before, after = whole, changed(whole, key, value)
    if key == "probe_of":  # the demo teachers are compared on shapes, which marks' settings do not touch
        assert Campaign(whole).config.compared() == ["shapes"]
    found, jobs = difference(before, after)
    assert found == stages
    assert {stage for stage, _ in jobs} <= {"cache"}  # online needs none


def test_a_caption_changes_its_own_artifact_alone(config):
    old, new = recipes(config), recipes(changed(config, "artifacts.table1.caption", "Other words."))
    assert {job for job in old if old[job] != new[job]} == {("table", "table1"), ("report", "")}


def test_one_data_sets_probe_settings_change_its_own_probe_alone(config):
    old, new = recipes(config), recipes(changed(config, "probe_of", {"marks": {"epochs": 9, "base_lr": 3}}))
    runs = Campaign(config).config.runs()
    assert {job for job in old if old[job] != new[job]} == {("probe", ("marks", run)) for run in runs}
    job = ProbeJob.model_validate_json(new["probe", ("marks", runs[0])])
    assert (job.recipes["marks"].epochs, job.recipes["marks"].base_lr, job.recipes["marks"].batch) == (9, 3, 512)


def test_another_alpha_adds_its_runs_and_changes_no_other(config):
    table = config["artifacts"]["table1"]["runs"]
    stages, jobs = difference(config, changed(config, "artifacts.table1.runs", {**table, "alpha": [1, 10, 5]}))
    assert stages == set()  # nor the report's: its inputs are others
    assert {job.slug() for stage, job in jobs if stage == "distill"} == {
        f"{method}_a5_s0" for method in ("weco_kd_r2", "weco_kd_r3", "wecolora_r2_k4", "wecolora_r3_k4")
    }
    assert {stage for stage, _ in jobs} == {"distill", "features", "probe"}


def test_another_seed_adds_its_runs_and_no_cache(config):
    stages, jobs = difference(config, {**config, "seeds": [0, 1]})
    assert stages == set()
    assert {stage for stage, _ in jobs} == {"distill", "features", "probe"}
    assert {(job if stage == "distill" else job[1]).seed for stage, job in jobs} == {1}


def test_a_computation_study_follows_the_shapes_alone(config):
    runs = {"teacher": ["one"], "method": ["weco_kd", "wecolora"], "r": [2], "k": [2, 4], "alpha": [1]}
    config["artifacts"]["study"] = {"kind": "computation", "title": "S", "caption": "C", "runs": runs}
    campaign = Campaign({**config, "seeds": [0, 1]})
    assert campaign.scores_of("study") == []
    assert "results/small/computation/study_speed.csv" in campaign.targets()
    found = json.loads(campaign.computation_recipe("study"))
    assert [(one["method"], one["r"], one["k"]) for one in found["students"]] == [
        ("weco_kd", 2, None),
        ("wecolora", 2, 2),
        ("wecolora", 2, 4),
    ]
    config["artifacts"]["study"]["datasets"] = ["shapes"]
    with pytest.raises(BadInput, match="an artifact of kind computation has no `datasets`"):
        Campaign(config)


def assumed(config, teacher):
    return assumed_classes(Campaign(config).config, teacher)


def test_a_head_has_the_classes_that_its_weights_say(config, tmp_path):
    weights = tmp_path / "one.safetensors"
    config["teachers"]["one"]["weights"] = str(weights)
    for tag, classes in {"mae": 0, "augreg_in21k": 21843}.items():
        config["teachers"][tag] = {"label": tag, "timm": f"vit_base_patch16_224.{tag}"}
        assert assumed(config, tag) == classes
    assert assumed(config, "one") == 1000  # nobody knows yet
    state = {"patch_embed.proj.weight": np.zeros((32, 3, 8, 8), np.float32)}
    save_file(state, weights)
    assert assumed(config, "one") == 0
    save_file({**state, "head.weight": np.zeros((5, 32), np.float32)}, weights)
    assert assumed(config, "one") == 5


def test_a_stages_revision_is_in_its_recipe(whole, monkeypatch):
    from wecolora.campaign import selection as workflow

    for stage, reached in {
        "fetch_teacher": {"fetch"},
        "prepare": {"prepare"},
        "subset": {"subset"},
        "pretrain_teacher": {"pretrain"},
        "compare_teacher": {"compare"},
        "cache_teacher": {"cache", "distill", "choose"},  # what a run reads is part of what it is
        "choose_blocks": {"choose"},
        "distill": {"distill", "choose"},
        "features": {"features"},
        "probe": {"probe", "compare"},
        "table": {"table", "report"},
        "figure": {"figure"},
        "seconds": {"seconds"},
        "latent": {"latent"},
        "rollout": {"rollout", "sight"},
        "claims": {"claims"},
        "computation": {"computation"},
        "report": {"report"},
    }.items():
        old = recipes(whole)
        monkeypatch.setitem(workflow.REVISIONS, stage, 1000)
        new = recipes(whole)
        assert {job[0] for job in old if old[job] != new[job]} == reached
        monkeypatch.undo()
    assert set(workflow.REVISIONS) == {
        "fetch_teacher", "prepare", "subset", "pretrain_teacher", "compare_teacher", "cache_teacher", "choose_blocks",
        "distill", "features", "seconds", "probe", "table", "figure", "latent", "rollout", "claims",
        "computation", "report"
    }  # fmt: skip


def test_narrower_targets_change_no_recipe(whole):
    """A run keeps its seeds, a job its data sets, and so on; only the report shows less."""
    whole["artifacts"]["figure5"]["runs"] = {**whole["artifacts"]["figure5"]["runs"], "seeds": [1, 2]}
    everything = recipes(whole)
    for name in whole["artifacts"]:
        found = recipes({**whole, "targets": [name]})
        assert found.keys() <= everything.keys()
        assert {stage for stage, job in found if found[stage, job] != everything[stage, job]} == {"report"}
    table = Campaign({**whole, "targets": ["table1"]}).config.runs_of("table1")
    assert {run.seed for run in table} == {0, 1, 2}


@pytest.mark.parametrize(
    ("key", "value"), [("label", "Forms"), ("job", "all"), ("paper", "cifar100"), ("stands_for", "inat19")]
)
@pytest.mark.parametrize("dataset", ["shapes", "marks"])
def test_what_says_nothing_about_images_makes_no_index_and_no_teacher_again(config, dataset, key, value):
    old, new = recipes(config), recipes(changed(config, f"datasets.{dataset}.{key}", value))
    for job in old:
        if job[0] in ("prepare", "subset", "pretrain", "cache", "distill", "features"):
            assert old[job] == new[job]
    index = json.loads(new["prepare", dataset])
    assert (index["data"]["label"], index["data"]["job"]) == ("", "")


def test_probes_take_the_seed_of_their_run(whole):
    campaign = Campaign(whole)
    for run, seed in {"weco_kd_r2_a1_s3": 3, "wecolora_r2_k4_a1_s12_before_norm": 12, "teacher": 0}.items():
        job = ProbeJob.model_validate_json(campaign.probe_recipe(RunSpec.parse("one", run), ["shapes", "marks"]))
        assert {name: recipe.seed for name, recipe in job.recipes.items()} == {"shapes": seed, "marks": seed}
    compared = json.loads(campaign.compare_recipe("one"))["probes"]["recipes"]
    assert {recipe["seed"] for recipe in compared.values()} == {0}


# The teacher itself, claims, and what is drawn of features and attention


def test_a_teacher_is_probed_as_it_is(whole):
    campaign = Campaign(whole)
    teacher = RunSpec.parse("one", "teacher")
    student = RunSpec.parse("one", "weco_kd_r2_a1_s0")
    assert (campaign.student(teacher), campaign.about(teacher)) == ("one.safetensors", [])
    folder = "results/small/runs/one/weco_kd_r2_a1_s0"
    assert campaign.student(student) == f"{folder}/student.safetensors"
    assert campaign.about(student) == [f"{folder}/student.json"]
    assert campaign.feature_recipe(teacher, ["shapes"]) == campaign.feature_recipe(student, ["shapes"])
    scores = campaign.scores_of("table2")
    assert scores.count("results/small/runs/one/teacher/scores/shapes.json") == 1 and len(scores) == 3
    assert f"{folder}/student.json" in campaign.told()
    assert not [path for path in campaign.told() if "/teacher/" in path]


@pytest.mark.parametrize("targets", [[], ["verdicts"], ["verdicts", "study"]])
def test_claims_depend_on_the_scores_of_all_tables_and_figures(whole, targets):
    campaign = Campaign({**whole, "targets": targets})
    wanted = {path for name in ("table1", "table2", "figure5", "speed") for path in campaign.scores_of(name)}
    found = campaign.scores_of("verdicts")
    assert set(found) == wanted and len(found) == len(wanted) == 2 * 2 * 2 * 2 + 2 * 2 + 2 + 2
    assert set(campaign.all_scores()) == wanted
    assert {path.replace("student.json", "") for path in campaign.told()} == {
        path.partition("scores/")[0] for path in wanted if "/teacher/" not in path
    }


def test_claims_know_what_stands_for_what(whole):
    whole["teachers"]["two"] = {**whole["teachers"]["one"], "label": "Two"}
    del whole["teachers"]["two"]["stands_for"]  # of no part in the paper
    whole["datasets"]["marks"]["paper"] = "cifar100"
    recipe = ClaimsRecipe.model_validate_json(Campaign(whole).claims_recipe("verdicts"))
    assert recipe.teachers == {"one": "vitb_mae"} and recipe.widths == {"one": 32}
    assert recipe.datasets == {"shapes": "imagenet1k", "marks": "cifar100"}
    assert recipe.title == "V" and recipe.caption.startswith("C Here ")
    assert recipe.methods == {2: ["dmae", "weco_kd", "teacher"]}


def test_a_method_may_have_a_learning_rate_of_its_own(config):
    config["distill"] |= {"lr_of": {"wecolora": 0.5}, "lr_scaling": "linear_256"}
    campaign = Campaign(config)
    settings = campaign.config.distill
    scale = settings.batch * settings.accumulate / 256
    for run in campaign.config.runs():
        recipe = campaign.distill_recipe(run)
        rate = 0.5 if run.method == "wecolora" else settings.lr[run.r] * scale  # its own is not scaled
        assert DistillRecipe.model_validate_json(recipe).lr == pytest.approx(rate)


def test_verdicts_on_stand_ins_say_so(whole):
    def captions(config):
        campaign = Campaign(config)
        claims = ClaimsRecipe.model_validate_json(campaign.claims_recipe("verdicts"))
        report = ReportRecipe.model_validate_json(campaign.report_recipe())
        assert report.artifacts["table1"].caption == "All of it."
        return claims.caption, report.artifacts["verdicts"].caption

    one, other = captions(whole)
    assert one == other and one.startswith("C Here The one for ViT-B (MAE); Shapes for ImageNet-1K stand in")
    for entry, role in ((whole["teachers"]["one"], "vitb_mae"), (whole["datasets"]["shapes"], "imagenet1k")):
        del entry["stands_for"]
        entry["paper"] = role
    assert captions(whole) == ("C", "C")


def test_an_artifact_knows_which_of_its_own_are_the_papers(whole):
    whole["datasets"]["marks"]["paper"] = "cifar100"
    campaign = Campaign(whole)

    def recipe(name):
        return ArtifactRecipe.model_validate_json(campaign.artifact_recipe(name))

    one = recipe("table1")
    assert one.paper_datasets == {"shapes": "imagenet1k", "marks": "cifar100"} and one.exact_datasets == ["marks"]
    assert one.paper_teachers == {"one": "vitb_mae"} and one.exact_teachers == [] and one.paper_table is None
    assert recipe("table2").paper_datasets == {"shapes": "imagenet1k"} and recipe("table2").paper_table == 2
    del whole["teachers"]["one"]["stands_for"]
    campaign = Campaign(whole)
    assert recipe("table1").paper_teachers == {} == recipe("table2").paper_teachers
    whole["teachers"]["one"]["paper"] = "vitb_sup"
    campaign = Campaign(whole)
    assert recipe("table1").paper_teachers == {"one": "vitb_sup"}
    assert recipe("table1").exact_teachers == []  # its students are distilled on other images than the paper's
    del whole["datasets"]["shapes"]["stands_for"]
    whole["datasets"]["shapes"]["paper"] = "imagenet1k"
    campaign = Campaign(whole)
    assert whole["corpus"]["dataset"] == "shapes" and recipe("table1").exact_teachers == ["one"]


@pytest.mark.parametrize(("kind", "dataset"), [("latent", "marks"), ("rollout", "shapes")])
@pytest.mark.parametrize("methods", [["weco_kd", "wecolora"], ["wecolora", "weco_kd"], ["wecolora", "dmae", "weco_kd"]])
def test_a_figure_of_students_shows_one_of_each_method_by_its_first_seed(whole, kind, dataset, methods):
    name = {"latent": "figure2", "rollout": "figure3"}[kind]
    runs = {**whole["artifacts"][name]["runs"], "method": methods}
    whole["artifacts"][name]["runs"] = {**runs, "seeds": [7, 3]}
    whole["artifacts"]["table1"]["runs"] = {**runs, "seeds": [5]}
    whole["artifacts"]["table1"]["rows"] = ["method"]
    campaign = Campaign(whole)
    w = name
    # Other artifacts' seeds (0 and 5, of weco_kd and the others) are theirs too.
    product = campaign.config.product_of(name)
    seeds = {run.method: [other.seed for other in product if other.method == run.method] for run in product}
    assert all(len(found) > 1 for found in seeds.values())
    shown = campaign.config.runs_of(name)
    assert [(run.method, run.seed) for run in shown] == [(method, min(seeds[method])) for method in methods]
    folders = [f"results/small/runs/one/{run.slug()}" for run in shown]
    assert campaign.features_of(w) == [f"{folder}/features/{dataset}.h5" for folder in folders]
    assert campaign.students_of(w) == [f"{folder}/student.safetensors" for folder in folders]
    assert campaign.index_of(w) == f"results/small/data/{dataset}/index.parquet"
    assert campaign.scores_of(name) == []
    # The scripts label the files by the recipe's methods, in this order.
    assert json.loads(campaign.artifact_recipe(w))["methods"] == methods


@pytest.mark.parametrize("name", ["figure2", "figure3"])
def test_a_method_that_is_named_twice_is_shown_once(whole, name):
    whole["artifacts"][name]["runs"]["method"] = ["wecolora", "weco_kd", "wecolora"]
    campaign = Campaign(whole)
    methods = json.loads(campaign.artifact_recipe(name))["methods"]
    assert methods == ["wecolora", "weco_kd"] == [run.method for run in campaign.config.runs_of(name)]


def test_a_rollout_of_the_teacher_shows_its_own_weights(whole):
    whole["artifacts"]["figure3"]["runs"] = {**whole["artifacts"]["figure3"]["runs"], "method": ["teacher", "weco_kd"]}
    found = Campaign(whole).students_of("figure3")
    assert found == ["one.safetensors", "results/small/runs/one/weco_kd_r2_a1_s0/student.safetensors"]


def test_students_look_at_a_rollouts_images_as_at_their_features(whole):
    campaign = Campaign(whole)
    sight = json.loads(campaign.sight_recipe("figure3"))
    features = json.loads(campaign.feature_recipe(RunSpec.parse("one", "weco_kd_r2_a1_s0"), ["shapes"]))
    assert {**sight, "revision": 0} == {**features, "revision": 0}


def test_the_report_shows_the_chosen_artifacts(whole):
    for targets in ([], ["verdicts", "table2"]):
        campaign = Campaign({**whole, "targets": targets})
        recipe = ReportRecipe.model_validate_json(campaign.report_recipe())
        assert list(recipe.artifacts) == (targets or list(whole["artifacts"]))
        for name, artifact in recipe.artifacts.items():
            assert (artifact.kind, artifact.files) == (whole["artifacts"][name]["kind"], campaign.files_of(name))
            wanted = campaign.artifact_recipe(name) if artifact.kind == "table" else None
            assert (artifact.recipe and artifact.recipe.canonical()) == wanted
        assert set(campaign.artifact_files()) <= set(campaign.targets())


def test_a_pattern_of_names_matches_the_artifacts_of_its_kind_alone(whole):
    campaign = Campaign(whole)
    for kind in DRAWN:
        names = {name for name in whole["artifacts"] if re.fullmatch(campaign.names_of(kind), name)}
        assert names == {name for name, entry in whole["artifacts"].items() if entry["kind"] == kind} and names
    del whole["artifacts"]["figure2"]
    assert not re.fullmatch(Campaign(whole).names_of("latent"), "")


def test_the_linear_scaling_rule(config):
    config["distill"] |= {"batch": 128, "accumulate": 8, "lr": {2: 1e-3, 3: 1e-4}}
    w = RunSpec.parse("one", "weco_kd_r2_a1_s0")
    assert json.loads(Campaign(config).distill_recipe(w))["lr"] == 1e-3
    config["distill"]["lr_scaling"] = "linear_256"
    # The authors' README: blr 1e-3 with 128 x 8 gives 4e-3.
    assert json.loads(Campaign(config).distill_recipe(w))["lr"] == pytest.approx(4e-3)


def test_the_authors_loss_points_differ_between_methods(config):
    config["distill"]["loss_point"] = "authors_code"
    campaign = Campaign(config)
    point = {
        run: json.loads(campaign.distill_recipe(RunSpec.parse("one", run)))["loss_point"]
        for run in ("wecolora_r2_k4_a1_s0", "weco_lora_qv_r2_k4_a1_s0", "weco_kd_r2_a1_s0", "scratch_kd_r2_a1_s0")
    }
    assert list(point.values()) == ["before_norm", "before_norm", "after_norm", "after_norm"]
    named = RunSpec.parse("one", "wecolora_r2_k4_a1_s0_after_norm")
    assert json.loads(campaign.distill_recipe(named))["loss_point"] == "after_norm"


def test_a_run_asks_for_the_cache_that_is_written_for_it(config):
    campaign = Campaign(config)
    named = RunSpec.parse("one", "wecolora_r2_k4_a10_s0")
    run = DistillRecipe.model_validate_json(campaign.distill_recipe(named))
    shard = CacheRecipe.model_validate_json(campaign.cache_recipe("one", 3))
    assert run.cache() == shard.of_all_shards()
    assert (shard.low, shard.high) == (30, 40)


# Shards


def shards(config, run):
    paths = Campaign(config).shards(RunSpec.parse("one", run))
    assert all(path.startswith("results/small/teachers/one/cache/") and path.endswith(".h5") for path in paths)
    return [int(path.removesuffix(".h5").rpartition("/")[2]) for path in paths]


@pytest.mark.parametrize(
    ("percent", "alpha", "count"),
    [
        (10, "1", 1), (10, "10", 1), (10, "10.5", 2), (10, "20", 2), (10, "99", 10), (10, "100", 10),
        (1, "0.25", 1), (1, "1", 1), (1, "7", 7), (1, "29", 29), (1, "57", 57), (1, "57.5", 58),
        (0.1, "0.3", 3), (0.1, "0.7", 7), (0.3, "2.1", 7), (0.3, "16.8", 56),
        (2.5, "5", 2), (30, "100", 4), (100, "0.5", 1), (100, "100", 1),
    ],
)  # fmt: skip
def test_a_run_needs_the_shards_up_to_its_alpha(config, percent, alpha, count):
    config["corpus"]["shard_percent"] = percent
    assert shards(config, f"weco_kd_r2_a{alpha}_s0") == list(range(count))


def test_the_shards_of_a_corpus_meet_and_end_at_100_percent(config):
    config["corpus"]["shard_percent"] = 30
    campaign = Campaign(config)
    ranges = [json.loads(campaign.cache_recipe("one", int(number))) for number in range(4)]
    assert [(shard["low"], shard["high"]) for shard in ranges] == [(0, 30), (30, 60), (60, 90), (90, 100)]


def test_a_changed_folder_is_indexed_again(config, tmp_path):
    (tmp_path / "cat").mkdir()
    config["datasets"]["own"] = {"label": "Own", "source": "folder", "root": str(tmp_path)}
    w, found = "own", []
    changes = [
        lambda: None,
        lambda: (tmp_path / "cat" / "1.png").write_bytes(b"one"),
        lambda: (tmp_path / "cat" / "1.png").write_bytes(b"longer"),
        lambda: (tmp_path / "cat" / "1.png").rename(tmp_path / "cat" / "2.png"),
        lambda: (tmp_path / "cat" / "2.png").unlink(),
    ]
    for change in changes:
        change()
        folder_state.cache_clear()
        found.append(Campaign(config).prepare_recipe(w))
        folder_state.cache_clear()
        assert Campaign(config).prepare_recipe(w) == found[-1]
    assert len(set(found)) == 4 and found[0] == found[-1]


def test_a_changed_table_outside_its_root_is_read_again(config, tmp_path):
    (tmp_path / "root").mkdir()
    config["datasets"]["own"] = {"label": "Own", "source": "table", "root": str(tmp_path / "root"), "table": "../a.csv"}
    found = []
    for text in (None, "path", "path,label"):
        if text:
            (tmp_path / "a.csv").write_text(text)
        folder_state.cache_clear()
        found.append(Campaign(config).prepare_recipe("own"))
    assert len(set(found)) == 3


def test_a_method_that_compares_every_block_runs_its_teacher_on_the_crops_of_the_cache(config):
    """A cache holds the last block's tokens alone."""
    campaign = Campaign(config)
    for run, online in {"wecolora_blocks_r2_k4_a1_s0": True, "wecolora_r2_k4_a1_s0": False}.items():
        w = RunSpec.parse("one", run)
        assert json.loads(campaign.distill_recipe(w))["online"] == online
        assert campaign.shards(w) == ["results/small/teachers/one/cache/000.h5"]


def test_a_data_set_is_seen_with_its_own_statistics_where_it_has_any(whole):
    own = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    teachers = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    whole["datasets"]["shapes"] |= own
    campaign = Campaign(whole)
    w = RunSpec.parse("one", "weco_kd_r2_a1_s0")
    features = json.loads(campaign.feature_recipe(w, ["shapes", "marks"]))
    assert features["statistics"] == {"shapes": own, "marks": teachers}
    assert json.loads(campaign.sight_recipe("figure3"))["statistics"] == {"shapes": own}
    # The corpus is seen as the teacher was trained to see it.
    distilled = json.loads(campaign.distill_recipe(w))
    assert {key: distilled[key] for key in own} == teachers


def test_an_online_teacher_needs_no_shard(config):
    config["distill"]["teacher"] = "online"
    assert shards(config, "weco_kd_r2_a100_s0") == []


# Paths and targets


def test_every_path_is_short():
    """In words such as the paper's, at most 120 characters from the workflow's folder."""
    architecture = {"img_size": 224, "patch_size": 16, "embed_dim": 768, "depth": 12, "num_heads": 12}
    teachers = ["vit_b_supervised", "vit_b_mae"]
    datasets = ["imagenet1k", "inaturalist2019", "cifar100", "nwpu_resisc45", "chestxray14"]
    methods = ["scratch_kd", "weco_kd", "weco_lora_qv", "wecolora"]
    runs = {"teacher": teachers, "method": methods, "r": [2, 3], "k": [512], "alpha": [0.25, 12.5, 100]}
    config = {
        "name": "paper_protocol",
        "title": "The paper",
        "corpus": {"dataset": "imagenet1k", "shard_percent": 0.5},
        "teachers": {name: {"label": name, "weights": "w", "architecture": architecture} for name in teachers},
        "datasets": {name: {"label": name, "source": "folder", "root": f"data/{name}"} for name in datasets},
        "seeds": [0, 10],
        "artifacts": {
            "table1_authors_code": {
                "kind": "table", "title": "T", "caption": "C",
                "rows": ["teacher", "r", "alpha", "method"], "runs": runs, "datasets": datasets,
            }
        },
    }  # fmt: skip
    campaign = Campaign(config)
    paths = [campaign.corpus, campaign.subset, *campaign.all_scores(), *campaign.targets()]
    for run in campaign.config.runs():
        paths += campaign.shards(run)
        paths.append(f"{campaign.layout.root}/runs/{run.teacher}/{run.slug()}/scores/circumstances_nwpu_resisc45.json")
    assert len(paths) > 2 * 4 * 2 * 3 * 2 * 5
    assert max(map(len, paths)) <= 120, max(paths, key=len)
    assert len(set(campaign.all_scores())) == len(campaign.all_scores()) == 2 * 4 * 2 * 3 * 2 * 5


def test_a_score_is_computed_once_however_many_artifacts_need_it(config):
    campaign = Campaign(config)
    wanted = {
        (m, r, a, d) for m in ("weco_kd", "wecolora") for r in (2, 3) for a in (1, 10) for d in ("shapes", "marks")
    }
    wanted |= {(m, r, 2, "shapes") for m in ("weco_kd", "wecolora") for r in (2, 3)}
    assert sorted(campaign.all_scores()) == sorted(
        campaign.score(RunSpec("one", m, r, 4, a, 0), d) for m, r, a, d in wanted
    )
    assert campaign.scores_of("figure5") == campaign.scores_of("figure5")


def test_targets_are_the_files_of_the_chosen_artifacts(config):
    files = Campaign({**config, "targets": ["figure5"]}).targets()
    assert files == [
        *(f"results/small/figures/figure5.{suffix}" for suffix in ("csv", "png", "pdf")),
        "results/small/scores.csv",
        "results/small/config.yaml",
        "results/small/report.html",
    ]
    assert f"results/small/tables/table1.{'tex'}" in Campaign(config).targets()


def test_data_sets_of_one_job_are_probed_together_in_the_files_order(config):
    assert Campaign(config).probe_jobs() == {"shapes": ["shapes"], "marks": ["marks"]}
    for dataset in config["datasets"].values():
        dataset["job"] = "all"
    assert Campaign(config).probe_jobs() == {"all": ["shapes", "marks"]}
    # marks is not needed, but leaving it out would make a finished job run again.
    assert Campaign({**config, "targets": ["figure5"]}).probe_jobs() == {"all": ["shapes", "marks"]}


def test_the_resolved_config_is_a_config_with_nothing_left_open(config):
    text = Campaign(config).resolved()
    again = Campaign(json.loads(text))
    assert again.resolved() == text
    assert recipes(json.loads(text)) == recipes(config)
    assert json.loads(text)["distill"]["weight_decay"] == 0.05


def test_a_bad_config_is_refused_before_anything_is_asked(config):
    config["artifacts"]["table1"]["runs"]["r"] = [9]
    with pytest.raises(BadInput, match=r"artifacts\.table1\.runs\.r"):
        Campaign(config)


def test_students_are_files_of_their_runs_and_no_page_of_the_report(small_config):
    runs = {"teacher": ["one"], "method": ["wecolora", "teacher"], "r": [2], "k": [4], "alpha": [1]}
    small_config["artifacts"] = {"mine": {"kind": "students", "title": "Mine", "caption": "Mine.", "runs": runs}}
    campaign = Campaign(small_config)
    weights = ["results/small/runs/one/wecolora_r2_k4_a1_s0/student.safetensors", "one.safetensors"]
    assert campaign.files_of("mine") == weights
    assert set(weights) <= set(campaign.targets()) and campaign.all_scores() == []
    assert json.loads(campaign.report_recipe())["artifacts"] == {}


# Roots and results


@pytest.mark.parametrize("root", [".", "..", "results", "results/small/figures", "link"])
def test_a_root_that_holds_the_results_or_lies_in_them_is_refused(small_config, tmp_path, monkeypatch, root):
    (tmp_path / "place" / "results").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "place")
    (tmp_path / "place" / "link").symlink_to(tmp_path)
    small_config["datasets"]["own"] = {"label": "own", "source": "folder", "root": root}
    with pytest.raises(BadInput, match=r"datasets\.own\.root: .* holds the campaign's results, or lies within them"):
        Campaign({**small_config, "name": "small"})


@pytest.mark.parametrize("root", ["pictures", "results/another", "resultsets", "../elsewhere"])
def test_a_root_beside_the_results_is_none_of_them(small_config, tmp_path, monkeypatch, root):
    monkeypatch.chdir(tmp_path)
    small_config["datasets"]["own"] = {"label": "own", "source": "folder", "root": root}
    Campaign({**small_config, "name": "small"})


def test_a_root_that_is_a_link_to_elsewhere_is_indexed_again(small_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for disk in ("a", "b"):
        (tmp_path / disk).mkdir()
        os.utime(tmp_path / disk, (1, 1))
    small_config["datasets"]["own"] = {"label": "own", "source": "folder", "root": "link"}
    found = []
    for disk in ("a", "b", "a"):
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to(tmp_path / disk)
        folder_state.cache_clear()
        found.append(Campaign(small_config).prepare_recipe("own"))
    assert found[0] == found[2] != found[1]


# Weights that Snakemake would not miss


@pytest.fixture
def weighted(small_config, tmp_path, monkeypatch):
    """A campaign whose teacher's weights are a file, with a student of an hour ago."""
    monkeypatch.chdir(tmp_path)
    hour = time.time() - 3600
    path = Path("w.safetensors")
    path.write_bytes(b"old")
    os.utime(path, (hour - 60, hour - 60))
    small_config["teachers"]["one"]["weights"] = str(path)
    campaign = Campaign(small_config)
    record = Path(f"{campaign.layout.root}/runs/one/weco_kd_r2_a1_s0/student.json")
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"teacher_sha256": hashlib.sha256(b"old").hexdigest()}), encoding="utf-8")
    os.utime(record, (hour, hour))
    return campaign, path, hour


def test_weights_that_are_there_and_the_same_are_no_matter(weighted):
    campaign, path, _ = weighted
    campaign.refuse_lost_weights()  # though its status is newer than the student
    path.write_bytes(b"new")  # which Snakemake sees
    campaign.refuse_lost_weights()


def test_weights_that_are_not_there_are_refused(weighted):
    campaign, path, _ = weighted
    path.unlink()
    with pytest.raises(BadInput, match=r"teachers\.one\.weights: there is no file w\.safetensors; correct the path"):
        campaign.refuse_lost_weights()


def test_other_weights_of_an_older_date_are_refused(weighted):
    campaign, path, hour = weighted
    path.write_bytes(b"new")
    os.utime(path, (hour - 7200, hour - 7200))  # as after cp -p
    with pytest.raises(BadInput, match=r"holds other weights than those behind the results.*touch the file"):
        campaign.refuse_lost_weights()
    os.utime(path)
    campaign.refuse_lost_weights()
