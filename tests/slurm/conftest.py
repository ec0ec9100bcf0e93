"""One Slurm for all tests here, and the smoke campaign through the shipped profile."""

from __future__ import annotations

import copy
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.slurm.cluster import Cluster, ask, missing
from tests.workflow.conftest import REPOSITORY, SMOKE, new_place

# Two runs and two probes each; distillations of some ten seconds, so that a fault can strike in the middle of one.
CONFIG = copy.deepcopy(SMOKE)
for name in ("digits", "tags"):
    del CONFIG["datasets"][name]["job"]
CONFIG["artifacts"] = {"table3": CONFIG["artifacts"]["table3"]}
CONFIG["artifacts"]["table3"]["runs"]["method"] = ["weco_kd", "wecolora"]
CONFIG["distill"]["epochs"] = 150
# All that is overridden: the partition, and sizes, for the two cores of a test machine.
SIZES = ["--default-resources", "slurm_partition=one", "mem_mb=16000 * attempt", "runtime=120 * attempt"]
SIZES += ["--set-threads", "distill=1", "--latency-wait", "10", "--slurm-init-seconds-before-status-checks", "1"]


@dataclass
class Campaign:
    """The smoke campaign in a folder of its own."""

    folder: Path

    def __post_init__(self) -> None:
        if not (self.folder / "smoke.yaml").exists():
            new_place(self.folder)
        self.write(CONFIG)
        self.root = self.folder / "results" / "smoke"
        self.log = self.folder / "snakemake.out"

    def write(self, config: dict[str, Any]) -> None:
        """The config of what starts from now on."""
        (self.folder / "smoke.yaml").write_text(yaml.safe_dump(config, sort_keys=False))

    def start(self, *arguments: str, profile: str = "slurm") -> subprocess.Popen[bytes]:
        """Snakemake on its way; what it says goes to ``log``."""
        command = [sys.executable, "-m", "tests.slurm.asking", "--snakefile", str(REPOSITORY / "Snakefile")]
        command += ["--configfile", "smoke.yaml", "--workflow-profile", str(REPOSITORY / "profiles" / profile)]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*command, *arguments],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            )

    def run(self, *arguments: str, profile: str = "slurm") -> int:
        """Snakemake to its end; its exit status."""
        return self.start(*arguments, profile=profile).wait()

    def said(self) -> str:
        """All that Snakemake said."""
        return self.log.read_text()

    def submitted(self) -> dict[str, list[str]]:
        """The Slurm jobs of each rule, or of each run whose data sets share one, in order."""
        jobs: dict[str, list[str]] = {}
        for number, name in re.findall(r"SLURM jobid (\d+) \(log: .*/slurm_logs/(?:rule|group)_([\w.]+)/", self.said()):
            jobs.setdefault(name.partition("_features_")[0], []).append(number)
        return jobs

    def running(self, what: str) -> str | None:
        """The Slurm job that runs now and whose rule and wildcards contain these words."""
        lines = ask("squeue", "--noheader", "--states=RUNNING", "--format=%i %k %Z").splitlines()
        return next((line.split()[0] for line in lines if what in line and str(self.folder) in line), None)

    def process(self, rule: str, run: str = "") -> int | None:
        """A process that does the work of a job: the innermost of those that Slurm started."""
        return next(self.processes(rule, run), None)

    def processes(self, rule: str, run: str = "") -> Iterator[int]:
        """All of these."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_text()
                parent = (folder / "status").read_text().split("PPid:\t")[1].split("\n")[0]
                above = Path(f"/proc/{parent}/cmdline").read_text(encoding="utf-8")
            except OSError:
                continue
            if f"{self.folder}/.snakemake/scripts/" in command and f".{rule}.py" in command and run in above:
                yield int(folder.name)

    def distilling(self, run: str, words: str) -> str | None:
        """The Slurm job of a distillation whose log has these words by now, and no error of an attempt before."""
        said = self.distilled(run)
        if words in said and "ERROR" not in said:
            return self.running(f"distill_wildcards_tiny_{run}")
        return None

    def distilled(self, run: str) -> str:
        """What the last attempt of a distillation said."""
        log = self.root / "logs" / "distill" / "tiny" / f"{run}.log"
        return log.read_text() if log.exists() else ""

    def resumable(self) -> list[Path]:
        """The training states that wait for a next attempt."""
        return list((self.folder / "results" / ".resume").glob("*"))

    def leftovers(self) -> list[Path]:
        """What a finished campaign must not leave."""
        locks = (self.folder / ".snakemake" / "locks").glob("*")
        return [*self.root.rglob("*.part"), *self.resumable(), *locks]

    def artifacts(self) -> dict[str, bytes]:
        """The bytes of all that a campaign makes, less what tells of dates and durations."""
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in sorted(self.root.rglob("*.*"))
            if path.is_file()
            and not {"logs", "benchmarks"} & {*path.parts}
            and not path.name.startswith("circumstances")
            and not path.name.endswith(("_speed.csv", "report.html"))
        }


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Slurm, from the first test that wants it to the last."""
    why_not = missing()
    if why_not:
        pytest.skip(f"SKIPPED, NOTHING OF tests/slurm RAN: {why_not}")
    found = Cluster()
    # A terminated test session, too, stops what it started.
    signal.signal(signal.SIGTERM, lambda number, frame: pytest.exit("SIGTERM", returncode=128 + number))
    try:
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="session")
def undisturbed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """The campaign as this machine makes it without Slurm."""
    campaign = Campaign(tmp_path_factory.mktemp("undisturbed"))
    assert campaign.run("--cores", "2", profile="default") == 0, campaign.said()[-5000:]
    return campaign
