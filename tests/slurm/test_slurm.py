"""The shipped profile on a real Slurm: what an undisturbed campaign does, and what a disturbed one gives in the end."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file

from tests.slurm.cluster import ask, wait_for
from tests.slurm.conftest import CONFIG, SIZES, Campaign

RUNS = ["weco_kd_r2_a20_s0", "wecolora_r2_k4_a20_s0"]
ON_GPU = {"cache_teacher", "distill", *(f"tiny_{run}" for run in RUNS)}


def slots(cluster):
    """The GPU slots of each Slurm job's last step, which does the work."""
    found = {}
    for line in (cluster.folder / "slots").read_text().splitlines():
        job, *slot = line.split()
        found[job] = slot
    return found


def span(log):
    """When a job began and ended, in the words of its log."""
    times = [line[:19] for line in log.read_text().splitlines() if line.startswith("20")]
    return times[0], times[-1]


def state(job):
    """Of a Slurm job."""
    return ask("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T")


@pytest.mark.long
def test_the_smoke_campaign_on_two_gpu_slots(cluster, request, tmp_path):
    """And then another recipe for the probes of one data set, at a site that wants ``gres``."""
    campaign = Campaign(tmp_path)
    snakemake = campaign.start(*SIZES)
    undisturbed = request.getfixturevalue("undisturbed")  # meanwhile, and without Slurm
    assert snakemake.wait() == 0, campaign.said()[-5000:]
    assert campaign.artifacts() == undisturbed.artifacts()
    assert campaign.leftovers() == []
    jobs = campaign.submitted()
    assert set(jobs) == {*ON_GPU, "prepare"}, "rules that take seconds are local"
    slot = slots(cluster)
    for name, numbers in jobs.items():
        for number in numbers:
            assert slot[number] in ([["0"], ["1"]] if name in ON_GPU else [[]]), name
    assert {slot[number][0] for number in jobs["distill"]} == {"0", "1"}
    # A run's features and probes, two of each, share a job, one after the other.
    assert [len(jobs[f"tiny_{run}"]) for run in RUNS] == [1, 1]
    for run in RUNS:
        logs = [campaign.root / f"logs/{rule}/tiny/{run}" for rule in ("features", "probe")]
        spans = sorted(span(log) for folder in logs for log in folder.glob("*.log"))
        assert len(spans) == 4
        assert all(ended <= began for (_, ended), (began, _) in pairwise(spans))

    before = campaign.said()
    made = campaign.artifacts()
    campaign.write({**CONFIG, "probe_of": {"tags": {"epochs": 4}}})
    wanted = ["probe_tags:gpu=0", "probe_tags:gres=gpu:1"]
    assert campaign.run(*SIZES, "--set-resources", *wanted) == 0, campaign.said()[-5000:]
    stats = campaign.said().removeprefix(before).split("Job stats:")[1].split("total")[0]
    assert dict(re.findall(r"^((?:prepare|cache|distill|features|probe)\w*) +(\d+)$", stats, re.M)) == {
        "probe_tags": "2"
    }
    again = [jobs for jobs in campaign.submitted().items() if jobs[0] not in {*ON_GPU, "prepare"}]
    assert {slots(cluster)[number][0] for _, numbers in again for number in numbers} == {"0", "1"}
    changed = {name for name, content in campaign.artifacts().items() if content != made[name]}
    scores = {f"runs/tiny/{run}/scores/tags.json" for run in RUNS}
    assert {name for name in changed if name.startswith("runs/")} == scores


def test_a_disturbed_campaign_gives_the_same_bytes(cluster, undisturbed, tmp_path):
    """What SIGTERM alone does, the last test here shows."""
    campaign = Campaign(tmp_path)

    def run_out_of_time(found):
        """For good: no step is made until the limit strikes."""
        job, process = found
        os.kill(process, signal.SIGSTOP)
        ask("scontrol", "update", f"JobId={job}", "EndTime=now+1")

    def lose_the_node(_):
        cluster.crash()
        wait_for("the node is gone", lambda: ask("sinfo", "--noheader", "--format=%T").startswith("down"), 60)
        cluster.start("slurmd")

    def kill(process):
        os.kill(process, signal.SIGKILL)

    def kill_the_probe(found):
        """All that its job has made is lost with it."""
        job, probe = found
        kill(probe)
        wait_for("the end of its job", lambda: state(job) == "FAILED")

    def both(*found):
        return found if all(found) else None

    def preempt(found):
        """Both distillations, by a job that may; Slurm starts them again, under their numbers. The one that comes first
        waits until the other, too, has something to resume."""
        _, process = found
        os.kill(process, signal.SIGSTOP)
        wait_for("epochs of both", lambda: all(distilling(run, "epoch 5/") for run in RUNS))
        os.kill(process, signal.SIGCONT)
        jobs = [running(f"distill_wildcards_tiny_{run}") for run in RUNS]
        sbatch = ["sbatch", "--parsable", "--partition=urgent", "--gpus=2", "--mem=100", "--wrap", "sleep 1"]
        urgent = ask(*sbatch, f"--output={tmp_path}/urgent.out")
        wait_for("the urgent job", lambda: state(urgent) == "COMPLETED")
        assert all("Restarts=1" in ask("scontrol", "show", "job", job) for job in jobs)

    def begun(run, words):
        """A distillation's job and process, once its log has these words."""
        return both(distilling(run, words), process("distill", run))

    def after(run):
        """A process that extracts or probes."""
        return process("features", run) or process("probe", run)

    distilling, running, process = campaign.distilling, campaign.running, campaign.process
    # What strikes whom: the first job, or process, that is found gets it.
    faults = {
        "scancel": (lambda: running("prepare_wildcards_photos"), lambda job: ask("scancel", job)),
        "kill a shard": (lambda: process("cache_teacher"), kill),
        "preemption": (lambda: begun(RUNS[0], "epoch 5/") or begun(RUNS[1], "epoch 5/"), preempt),
        "time limit": (lambda: begun(RUNS[1], "resumed after"), run_out_of_time),
        "controller": (lambda: "time limit" not in faults and after(RUNS[0]), lambda _: cluster.restart("slurmctld")),
        "kill a probe": (lambda: both(running(f"tiny_{RUNS[0]}"), process("probe", RUNS[0])), kill_the_probe),
        "node": (lambda: after(RUNS[1]), lose_the_node),
    }
    snakemake = campaign.start(*SIZES)
    end = time.monotonic() + 900
    try:
        while snakemake.poll() is None:
            assert time.monotonic() < end, campaign.said()[-5000:]
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
    assert all("resumed after epoch" in campaign.distilled(run) for run in RUNS)


@pytest.fixture
def copied(undisturbed, tmp_path):
    """The finished campaign, to be spoilt."""
    shutil.copytree(undisturbed.folder, tmp_path / "copied")
    return Campaign(tmp_path / "copied")


@pytest.mark.long
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


@pytest.mark.long
def test_two_jobs_on_one_output_after_snakemake_was_killed(cluster, copied, undisturbed):
    run = RUNS[1]
    (copied.root / f"logs/distill/tiny/{run}.log").unlink()
    student = copied.root / f"runs/tiny/{run}/student.safetensors"
    student.unlink()
    target = str(student.relative_to(copied.folder))
    first = copied.start(target, *SIZES)
    wait_for("some epochs", lambda: copied.distilling(run, "epoch 5/"), 300)
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


@pytest.mark.long
def test_two_gpus_distil_one_student_and_are_stopped(cluster, copied, undisturbed):
    """Two pretended ones: the processes run on cores and talk by gloo."""
    run = RUNS[1]
    student = copied.root / f"runs/tiny/{run}/student.safetensors"
    alone = load_file(student)
    student.unlink()
    (copied.root / f"logs/distill/tiny/{run}.log").unlink()
    wanted = ["--set-resources", "distill:gpu=2", "distill:nodes=1"]
    snakemake = copied.start(str(student.relative_to(copied.folder)), *SIZES, *wanted)
    wait_for("some epochs", lambda: copied.distilling(run, "epoch 5/"), 120)
    assert "2 processes" in copied.distilled(run)
    job = copied.running("distill")
    ask("scancel", "--signal=TERM", job)
    wait_for("the end of the first attempt", lambda: state(job) == "FAILED")
    assert "and saved" in copied.distilled(run)
    assert snakemake.wait() == 0, copied.said()[-5000:]
    assert "resumed after epoch" in copied.distilled(run)
    assert [slots(cluster)[job] for job in copied.submitted()["distill"][-2:]] == [["0,1"], ["0,1"]]
    together = load_file(student)
    assert together.keys() == alone.keys()
    apart = torch.cat([(together[name] - alone[name]).flatten() for name in alone])
    assert apart.norm() < 0.01 * torch.cat([tensor.flatten() for tensor in alone.values()]).norm()
    assert copied.leftovers() == []
