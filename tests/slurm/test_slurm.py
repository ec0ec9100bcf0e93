"""The shipped profile on a real Slurm: what an undisturbed campaign does, and what a disturbed one gives in the end."""

from __future__ import annotations

import os
import signal
import time

from tests.slurm.cluster import ask, wait_for
from tests.slurm.conftest import SIZES, Campaign

RUNS = ["weco_kd_r2_a20_s0", "wecolora_r2_k4_a20_s0"]
ON_GPU = {"cache_teacher", "distill", "features_all", "probe_all", "computation"}


def test_the_smoke_campaign_on_two_gpu_slots(cluster, undisturbed, tmp_path):
    campaign = Campaign(tmp_path)
    assert campaign.run(*SIZES) == 0, campaign.said()[-5000:]
    assert campaign.artifacts() == undisturbed
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
    distilling = {run: campaign.root / f"logs/distill/tiny/{run}.log" for run in RUNS}

    def trained(run):
        """The job of a distillation that is some epochs old."""
        log = distilling[run]
        return log.exists() and "epoch 5/" in log.read_text() and campaign.running(f"distill_wildcards_tiny_{run}")

    def run_out_of_time(job):
        """For good: no step is made until the limit strikes."""
        os.kill(campaign.process("distill", "wecolora_r2"), signal.SIGSTOP)
        ask("scontrol", "update", f"JobId={job}", "TimeLimit=1")

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
        "SIGTERM": (lambda: trained("weco_kd_r2_a20_s0"), lambda job: ask("scancel", "--signal=TERM", job)),
        "time limit": (lambda: trained("wecolora_r2_k4_a20_s0"), run_out_of_time),
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
    assert campaign.artifacts() == undisturbed
    assert campaign.leftovers() == []
    for log in distilling.values():
        assert "resumed after epoch" in log.read_text()
