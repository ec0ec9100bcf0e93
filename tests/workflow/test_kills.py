"""Jobs killed at random moments, and started again until they end: every file has the bytes of an undisturbed run."""

from __future__ import annotations

import copy
import multiprocessing
import os
import random
import runpy
import shutil
import time
from types import SimpleNamespace

import pytest

from tests.workflow.conftest import REPOSITORY, SMOKE
from wecolora.campaign.selection import Campaign
from wecolora.config.runs import RunSpec
from wecolora.core.files import remove_leftovers

KILLS = 12
RUN = "wecolora_r2_k4_a20_s0"
WILDCARDS = SimpleNamespace(teacher="tiny", run=RUN, shard="000")
SPEC = RunSpec.parse("tiny", RUN)


class Named(list):
    """Files of a job, by number and by name, as Snakemake hands them to a script."""

    def __init__(self, **files):
        super().__init__(files.values())
        vars(self).update(files)


@pytest.fixture(scope="module")
def jobs():
    """What Snakemake hands to the script of each stage."""
    config = copy.deepcopy(SMOKE)
    config["distill"]["epochs"] = 60
    campaign = Campaign(config)
    index, subset, paths = campaign.corpus, campaign.subset, campaign.layout
    weights, shards = campaign.weights("tiny"), campaign.shards(SPEC)
    probed = campaign.probe_jobs()["all"]
    features = [campaign.features(SPEC, name) for name in probed]
    student = {"student": campaign.student(SPEC), "about": campaign.about(SPEC)[0]}
    names = {"teacher": "tiny", "run": RUN, "job": "all"}
    files = {
        "cache_teacher": (
            Named(index=index, subset=subset, weights=weights),
            Named(cache=shards[0]),
            campaign.cache_recipe("tiny", 0),
        ),
        "distill": (
            Named(index=index, subset=subset, weights=weights, shards=shards, blocks=[]),
            Named(**student, provenance=paths.provenance.format(**names)),
            campaign.distill_recipe(SPEC),
        ),
        "features": (
            Named(student=student["student"], indexes=[campaign.index(name) for name in probed]),
            Named(features=features),
            campaign.feature_recipe(SPEC, probed),
        ),
        "probe": (
            Named(about=[student["about"]], features=features),
            Named(
                scores=[campaign.score(SPEC, name) for name in probed],
                provenance=paths.probe_provenance.format(**names),
            ),
            campaign.probe_recipe(SPEC, probed),
        ),
    }
    return {
        stage: SimpleNamespace(
            input=given,
            output=made,
            params=SimpleNamespace(recipe=recipe),
            wildcards=WILDCARDS,
            resources={"gpu": 1},
            threads=1,
            log=["logs/job.log"],
        )
        for stage, (given, made, recipe) in files.items()
    }


def _work(folder, stage, job):
    os.chdir(folder)
    runpy.run_path(str(REPOSITORY / "workflow_scripts" / f"{stage}.py"), {"snakemake": job}, "__main__")


@pytest.fixture(scope="module")
def starting(jobs):
    """Starts a stage's job in a process of its own, without the seconds that its imports take."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *(f"workflow_scripts.{stage}" for stage in jobs)])

    warm = context.Process(target=int)  # with the imports, so that the first job's time is its own
    warm.start()
    warm.join()

    def start(folder, stage):
        process = context.Process(target=_work, args=(folder, stage, jobs[stage]))
        process.start()
        return process

    return start


def _made(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in (folder / "results").rglob("*")
        if path.is_file() and not path.name.startswith("circumstances")
    }


@pytest.mark.parametrize("stage", ["cache_teacher", "distill", "features", "probe"])
def test_a_job_killed_at_random_moments_ends_with_the_same_bytes(finished, jobs, starting, stage, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    made = [path for files in jobs[stage].output for path in ([files] if isinstance(files, str) else files)]
    for folder in (whole, killed):
        shutil.copytree(finished.folder, folder, ignore=shutil.ignore_patterns(".snakemake"))
        for path in made:
            (folder / path).unlink(missing_ok=True)
    started = time.monotonic()
    undisturbed = starting(whole, stage)
    undisturbed.join()
    seconds = time.monotonic() - started
    assert undisturbed.exitcode == 0
    if stage != "distill":  # which has other epochs here
        assert _made(whole) == _made(finished.folder)
    moments = random.Random(0)
    said = ""
    for number in range(KILLS):
        process = starting(killed, stage)
        time.sleep(moments.uniform(0, seconds))
        if number % 2 and process.is_alive():
            process.terminate()
        else:
            process.kill()
        process.join()
        said += (killed / "logs/job.log").read_text() if (killed / "logs/job.log").exists() else ""
        for path in made:  # as Snakemake does before it starts a job again
            (killed / path).unlink(missing_ok=True)
    last = starting(killed, stage)
    last.join()
    assert last.exitcode == 0
    remove_leftovers(killed)
    assert _made(killed) == _made(whole)
    if stage == "distill":  # not always the last: one that came to its end before it was killed leaves no state
        assert "resumed after epoch" in said + (killed / "logs/job.log").read_text()
