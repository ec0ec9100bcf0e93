"""What a campaign takes: against counts by hand, and against what Snakemake itself would run."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from wecolora.campaign.plan import make_plan, show, sizes
from wecolora.campaign.selection import Campaign
from wecolora.core.errors import BadInput

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def campaign(small_config, tmp_path, monkeypatch):
    """2 methods x 2 r x 3 alpha, one seed; two sets of 60 + 30 images; the corpus' 60 images, 10 views, 2 epochs."""
    monkeypatch.chdir(tmp_path)
    small_config["distill"]["lr"][4] = 1e-3
    small_config["corpus"]["shard_percent"] = 5
    return Campaign(small_config)


def stages(campaign):
    return {stage.name: stage for stage in make_plan(campaign).stages}


def test_images_jobs_and_bytes_of_a_small_campaign(campaign):
    found = stages(campaign)
    assert make_plan(campaign).runs == 12
    assert {name: stage.jobs for name, stage in found.items()} == {
        "prepare": 2,
        "subset": 1,
        "fetch_teacher": 0,
        "cache_teacher": 2,  # 10% in shards of 5%
        "choose_blocks": 0,
        "distill": 12,
        "features": 12 + 8,  # shapes for all; marks for the table's, which has no alpha of 2
        "probe": 12 + 8,
        "tables, figures": 2 + 3,  # and scores, config, report
    }
    assert found["cache_teacher"].whole.teachers == 6 * 10
    # Tokens: a class token and 2 x 2 patches of width 32, in 2 bytes; a crop: 16 x 16 pixels of 3.
    assert found["cache_teacher"].whole.bytes == 60 * (5 * 32 * 2 + 16 * 16 * 3)
    # round(60 x alpha): 1, 1 and 6 images of each of 4 students, twice.
    assert found["distill"].whole.students == 4 * 2 * (1 + 1 + 6)
    features = found["features"].whole
    assert features.students == 20 * 90 and features.bytes == 20 * 90 * 32 * 4
    assert all(stage.done == 0 and stage.left == stage.whole for stage in found.values())


def test_operations_are_those_of_matrices_and_their_gradients(campaign):
    found = stages(campaign)
    # A block of width d and n tokens: 4 d^2 of attention and 8 d^2 of the feed-forward layers a token, and 2 n^2 d.
    block = 5 * 12 * 32**2 + 2 * 5**2 * 32
    patches = 4 * (8 * 8 * 3) * 32
    assert found["cache_teacher"].whole.macs == 60 * (4 * block + patches)
    adapters = 5 * 4 * (4 * (32 + 32) + 2 * (32 + 128))  # of rank 4: Q, K, V, O and two feed-forward layers, a block
    images = 2 * (1 + 1 + 6)
    everything = sum(3 * images * (blocks * block + patches) for blocks in (2, 1))
    lora = sum(2 * images * (blocks * (block + adapters) + patches) for blocks in (2, 1))
    assert found["distill"].whole.macs == everything + lora


def test_a_teacher_in_every_step_costs_more_and_has_no_cache(small_config, campaign):
    made, whole = make_plan(campaign), {name: stage.whole for name, stage in stages(campaign).items()}
    assert made.online.teachers == 4 * 2 * (1 + 1 + 6) and made.cached == whole["cache_teacher"]
    assert made.cache_bytes == {"one": whole["cache_teacher"].bytes // 10}
    small_config["distill"]["teacher"] = "online"
    online = Campaign(small_config)
    found = {name: stage.whole for name, stage in stages(online).items()}
    assert stages(online)["cache_teacher"].jobs == found["cache_teacher"].bytes == 0
    assert found["distill"].macs == whole["distill"].macs + made.online.macs
    assert (make_plan(online).cached, make_plan(online).cache_bytes) == (made.cached, made.cache_bytes)


def test_a_method_whose_teacher_runs_takes_it_either_way(small_config, campaign):
    small_config["artifacts"]["table1"]["runs"]["method"] = ["wecolora_blocks"]
    small_config["targets"] = ["table1"]
    made = make_plan(Campaign(small_config))
    steps = 2 * 2 * (1 + 6)
    assert made.online.teachers == steps and made.cached.teachers == 6 * 10 + steps
    assert made.online.macs == steps * 4 * (5 * 12 * 32**2 + 2 * 5**2 * 32) + steps * 4 * (8 * 8 * 3) * 32


def test_a_calibrated_student_takes_a_pass_of_each_model_and_sums_of_products(small_config, campaign):
    """Two views; a Gram matrix of the hidden activations, their products with the errors, and the layers once more."""
    small_config["artifacts"]["table1"]["runs"]["method"] = ["calibrated"]
    small_config["targets"] = ["table1"]
    found = stages(Campaign(small_config))["distill"].whole
    block, patches = 5 * 12 * 32**2 + 2 * 5**2 * 32, 4 * (8 * 8 * 3) * 32
    images, sums = 2 * (1 + 6), 5 * (128**2 + 128 * 32 + 2 * 128 * 32)
    assert found.students == found.teachers == 2 * images
    assert found.macs == sum(images * ((4 + blocks) * block + 2 * patches + blocks * sums) for blocks in (2, 1))


@pytest.mark.parametrize(("rule", "steps"), [("influence", 0), ("search", 3)])
def test_choosing_blocks_takes_a_pass_of_the_teacher_and_a_search_a_student_a_step(small_config, rule, steps):
    """Once a share of the corpus, whichever methods and ratios copy them."""
    small_config["artifacts"]["table1"]["runs"] |= {"method": ["weco_kd", "calibrated"], "layers": [rule]}
    small_config["targets"] = ["table1"]
    found = stages(Campaign(small_config))["choose_blocks"]
    block, patches = 5 * 12 * 32**2 + 2 * 5**2 * 32, 4 * (8 * 8 * 3) * 32
    sums, again = 5 * (128**2 + 128 * 32 + 2 * 128 * 32), 5 * 128 * 32
    whole, images = 4 * block + patches, 2 * (1 + 6)
    assert found.jobs == 2
    assert (found.whole.students, found.whole.teachers) == (steps * images, (1 + 2 * steps) * images)
    walks = [2 * whole + blocks * (whole // 4 + sums + again) for blocks in (4, 3, 2)[:steps]]
    assert found.whole.macs == images * (whole + sum(walks))


def test_what_is_there_is_done(campaign):
    for path in (campaign.subset, "results/small/runs/one/weco_kd_r2_a1_s0/student.safetensors"):
        Path(path).parent.mkdir(parents=True)
        Path(path).touch()
    found = stages(campaign)
    assert {name: stage.done for name, stage in found.items() if stage.done} == {"subset": 1, "distill": 1}
    assert found["distill"].left.students == found["distill"].whole.students - 2 * 1
    assert found["features"].left == found["features"].whole


def test_what_was_deleted_after_its_use_is_done(small_config, campaign):
    """Features whose scores are there, and shards of which every student is."""
    small_config["keep_features"] = False
    for run in campaign.config.runs():
        for path in (f"results/small/runs/one/{run.slug()}/student.safetensors", campaign.score(run, "shapes")):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).touch()
    found = stages(Campaign(small_config))
    assert (found["cache_teacher"].done, found["features"].done, found["probe"].done) == (2, 12, 12)
    assert found["features"].whole.bytes == 0


@pytest.mark.parametrize(
    ("config", "targets"),
    [("config.yaml", []), ("config/paper.yaml", []), ("config.yaml", ["figure2"]), ("config.yaml", ["figure3"])],
)
def test_as_many_jobs_as_snakemake_would_run(config, targets, tmp_path):
    """In an empty folder, less the rule that only collects; the paper's dry run is counted, not timed."""
    for name in ("Snakefile", "rules", "workflow_scripts", "profiles", "config.yaml", "assets"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    command = [sys.executable, "-m", "snakemake", "-n", *targets, "--configfile", str(REPOSITORY / config)]
    dry = subprocess.run(
        [*command, "--directory", str(tmp_path)], cwd=tmp_path, text=True, capture_output=True, check=True
    )
    total = int(re.search(r"^total\s+(\d+)", dry.stdout + dry.stderr, re.MULTILINE)[1])
    campaign = Campaign({**yaml.safe_load((REPOSITORY / config).read_text()), "targets": targets})
    pages = 3 if targets else 0  # scores.csv, config.yaml, report.html: not of a single artifact
    assert sum(stage.jobs for stage in make_plan(campaign).stages) - pages == total - 1


def test_sizes_before_a_data_set_is_prepared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paper = Campaign(yaml.safe_load((REPOSITORY / "config/paper.yaml").read_text()))
    assert sizes(paper, "imagenet1k") == (1_281_167, 50_000)
    assert sizes(paper, "resisc45") == (6_300, 25_200)  # 20% and 80% of 45 x 700
    assert sizes(paper, "chestxray14") == (86_524, 25_596)


def test_a_folder_that_is_not_prepared_is_listed(small_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    entry = {"label": "Shapes", "source": "folder", "root": "pictures", "test_share": 0.5}
    small_config["datasets"]["shapes"] = entry
    with pytest.raises(BadInput, match="the root of data set shapes is no folder"):
        make_plan(Campaign(small_config))
    for number in range(8):
        path = tmp_path / f"pictures/{'ab'[number % 2]}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()  # no image is read
    assert sizes(Campaign(small_config), "shapes") == (4, 4)


def test_the_page_has_every_stage_and_both_costs(campaign):
    console = Console(record=True, width=120, file=io.StringIO(), markup=False)
    show(make_plan(campaign), "small", 15.0, "as given", console)
    page = console.export_text()
    for words in (
        "small: 12 runs",
        "cache_teacher",
        "total",
        "with 1 view an image,",
        "kB with 10.",
        "15 TFLOP/s (as given)",
    ):
        assert words in page, page
