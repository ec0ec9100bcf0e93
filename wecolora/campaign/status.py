"""How far a campaign is: per artifact its runs that are done, running, failed or waiting, and what is left in hours.

Read from files alone, those that jobs leave and the state that they keep beside their logs, so that it works beside a
running campaign, on any node, and after a scheduler has forgotten its jobs. A job that was killed outright looks as if
it ran, and is told by how long it has been silent. One that has a log and no state is one of a version that wrote none,
or of a disk that was full.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from dataclasses import dataclass
from statistics import mean
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table

from wecolora.campaign.jobs import Job, jobs, there
from wecolora.campaign.selection import Campaign
from wecolora.config.runs import RunSpec
from wecolora.core.job import duration
from wecolora.core.state import read_state

State = Literal["done", "running", "failed", "waiting"]
SILENT = 30 * 60  # seconds without a word from a job that a reader should know of
NO_STATE = "its log has no state beside it, so that nobody knows whether it runs"


@dataclass(frozen=True)
class Seen:
    """A job's state; the last words of its log; seconds since, or seconds that it took, None where nobody knows."""

    job: Job
    state: State
    words: str = ""
    seconds: float | None = None


@dataclass(frozen=True)
class Status:
    """The status of a campaign: for each artifact the numbers of (done, running, failed, waiting) runs and whether its
    files are there; and every job."""

    artifacts: dict[str, tuple[int, int, int, int]]
    drawn: dict[str, bool]
    seen: list[Seen]

    def of(self, state: State) -> list[Seen]:
        """Return the jobs in a state."""
        return [seen for seen in self.seen if seen.state == state]

    def seconds_left(self) -> tuple[float, int]:
        """Return the seconds that are left, and the number of jobs that this leaves out.

        The seconds are those of the jobs that are not done, one after another, at the mean of their rule's. A job is
        left out if no job of its rule has ended yet, because nobody knows how long one takes.
        """
        taken: dict[str, list[float]] = defaultdict(list)
        for seen in self.of("done"):
            if seen.seconds is not None:
                taken[seen.job.rule].append(seen.seconds)
        left = [seen.job.rule for seen in self.seen if seen.state != "done"]
        return sum(mean(taken[rule]) for rule in left if taken[rule]), sum(not taken[rule] for rule in left)


def look(campaign: Campaign) -> Status:
    """Look at the files and the states of the chosen artifacts' jobs, and return the status."""
    seen = [_look_at(job) for job in jobs(campaign)]
    of_run: dict[RunSpec, list[Seen]] = defaultdict(list)
    for one in seen:
        if one.job.run:
            of_run[one.job.run].append(one)
    counts, drawn = {}, {}
    for name, artifact in campaign.config.chosen().items():
        wanted = set(artifact.datasets)
        states = [
            _of_run([one for one in of_run[run] if _concerns(one.job, wanted)]) for run in campaign.trained_for(name)
        ]
        counts[name] = tuple(states.count(state) for state in ("done", "running", "failed", "waiting"))
        drawn[name] = there(campaign.files_of(name))
    return Status(counts, drawn, seen)  # type: ignore[arg-type]


def _concerns(job: Job, datasets: set[str]) -> bool:
    """Tell whether an artifact on these data sets waits for a job of one of its runs.

    An artifact on no data set waits for students; the verdicts wait for all.
    """
    return not job.datasets or not datasets or bool(datasets & set(job.datasets))


def _of_run(seen: list[Seen]) -> State:
    states = {one.state for one in seen}
    for state in ("failed", "running"):
        if state in states:
            return state  # type: ignore[return-value]
    return "done" if states <= {"done"} else "waiting"


def _look_at(job: Job) -> Seen:
    told = read_state(job.log)
    if job.done:
        return Seen(job, "done", seconds=told.seconds if told else None)
    if told is None:
        return _without_state(job)
    if told.state == "done":  # its files were deleted, say with a job that shared its submission and failed
        return Seen(job, "waiting")
    if told.state == "running":
        return Seen(job, "running", told.words, time.time() - told.told.timestamp())
    return Seen(job, "failed", told.error or "interrupted")


def _without_state(job: Job) -> Seen:
    try:
        log = os.stat(job.log)
    except OSError:
        return Seen(job, "waiting")
    return Seen(job, "running", NO_STATE, time.time() - log.st_mtime) if log.st_size else Seen(job, "waiting")


def show(status: Status, name: str, console: Console) -> None:
    """Print a status: artifacts, what failed and why, what runs, what is left."""
    table = Table("artifact", box=box.SIMPLE_HEAD, title=name)
    for column in ("runs", "done", "running", "failed", "waiting", "drawn"):
        table.add_column(column, justify="right")
    for artifact, counts in status.artifacts.items():
        row = [str(count or "") for count in counts]
        table.add_row(artifact, str(sum(counts) or ""), *row, "yes" if status.drawn[artifact] else "")
    console.print(table)
    for seen in status.of("failed"):
        console.print(f"failed: {seen.job.log}: {seen.words}", soft_wrap=True)
    for seen in status.of("running"):
        age = seen.seconds or 0
        when = f"silent for {duration(age)}: killed?" if age > SILENT else f"{duration(age)} ago"
        console.print(f"running: {seen.job.log}: {seen.words}, {when}", soft_wrap=True)
    seconds, unknown = status.seconds_left()
    done = len(status.of("done"))
    about = f"; the others take about {duration(seconds)}, one after another" if seconds else ""
    rest = f"; of {unknown} there is no estimate yet" if unknown else ""
    console.print(
        f"{done} of {len(status.seen)} jobs are done (tables and figures not counted){about}{rest}.", soft_wrap=True
    )
