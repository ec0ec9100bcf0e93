"""A running campaign as its user watches it: a bar for each stage on a terminal, and a line for each job elsewhere.

It reads what jobs leave (see status), so it shows a campaign on this machine and on a cluster alike.
"""

from __future__ import annotations

import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from wecolora.campaign.selection import Campaign
from wecolora.campaign.status import Seen, Status, look
from wecolora.core.job import duration

LEAST = 1.0  # seconds between two looks
SHARE = 20  # a look that takes a second is followed by so many seconds without one
UP_TO_DATE = "Nothing to be done"  # what Snakemake says then
LAST_LINES = 20  # of Snakemake's own output, where no job tells why it ended
STAGES = {
    "prepare": "images",
    "subset": "subsets",
    "fetch_teacher": "teachers",
    "cache_teacher": "teacher caches",
    "choose_blocks": "choices of blocks",
    "distill": "students",
    "features": "features",
    "probe": "probes",
}


class Watch:
    """What is shown of a campaign while it runs: bars if the console is a terminal, and news as lines."""

    def __init__(self, campaign: Campaign, console: Console) -> None:
        self.campaign, self.console = campaign, console
        first = look(campaign)
        self.done = {one.job.log for one in first.of("done")}
        self.failed: set[str] = set()
        # Failures of an earlier attempt are no news until their jobs run again.
        self.old = {(one.job.log, one.words) for one in first.of("failed")}
        self.bars = Progress(
            TextColumn("{task.description:>17}"),
            BarColumn(24),
            TextColumn("{task.completed:>5.0f} of {task.total:.0f}"),
            TextColumn("{task.fields[words]}", markup=False),
            console=console,
            disable=not console.is_terminal,
            auto_refresh=False,
            transient=True,
        )
        counts = Counter(one.job.rule for one in first.seen)
        self.tasks: dict[str, TaskID] = {
            rule: self.bars.add_task(STAGES[rule], total=count, words="") for rule, count in counts.items()
        }
        self.all = self.bars.add_task("all jobs", total=len(first.seen), words="")

    def update(self) -> Status:
        """Look at the campaign, and show what is new."""
        status = look(self.campaign)
        for one in status.of("done"):
            if one.job.log not in self.done:
                self.done.add(one.job.log)
                took = "" if one.seconds is None else f" in {duration(one.seconds)}"
                self._news(f"{_name(one)}: done{took} ({len(self.done)} of {len(status.seen)})", bars_tell=True)
        for one in status.of("running"):
            self.old = {old for old in self.old if old[0] != one.job.log}
        for one in status.of("failed"):
            if (one.job.log, one.words) not in self.old:
                self.old.add((one.job.log, one.words))
                self.failed.add(one.job.log)
                self._news(f"{_name(one)}: FAILED: {one.words} ({one.job.log})")
        for rule, task in self.tasks.items():
            of_rule = [one for one in status.seen if one.job.rule == rule]
            done = sum(one.state == "done" for one in of_rule)
            self.bars.update(task, completed=done, words=_words(of_rule))
        self.bars.update(self.all, completed=len(status.of("done")), words=_left(status))
        self.bars.refresh()
        return status

    def _news(self, line: str, bars_tell: bool = False) -> None:
        if not (bars_tell and self.console.is_terminal):
            self.bars.console.print(line, soft_wrap=True, markup=False, highlight=False)


def _name(one: Seen) -> str:
    """Return what a job is about, in words: its rule and its log's name."""
    parts = Path(one.job.log).with_suffix("").parts
    return " ".join([one.job.rule, "/".join(parts[parts.index(one.job.rule) + 1 :])])


def _words(seen: Sequence[Seen]) -> str:
    """Return how many jobs of a stage run, and the last words of the one that spoke last."""
    running = sorted((one for one in seen if one.state == "running"), key=lambda one: one.seconds or 0)
    if not running:
        return ""
    more = f"{len(running)} running: " if len(running) > 1 else ""
    return f"{more}{running[0].words}"[:90]


def _left(status: Status) -> str:
    """Return about how long the jobs take that are not done, if as many run at once as now; nothing while unknown."""
    seconds, unknown = status.seconds_left()
    if not seconds:
        return ""
    more = " and more" if unknown else ""
    return f"about {duration(seconds / max(1, len(status.of('running'))))}{more} left"


def follow(command: Sequence[str], campaign: Campaign, console: Console) -> int:
    """Run Snakemake's command, show its campaign until it ends, and return its exit status.

    Its own output goes to its log file (.snakemake/log). A signal to this process reaches it, too.
    """
    with tempfile.TemporaryFile() as output:
        watch = Watch(campaign, console)
        with watch.bars, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as snakemake:
            before = signal.signal(signal.SIGTERM, lambda number, frame: snakemake.send_signal(number))
            try:
                _until_it_ends(snakemake, watch)
            finally:
                signal.signal(signal.SIGTERM, before)
        status = watch.update()
        _tell_the_end(watch, status, snakemake.returncode, _text(output))
    return snakemake.returncode


def _until_it_ends(snakemake: subprocess.Popen[bytes], watch: Watch) -> None:
    while snakemake.poll() is None:
        try:
            started = time.monotonic()
            watch.update()
            snakemake.wait(max(LEAST, SHARE * (time.monotonic() - started)))
        except subprocess.TimeoutExpired:
            pass
        except KeyboardInterrupt:  # the terminal sends it to Snakemake, too, which ends its jobs
            watch.console.print("Interrupted: waiting for the jobs to end; the next run goes on from here.")


def _text(output: IO[bytes]) -> str:
    output.seek(0)
    return output.read().decode(errors="replace")


def _tell_the_end(watch: Watch, status: Status, code: int, output: str) -> None:
    """Print the lines that matter at the end: what failed, or where the results are."""

    def tell(line: str) -> None:
        watch.console.print(line, soft_wrap=True, markup=False, highlight=False)

    layout = watch.campaign.layout
    if code == 0:
        if UP_TO_DATE in output:
            tell(f"{UP_TO_DATE}: all of it is there, and up to date.")
        runs, scores = len(watch.campaign.trained()), len(watch.campaign.all_scores())
        tell(f"{runs} runs and {scores} scores are in {layout.root}.")
        tell(f"The report is {layout.report}: open it in a browser.")
        return
    if not watch.failed:
        for line in output.splitlines()[-LAST_LINES:]:
            tell(line)
    left = len(status.seen) - len(status.of("done"))
    tell(f"It ended with {len(watch.failed)} failed jobs; {left} jobs are left. The same command goes on from here.")
