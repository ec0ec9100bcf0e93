"""The workflow as a user runs it: what a run leaves, what reruns, and how bad input ends."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer

from tests.workflow.conftest import ARCHITECTURE, PAIR, SMOKE, Place, new_place
from wecolora.campaign.jobs import jobs
from wecolora.campaign.revisions import REVISIONS
from wecolora.campaign.selection import Campaign

COLLECTED = {"collect", "resolved_config", "report", "all"}


def _results(place: Place) -> Path:
    return place.folder / "results" / "smoke"


def test_a_run_leaves_every_artifact_and_no_leftovers(finished):
    root = _results(finished)
    for path in (
        "tables/table3.csv",
        "tables/table3.md",
        "tables/table3.tex",
        "claims/verdicts.csv",
        "claims/verdicts_comparisons.csv",
        "claims/verdicts.md",
        "computation/computation_study.csv",
        "computation/computation_study.md",
        "computation/computation_study_speed.csv",
        "scores.csv",
        "config.yaml",
    ):
        assert (root / path).stat().st_size > 0, path
    for figure in ("figure2", "figure3", "figure8"):
        assert (root / f"figures/{figure}.csv").stat().st_size > 0
        assert (root / f"figures/{figure}.png").read_bytes().startswith(b"\x89PNG")
        assert (root / f"figures/{figure}.pdf").read_bytes().startswith(b"%PDF")
    assert (root / "report.html").read_text().rstrip().endswith("</html>")
    assert list(root.rglob("*.part")) == []
    assert list((finished.folder / "results" / ".resume").glob("*")) == []


def test_the_table_prints_what_the_score_files_say(finished):
    root = _results(finished)
    cells = pd.read_csv(root / "tables/table3.csv")
    assert len(cells) == 8
    for cell in cells.itertuples():
        rank = "_k4" if cell.method == "wecolora" else ""
        slug = "teacher" if cell.method == "teacher" else f"{cell.method}_r2{rank}_a20_s0"
        score = json.loads((root / f"runs/tiny/{slug}/scores/{cell.dataset}.json").read_text())
        assert cell.mean == pytest.approx(score["last"], rel=1e-5)
        assert f"{score['last']:.1f}" in (root / "tables/table3.md").read_text()


def test_a_student_loads_in_timm_without_our_code(finished):
    state = load_file(_results(finished) / "runs/tiny/wecolora_r2_k4_a20_s0/student.safetensors")
    plain = VisionTransformer(**{**ARCHITECTURE, "depth": 2}, num_classes=0)
    plain.load_state_dict(state, strict=True)


def test_a_student_of_deit_loads_in_timm_without_our_code(finished):
    state = load_file(_results(finished) / "runs/tiny/deit_hard_r2_a20_s0/student.safetensors")
    plain = VisionTransformerDistilled(**{**ARCHITECTURE, "depth": 2}, num_classes=0)
    plain.load_state_dict(state, strict=True)


def test_the_teacher_is_probed_as_it_is(finished):
    root = _results(finished) / "runs/tiny/teacher"
    score = json.loads((root / "scores/digits.json").read_text())
    weights = hashlib.sha256((finished.folder / "tiny.safetensors").read_bytes()).hexdigest()
    assert score["student_sha256"] == score["teacher_sha256"] == weights
    assert (score["run"]["alpha"], score["run"]["seed"], score["recipe"]["distill"]) == (None, None, None)
    assert not (root / "student.safetensors").exists()


def test_the_other_protocol_makes_other_students_in_a_folder_of_its_own(finished, smoke_config):
    smoke_config |= {"protocol": "authors_code", "name": "other"}
    assert finished.planned(smoke_config)["distill"] == 3
    smoke_config["name"] = "smoke"
    plan = finished.planned(smoke_config)
    assert {"cache_teacher", "distill", "features_all", "probe_all"} <= set(plan) and "subset" not in plan


def test_every_log_tells_its_recipe_and_how_fast_it_went_and_a_line_an_epoch(finished):
    logs = _results(finished) / "logs"
    distill, probe, features, cache = (
        (logs / name).read_text()
        for name in (
            "distill/tiny/wecolora_r2_k4_a20_s0.log",
            "probe/tiny/wecolora_r2_k4_a20_s0/all.log",
            "features/tiny/wecolora_r2_k4_a20_s0/all.log",
            "cache_teacher/tiny_000.log",
        )
    )
    assert '"method":"wecolora"' in distill.splitlines()[0]
    assert len(re.findall(r"epoch \d/3: loss .* effective rank .* \d+ images/s", distill)) == 3
    assert len(re.findall(r"epoch \d/3: loss \S+, top-1 \S+, \d+ images/s", probe)) == 3
    assert len(re.findall(r"epoch \d/3: loss \S+, mean AUC \S+, \d+ images/s", probe)) == 3
    assert re.search(r"100 of 100 train images of digits, \d+ a second", features)
    assert re.search(r"40 of 40 images, \d+ a second", cache)
    for log in (probe, features, cache):
        assert " recipe: {" in log.splitlines()[0]


@pytest.mark.long
def test_two_processes_distil_the_student_of_one(finished, smoke_config, tmp_path, monkeypatch):
    """They stand for two GPUs: torchrun starts them, and each takes half of every micro-batch."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    shutil.copytree(finished.folder, tmp_path / "both")
    place = Place(tmp_path / "both")
    run = _results(place) / "runs/tiny/wecolora_r2_k4_a20_s0"
    alone, record = load_file(run / "student.safetensors"), json.loads((run / "student.json").read_text())
    (run / "student.safetensors").unlink()
    again = place.snakemake(
        smoke_config, str(run.relative_to(place.folder) / "student.safetensors"), "--set-resources", "distill:gpu=2"
    )
    assert again.returncode == 0, again.stdout[-3000:]
    log = (_results(place) / "logs/distill/tiny/wecolora_r2_k4_a20_s0.log").read_text()
    assert log.count("2 processes, each with 5 images of every 10") == 1 and log.count("epoch 3/3") == 1
    found = json.loads((run / "student.json").read_text())
    assert found["environment"] == {**record["environment"], "processes": 2}
    assert found["history"] == [
        {key: value if key == "signs" else pytest.approx(value, rel=1e-4) for key, value in epoch.items()}
        for epoch in record["history"]
    ]
    for name, tensor in load_file(run / "student.safetensors").items():
        torch.testing.assert_close(tensor, alone[name], rtol=1e-3, atol=1e-4)
    # Another number of GPUs is no other recipe.
    assert place.planned(smoke_config).keys().isdisjoint({"distill", "cache_teacher"})


def test_artifacts_made_again_elsewhere_have_the_same_bytes(finished, copied, smoke_config):
    """Of all else, the next test tells the same."""
    made = ("tables", "figures", "claims", "computation", "scores.csv", "config.yaml", "report.html")
    for name in made:
        path = _results(copied) / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    run = copied.snakemake(smoke_config)
    assert run.returncode == 0, run.stdout[-3000:]
    again = {path.relative_to(_results(copied)) for path in _results(copied).rglob("*") if path.is_file()}
    for path in (path for path in _results(finished).rglob("*") if path.is_file()):
        relative = path.relative_to(_results(finished))
        assert relative in again
        if not (relative.parts[0] in ("logs", "report.html") or path.name.endswith("_speed.csv")):
            assert (_results(copied) / relative).read_bytes() == path.read_bytes(), relative


@pytest.mark.long
def test_a_second_run_elsewhere_gives_the_same_bytes(finished, smoke_config, tmp_path):
    again = new_place(tmp_path)
    run = again.snakemake(smoke_config)
    assert run.returncode == 0, run.stdout[-3000:]
    for path in sorted(_results(finished).rglob("*")):
        relative = path.relative_to(_results(finished))
        if (
            relative.parts[0] != "logs"
            and path.suffix in (".safetensors", ".json", ".csv", ".md", ".tex", ".png", ".pdf", ".h5")
            and (not path.name.startswith("circumstances") and not path.name.endswith("_speed.csv"))
        ):
            assert (_results(again) / relative).read_bytes() == path.read_bytes(), relative


def test_running_again_does_nothing_and_says_so(finished, smoke_config):
    run = finished.snakemake(smoke_config)
    assert "Nothing to be done" in run.stdout


def test_the_probes_epochs_rerun_probes_and_what_follows(finished, smoke_config):
    smoke_config["probe"]["epochs"] = 4
    assert finished.planned(smoke_config) == {
        "probe_all": 4,
        **dict.fromkeys(("table", "figure", "claims"), 1),
        **dict.fromkeys(COLLECTED, 1),
    }


def test_another_alpha_adds_only_its_runs(finished, smoke_config):
    smoke_config["artifacts"]["figure8"]["runs"]["alpha"] = [20, 40]
    assert finished.planned(smoke_config) == {
        "cache_teacher": 1,
        "distill": 2,
        "features_all": 2,
        "probe_all": 2,
        "figure": 1,
        "claims": 1,
        **dict.fromkeys(COLLECTED, 1),
    }


def test_images_choose_the_blocks_and_the_time_is_drawn(copied, smoke_config):
    """Once a rule; the students that copy them wait for it, and no other is made again."""
    rules = {**PAIR, "method": ["weight_copy"], "layers": ["influence", "search"]}
    words = {"title": "Another", "caption": "A caption."}
    table = {"kind": "table", **words, "rows": ["layers", "method"], "runs": rules, "datasets": ["digits"]}
    speed = {"kind": "seconds", **words, "runs": PAIR, "datasets": ["digits", "tags"]}
    smoke_config["artifacts"] |= {"rules": table, "speed": speed}
    assert copied.planned(smoke_config) == {
        "choose_blocks": 2,
        **dict.fromkeys(("distill", "features_all", "probe_all"), 2),
        **dict.fromkeys(("table", "seconds", "claims"), 1),
        **dict.fromkeys(COLLECTED, 1),
    }
    run = copied.snakemake(smoke_config)
    assert run.returncode == 0, run.stdout[-3000:]
    teacher = load_file(copied.folder / "tiny.safetensors")
    for rule in ("influence", "search"):
        chosen = json.loads((_results(copied) / f"teachers/tiny/blocks/{rule}_a20.json").read_text())
        folder = _results(copied) / f"runs/tiny/weight_copy_r2_a20_{rule}"
        about = json.loads((folder / "student.json").read_text())
        assert about["recipe"]["layers"] == rule and about["blocks"] == chosen["kept"]["2"]
        student = load_file(folder / "student.safetensors")
        for number, block in enumerate(about["blocks"]):
            assert torch.equal(student[f"blocks.{number}.mlp.fc2.weight"], teacher[f"blocks.{block}.mlp.fc2.weight"])
    printed = (_results(copied) / "tables/rules.md").read_text()
    assert all(label in printed for label in ("highest influence", "search", "Weight copy alone"))
    points = pd.read_csv(_results(copied) / "figures/speed.csv").set_index(["method", "dataset"])
    for slug in ("weco_kd_r2_a20_s0", "wecolora_r2_k4_a20_s0"):
        took = json.loads((_results(copied) / f"runs/tiny/{slug}/circumstances.json").read_text())["seconds"]
        assert points["seconds"][slug.split("_r2")[0], "tags"] == pytest.approx(took)
    assert "Nothing to be done" in copied.snakemake(smoke_config).stdout


def test_other_targets_rerun_no_run(finished, smoke_config):
    smoke_config["targets"] = ["figure8"]
    assert finished.planned(smoke_config) == dict.fromkeys(COLLECTED, 1)


def test_other_pixels_reach_the_students_even_when_a_run_stops_after_the_index(copied, smoke_config):
    """Only the pixels change: the names and labels in the index are the same."""
    smoke_config["datasets"][smoke_config["corpus"]["dataset"]]["seed"] = 5
    corpus = f"results/smoke/data/{smoke_config['corpus']['dataset']}/index.parquet"
    run = copied.snakemake(smoke_config, corpus)
    assert run.returncode == 0, run.stdout
    assert {"subset", "cache_teacher", "distill"} <= set(copied.planned(smoke_config))


def test_a_caption_reruns_one_table(finished, smoke_config):
    smoke_config["artifacts"]["table3"]["caption"] = "Another caption."
    assert finished.planned(smoke_config) == dict.fromkeys(("table", *COLLECTED - {"collect"}), 1)


def test_touching_everything_reruns_nothing(copied, smoke_config):
    for path in [*copied.folder.rglob("*"), *copied.workflow.rglob("*")]:
        if ".snakemake" not in path.parts:
            os.utime(path)
    assert copied.planned(smoke_config) == {}


def test_a_fresh_clone_with_a_comment_more_reruns_nothing(copied, smoke_config):
    for path in copied.workflow.rglob("*.py"):
        path.write_text(path.read_text() + "\n# A comment.\n")
    assert copied.planned(smoke_config) == {}


@pytest.mark.long
def test_the_scheduler_looks_once_for_each_job_that_ends(copied, smoke_config):
    """With Snakemake's limit of jobs a second, it looks the more often the more jobs have ended."""
    smoke_config["probe"]["epochs"] = 4
    run = copied.snakemake(smoke_config, "--verbose", "--cores", "1")
    assert run.returncode == 0, run.stdout[-3000:]
    ended, looks = run.stdout.count("Finished jobid"), run.stdout.count("Ready jobs:")
    assert ended > 8 and looks <= ended + 1


def test_a_raised_revision_reruns_its_stage_and_what_follows(copied, smoke_config):
    path = copied.workflow / "wecolora" / "campaign" / "revisions.py"
    now = f'"features": {REVISIONS["features"]}'
    path.write_text(path.read_text().replace(now, '"features": 99'))
    plan = copied.planned(smoke_config)
    assert plan.pop("all") == 1
    assert set(plan) == {"features_all", "probe_all", "table", "figure", "latent", "claims", "collect", "report"}


def test_a_changed_cache_is_refused_by_name(copied, smoke_config):
    shard = copied.folder / "results/smoke/teachers/tiny/cache/000.h5"
    content = bytearray(shard.read_bytes())
    content[-5] ^= 1
    shard.write_bytes(content)
    run = copied.snakemake(smoke_config, "--force", "results/smoke/runs/tiny/weco_kd_r2_a20_s0/student.safetensors")
    assert run.returncode != 0
    assert "000.h5 (shard 0)" in run.stdout
    assert not (copied.folder / "results/smoke/runs/tiny/weco_kd_r2_a20_s0/student.safetensors").exists()


def test_an_artifact_is_a_target_by_its_name(finished, smoke_config):
    run = finished.snakemake(smoke_config, "--dry-run", "--force", "table3")
    assert run.returncode == 0
    assert "figure8" not in run.stdout


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"targets": ["table9"]}, ["targets", "table9", "table3, figure8"]),
        ({"colour": "red"}, ["colour", "unknown key"]),
        ({"seeds": [-1]}, ["seeds.0", "-1"]),
    ],
)
def test_a_bad_config_is_refused_before_anything_is_planned(finished, smoke_config, change, words):
    run = finished.snakemake({**smoke_config, **change}, "--dry-run")
    assert run.returncode != 0
    for word in words:
        assert word in run.stdout
    assert "Traceback" not in run.stdout
    assert "Job stats" not in run.stdout


def test_each_job_left_its_files_and_a_log_where_status_looks(finished, monkeypatch):
    monkeypatch.chdir(finished.folder)
    found = jobs(Campaign(SMOKE))
    assert {job.rule for job in found} == {"prepare", "subset", "cache_teacher", "distill", "features", "probe"}
    assert all(job.done and Path(job.log).exists() for job in found)
