"""The progress of long work: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

from tqdm import tqdm

SECONDS = 5  # the least time between two lines of a log
tqdm.monitor_interval = 0  # no thread: a fork, as of a process that decodes images, would cut it off
log = logging.getLogger("wecolora")

# Takes a total and its unit, and returns a function to call with the number done.
Starting = Callable[[int, str], Callable[[int], None]]


def silent(total: int, unit: str) -> Callable[[int], None]:
    """Return a function that takes the number done and shows nothing."""
    return lambda done: None


class Progress:
    """The progress of ``total`` units of work, to be called with the number done.

    On a terminal it draws a bar. In the log it writes a line at each tenth, unless the last line is only SECONDS old,
    and a line at the end; each line gives the number of units a second since the start.
    """

    def __init__(self, total: int, unit: str) -> None:
        self.total, self.unit, self.tenth = total, unit, 0
        self.started = self.told = time.monotonic()
        self.bar = tqdm(total=total, unit=unit, disable=None if sys.stderr else True, leave=False)

    def __call__(self, done: int) -> None:
        self.bar.update(done - self.bar.n)
        now = time.monotonic()
        tenth = done * 10 // max(self.total, 1)
        if tenth > self.tenth and (done == self.total or now - self.told > SECONDS):
            self.tenth, self.told = tenth, now
            log.info("%d of %d %s, %.0f a second", done, self.total, self.unit, done / max(now - self.started, 1e-3))
