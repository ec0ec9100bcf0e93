"""What the rules ask: recipes that change with what decides a result, and with nothing else; paths; shards."""

from __future__ import annotations

import copy
import json
from types import SimpleNamespace

import pytest

from wecolora.errors import BadInput
from wecolora.grid import RunSpec
from wecolora.recipes import CacheRecipe, DistillRecipe, ProbeJob
from wecolora.workflow import Campaign

TRAINING = {"objective": "supervised", "dataset": "marks", "augmentation": "weak", "epochs": 1}


@pytest.fixture
def config(small_config):
    return {**small_config, "pretraining": {"one": TRAINING}}


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
        found["prepare", name] = campaign.prepare_recipe(SimpleNamespace(dataset=name))
    found["subset", ""] = campaign.subset_recipe(SimpleNamespace(dataset=campaign.config.corpus.dataset))
    for name in campaign.config.pretraining:
        found["pretrain", name] = campaign.pretrain_recipe(SimpleNamespace(teacher=name))
        found["compare", name] = campaign.compare_recipe(SimpleNamespace(teacher=name))
    for run in campaign.config.runs():
        w = SimpleNamespace(teacher=run.teacher, run=run.slug())
        found["distill", run] = campaign.distill_recipe(w)
        found["features", run] = campaign.feature_recipe(w)
        for path in campaign.shards(w):
            shard = path.removesuffix(".h5").rpartition("/")[2]
            found["cache", shard] = campaign.cache_recipe(SimpleNamespace(teacher=run.teacher, shard=shard))
    for job, datasets in campaign.probe_jobs().items():
        found["probe", job] = campaign.probe_job(datasets).canonical()
    for name, artifact in campaign.config.chosen().items():
        recipe = campaign.computation_recipe if artifact.kind == "computation" else campaign.artifact_recipe
        found[artifact.kind, name] = recipe(SimpleNamespace(artifact=name))
    return found


def difference(before, after):
    """The stages whose recipes changed, and the jobs that came or went."""
    old, new = recipes(before), recipes(after)
    return {
        stage for stage, job in old.keys() & new.keys() if old[stage, job] != new[stage, job]
    }, old.keys() ^ new.keys()


# Recipes


def test_recipes_are_canonical_json_and_the_same_each_time(config):
    first, second = recipes(config), recipes(copy.deepcopy(config))
    assert first == second
    stages = {"prepare", "subset", "pretrain", "compare", "cache", "distill", "features", "probe", "table", "figure"}
    assert {stage for stage, _ in first} == stages
    for (stage, _), text in first.items():
        values = json.loads(text)
        assert text == json.dumps(values, separators=(",", ":"), ensure_ascii=False)
        assert isinstance((values["probes"] if stage == "compare" else values)["revision"], int)


def test_recipes_ask_wildcards_alone(config):
    # Whatever else a job knows (input, attempt, ...) is not there to be asked: SimpleNamespace would raise.
    campaign = Campaign(config)
    (run,) = [run for run in campaign.config.runs() if run.slug() == "wecolora_r3_k4_a10_s0"]
    recipe = DistillRecipe.model_validate_json(
        campaign.distill_recipe(SimpleNamespace(teacher="one", run="wecolora_r3_k4_a10_s0"))
    )
    assert (recipe.method, recipe.teacher, recipe.r, recipe.k, recipe.alpha, recipe.seed) == (
        run.method, run.teacher, run.r, run.k, run.alpha, run.seed
    ) == ("wecolora", "one", 3, 4, 10, 0)  # fmt: skip
    assert (recipe.corpus, recipe.epochs, recipe.lr) == ("shapes", 2, 1e-4)


def test_the_order_of_keys_in_the_file_does_not_matter(config):
    backwards = {key: config[key] for key in reversed(config)}
    backwards["distill"] = {key: config["distill"][key] for key in reversed(config["distill"])}
    backwards["teachers"]["one"]["architecture"] = dict(reversed(config["teachers"]["one"]["architecture"].items()))
    assert recipes(backwards) == recipes(config)


EFFECTS = [
    # (key, value, the stages whose recipes change)
    ("probe.epochs", 7, {"probe", "compare"}),
    ("probe_of", {"marks": {"base_lr": 3}}, {"probe"}),
    ("artifacts.table1.caption", "Other words.", {"table"}),
    ("artifacts.figure5.title", "Figure V", {"figure"}),
    ("artifacts.table1.rows", ["r", "alpha", "method"], {"table"}),
    ("title", "Other words", set()),
    ("targets", ["table1", "figure5"], set()),
    ("teachers.one.label", "Another name", {"table", "figure"}),
    ("datasets.shapes.label", "Forms", {"table", "figure"}),
    ("datasets.marks.train", 90, {"prepare", "pretrain"}),
    ("distill.epochs", 3, {"distill"}),
    ("distill.lr_scaling", "linear_256", {"distill"}),
    ("distill.teacher", "online", {"distill"}),
    ("corpus.views", 3, {"cache", "distill"}),
    ("corpus.seed", 1, {"subset", "cache", "distill"}),
    ("corpus.strategy", "uniform", {"subset"}),
    ("teachers.one.mean", [0.1, 0.2, 0.3], {"cache", "distill", "features", "pretrain", "compare"}),
]


@pytest.mark.parametrize(("key", "value", "stages"), EFFECTS, ids=[key for key, _, _ in EFFECTS])
def test_a_change_reaches_the_recipes_that_it_decides_and_no_other(config, key, value, stages):
    before, after = config, changed(config, key, value)
    if key == "probe_of":  # the demo teachers are compared on shapes, which marks' settings do not touch
        assert Campaign(config).compare_datasets() == ["shapes"]
    found, jobs = difference(before, after)
    assert found == stages
    assert {stage for stage, _ in jobs} <= {"cache"}  # online needs none


def test_a_caption_changes_its_own_artifact_alone(config):
    old, new = recipes(config), recipes(changed(config, "artifacts.table1.caption", "Other words."))
    assert {job for job in old if old[job] != new[job]} == {("table", "table1")}


def test_one_data_sets_probe_settings_change_its_own_probe_alone(config):
    old, new = recipes(config), recipes(changed(config, "probe_of", {"marks": {"epochs": 9, "base_lr": 3}}))
    assert {job for job in old if old[job] != new[job]} == {("probe", "marks")}
    job = ProbeJob.model_validate_json(new["probe", "marks"])
    assert (job.recipes["marks"].epochs, job.recipes["marks"].base_lr, job.recipes["marks"].batch) == (9, 3, 512)


def test_another_alpha_adds_its_runs_and_changes_no_other(config):
    table = config["artifacts"]["table1"]["runs"]
    stages, jobs = difference(config, changed(config, "artifacts.table1.runs", {**table, "alpha": [1, 10, 5]}))
    assert stages == set()
    assert {job.slug() for stage, job in jobs if stage == "distill"} == {
        f"{method}_a5_s0" for method in ("weco_kd_r2", "weco_kd_r3", "wecolora_r2_k4", "wecolora_r3_k4")
    }
    assert {stage for stage, _ in jobs} == {"distill", "features"}


def test_another_seed_adds_its_runs_and_no_cache(config):
    stages, jobs = difference(config, {**config, "seeds": [0, 1]})
    assert stages == set()
    assert all(job.seed == 1 for stage, job in jobs) and {stage for stage, _ in jobs} == {"distill", "features"}


def test_a_computation_study_follows_the_shapes_alone(config):
    runs = {"teacher": ["one"], "method": ["weco_kd", "wecolora"], "r": [2], "k": [2, 4], "alpha": [1]}
    config["artifacts"]["study"] = {"kind": "computation", "title": "S", "caption": "C", "runs": runs}
    campaign = Campaign({**config, "seeds": [0, 1]})
    assert campaign.scores_of("study") == []
    assert "results/small/computation/study_speed.csv" in campaign.targets()
    found = json.loads(campaign.computation_recipe(SimpleNamespace(artifact="study")))
    assert [(one["method"], one["r"], one["k"]) for one in found["students"]] == [
        ("weco_kd", 2, None),
        ("wecolora", 2, 2),
        ("wecolora", 2, 4),
    ]
    config["artifacts"]["study"]["datasets"] = ["shapes"]
    with pytest.raises(BadInput, match="a computation study has no `rows`, no `x` and no `datasets`"):
        Campaign(config)


def test_a_stages_revision_is_in_its_recipe(config, monkeypatch):
    from wecolora import workflow

    runs = {"teacher": ["one"], "method": ["weco_kd"], "r": [2], "alpha": [1]}
    config["artifacts"]["study"] = {"kind": "computation", "title": "S", "caption": "C", "runs": runs}

    for stage, reached in {
        "prepare": {"prepare"},
        "subset": {"subset"},
        "pretrain_teacher": {"pretrain"},
        "compare_teacher": {"compare"},
        "cache_teacher": {"cache", "distill"},  # what a run reads is part of what it is
        "distill": {"distill"},
        "features": {"features"},
        "probe": {"probe", "compare"},
        "table": {"table"},
        "figure": {"figure"},
        "computation": {"computation"},
    }.items():
        old = recipes(config)
        monkeypatch.setitem(workflow.REVISIONS, stage, 1000)
        new = recipes(config)
        assert {job[0] for job in old if old[job] != new[job]} == reached
        monkeypatch.undo()
    assert set(workflow.REVISIONS) == {
        "prepare", "subset", "pretrain_teacher", "compare_teacher", "cache_teacher", "distill", "features", "probe",
        "table", "figure", "computation"
    }  # fmt: skip


def test_the_linear_scaling_rule(config):
    config["distill"] |= {"batch": 128, "accumulate": 8, "lr": {2: 1e-3, 3: 1e-4}}
    w = SimpleNamespace(teacher="one", run="weco_kd_r2_a1_s0")
    assert json.loads(Campaign(config).distill_recipe(w))["lr"] == 1e-3
    config["distill"]["lr_scaling"] = "linear_256"
    # The authors' README: blr 1e-3 with 128 x 8 gives 4e-3.
    assert json.loads(Campaign(config).distill_recipe(w))["lr"] == pytest.approx(4e-3)


def test_the_authors_loss_points_differ_between_methods(config):
    config["distill"]["loss_point"] = "authors_code"
    campaign = Campaign(config)
    point = {
        run: json.loads(campaign.distill_recipe(SimpleNamespace(teacher="one", run=run)))["loss_point"]
        for run in ("wecolora_r2_k4_a1_s0", "weco_lora_qv_r2_k4_a1_s0", "weco_kd_r2_a1_s0", "scratch_kd_r2_a1_s0")
    }
    assert list(point.values()) == ["before_norm", "before_norm", "after_norm", "after_norm"]
    named = SimpleNamespace(teacher="one", run="wecolora_r2_k4_a1_s0_after_norm")
    assert json.loads(campaign.distill_recipe(named))["loss_point"] == "after_norm"


def test_a_run_asks_for_the_cache_that_is_written_for_it(config):
    campaign = Campaign(config)
    w = SimpleNamespace(teacher="one", run="wecolora_r2_k4_a10_s0", shard="003")
    run = DistillRecipe.model_validate_json(campaign.distill_recipe(w))
    shard = CacheRecipe.model_validate_json(campaign.cache_recipe(w))
    assert run.cache() == shard.of_all_shards()
    assert (shard.low, shard.high) == (30, 40)


# Shards


def shards(config, run):
    paths = Campaign(config).shards(SimpleNamespace(teacher="one", run=run))
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
    ranges = [
        json.loads(campaign.cache_recipe(SimpleNamespace(teacher="one", shard=f"{number:03d}"))) for number in range(4)
    ]
    assert [(shard["low"], shard["high"]) for shard in ranges] == [(0, 30), (30, 60), (60, 90), (90, 100)]


def test_a_changed_folder_is_indexed_again(config, tmp_path):
    from wecolora.files import folder_state

    (tmp_path / "cat").mkdir()
    config["datasets"]["own"] = {"label": "Own", "source": "folder", "root": str(tmp_path)}
    w, found = SimpleNamespace(dataset="own"), []
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


def test_a_method_that_compares_every_block_runs_its_teacher_online(config):
    """A cache holds the last block's tokens alone."""
    campaign = Campaign(config)
    for run, online in {"wecolora_blocks_r2_k4_a1_s0": True, "wecolora_r2_k4_a1_s0": False}.items():
        w = SimpleNamespace(teacher="one", run=run)
        assert json.loads(campaign.distill_recipe(w))["online"] == online
        assert (campaign.shards(w) == []) == online


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
        paths += campaign.shards(SimpleNamespace(teacher=run.teacher, run=run.slug()))
        paths.append(f"{campaign.root}/runs/{run.teacher}/{run.slug()}/scores/circumstances_nwpu_resisc45.json")
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
    assert campaign.scores(SimpleNamespace(artifact="figure5")) == campaign.scores_of("figure5")


def test_targets_are_the_files_of_the_chosen_artifacts(config):
    files = Campaign({**config, "targets": ["figure5"]}).targets()
    assert files == [
        *(f"results/small/figures/figure5.{suffix}" for suffix in ("csv", "png", "pdf")),
        "results/small/scores.csv",
        "results/small/config.yaml",
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
