"""How far long work is: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

from tqdm import tqdm

SECONDS = 5  # at least, between two lines
tqdm.monitor_interval = 0  # no thread, which the fork of a process that decodes images would cut off
log = logging.getLogger("wecolora")

# Makes, of a total and its unit, what is then called with the number done.
Starting = Callable[[int, str], Callable[[int], None]]


def silent(total: int, unit: str) -> Callable[[int], None]:
    """No progress."""
    return lambda done: None


class Progress:
    """Call with the number done: a bar on a terminal; a line in the log at each tenth, unless seconds after the last,
    and at the end, with the number a second since the start."""

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
