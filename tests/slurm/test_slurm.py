"""The shipped profile on a real Slurm: what an undisturbed campaign does, and what a disturbed one gives in the end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time

import pytest

from tests.slurm.cluster import ask, wait_for
from tests.slurm.conftest import SIZES, Campaign

RUNS = ["weco_kd_r2_a20_s0", "wecolora_r2_k4_a20_s0"]
ON_GPU = {"cache_teacher", "distill", "features_all", "probe_all"}


def test_the_smoke_campaign_on_two_gpu_slots(cluster, undisturbed, tmp_path):
    campaign = Campaign(tmp_path)
    assert campaign.run(*SIZES) == 0, campaign.said()[-5000:]
    assert campaign.artifacts() == undisturbed.artifacts()
    assert campaign.leftovers() == []
    jobs = campaign.submitted()
    assert set(jobs) == {*ON_GPU, "prepare"}, "rules that take seconds are local"
    slots = {}
    for line in (cluster.folder / "slots").read_text().splitlines():
        job, *slot = line.split()
        slots[job] = slot  # of the job's last step, which does the work
    for rule, numbers in jobs.items():
        for number in numbers:
            assert slots[number] in ([["0"], ["1"]] if rule in ON_GPU else [[]]), rule
    assert {slots[number][0] for number in jobs["distill"]} == {"0", "1"}


def test_a_disturbed_campaign_gives_the_same_bytes(cluster, undisturbed, tmp_path):
    campaign = Campaign(tmp_path)

    def run_out_of_time(job):
        """For good: no step is made until the limit strikes."""
        os.kill(campaign.process("distill", "wecolora_r2"), signal.SIGSTOP)
        ask("scontrol", "update", f"JobId={job}", "EndTime=now+1")

    def lose_the_node(job):
        cluster.crash()
        wait_for("the node is gone", lambda: ask("sinfo", "--noheader", "--format=%T").startswith("down"), 60)
        cluster.start("slurmd")

    def kill(process):
        os.kill(process, signal.SIGKILL)

    # What strikes whom: the first job, or process, that is found gets it.
    faults = {
        "scancel": (lambda: campaign.running("prepare_wildcards_photos"), lambda job: ask("scancel", job)),
        "kill a shard": (lambda: campaign.process("cache_teacher"), kill),
        "SIGTERM": (lambda: campaign.trained("weco_kd_r2_a20_s0"), lambda job: ask("scancel", "--signal=TERM", job)),
        "time limit": (lambda: campaign.trained("wecolora_r2_k4_a20_s0"), run_out_of_time),
        "controller": (lambda: campaign.process("features", "weco_kd"), lambda process: cluster.restart("slurmctld")),
        "kill a probe": (
            lambda: campaign.process("probe", "weco_kd"),
            kill,
        ),
        "node": (lambda: campaign.running("features_all_wildcards_tiny_wecolora"), lose_the_node),
        "preemption": (
            lambda: campaign.process("probe", "wecolora_r2") and campaign.running("probe_all_wildcards_tiny_wecolora"),
            lambda job: ask("scontrol", "requeue", job),
        ),
    }
    snakemake = campaign.start(*SIZES)
    try:
        while snakemake.poll() is None:
            for name, (target, strike) in list(faults.items()):
                if found := target():
                    strike(found)
                    del faults[name]
            time.sleep(0.1)
    finally:
        snakemake.kill()
    assert snakemake.returncode == 0, campaign.said()[-5000:]
    assert faults == {}, "these did not strike"
    assert "TIMEOUT" in campaign.said()
    assert campaign.artifacts() == undisturbed.artifacts()
    assert campaign.leftovers() == []
    # The run that was stopped for good; the other may have ended before its signal came.
    assert "resumed after epoch" in (campaign.root / "logs/distill/tiny/wecolora_r2_k4_a20_s0.log").read_text()


@pytest.fixture
def copied(undisturbed, tmp_path):
    """The finished campaign, to be spoilt."""
    shutil.copytree(undisturbed.folder, tmp_path / "copied")
    return Campaign(tmp_path / "copied")


def test_a_full_disk_is_named_and_room_is_all_that_it_takes(copied, undisturbed):
    """With a cache that vanished."""
    shard = copied.root / "teachers/tiny/cache/000.h5"
    shard.unlink()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(shard.parent)]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    keep = shard.parent / "keep"  # a folder that is empty is removed with what is missing
    try:
        keep.touch()
        assert copied.run("caches", *SIZES, "--retries", "0") != 0
        assert list(shard.parent.iterdir()) == [keep]
    finally:
        subprocess.run(["umount", str(shard.parent)], check=True)
    assert "000.h5: takes" in copied.said() and "free space and run again" in copied.said()
    assert copied.run("caches", *SIZES) == 0, copied.said()[-5000:]
    assert copied.artifacts() == undisturbed.artifacts()
    assert copied.leftovers() == []


def test_two_jobs_on_one_output_after_snakemake_was_killed(cluster, copied, undisturbed):
    run = RUNS[1]
    (copied.root / f"logs/distill/tiny/{run}.log").unlink()
    student = copied.root / f"runs/tiny/{run}/student.safetensors"
    student.unlink()
    target = str(student.relative_to(copied.folder))
    first = copied.start(target, *SIZES)
    wait_for("some epochs", lambda: copied.trained(run), 300)
    orphan = copied.process("distill")
    os.kill(orphan, signal.SIGSTOP)
    first.kill()
    first.wait()
    assert copied.run(target, *SIZES) != 0 and "lock" in copied.said()
    assert copied.run("--unlock") == 0
    second = copied.start(target, *SIZES)
    wait_for("the second job", lambda: len(list(copied.processes("distill"))) == 2, 300)
    os.kill(orphan, signal.SIGCONT)
    assert second.wait() == 0, copied.said()[-5000:]
    wait_for("the end of the first job", lambda: not ask("squeue", "--noheader"), 300)
    assert copied.artifacts() == undisturbed.artifacts()
    assert copied.leftovers() == []
