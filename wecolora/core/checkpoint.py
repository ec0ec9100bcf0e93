"""What survives a killed job in results/.resume, and is removed on success: a training state, or computed rows.

A training state is replaced whole. Rows are computed in order and saved in pieces.
"""

from __future__ import annotations

import io
import logging
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch import Tensor

from wecolora.core.files import atomic_write

log = logging.getLogger("wecolora")
DIGEST = 16  # bytes of xxh3_128 after the state; without it, a changed byte would change the student unseen


class Checkpoint:
    """The saved state of one recipe on one set of inputs; their fingerprint is the file's name.

    With ``folder`` None, nothing is kept.
    """

    def __init__(self, folder: str | Path | None, fingerprint: str) -> None:
        self.path = None if folder is None else Path(folder) / f"{fingerprint}.pt"
        self.spent = 0.0  # seconds, of earlier attempts up to the state that was loaded
        self.began = time.monotonic()
        self.saved = False  # by this attempt, whose own seconds then stand in the file

    def load(self) -> dict[str, Any] | None:
        """Return the saved state, or None if there is none.

        A file that cannot be read counts as none: log a warning, and the run starts anew.
        """
        if self.path is None or not self.path.exists():
            return None
        try:
            content = memoryview(self.path.read_bytes())
            if xxhash.xxh3_128_digest(content[:-DIGEST]) != content[-DIGEST:]:
                raise EOFError("its checksum is another")
            state: dict[str, Any] = torch.load(io.BytesIO(content[:-DIGEST]), map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            log.warning("WARNING: %s: cannot be used (%s); its work is done again.", self.path, error)
            return None
        seconds = state.pop("seconds", 0.0)
        if not self.saved:
            self.spent = seconds
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Replace the saved state."""
        if self.path is not None:
            content = io.BytesIO()
            torch.save({**state, "seconds": self.spent + time.monotonic() - self.began}, content)
            content.write(xxhash.xxh3_128_digest(content.getbuffer()))
            with atomic_write(self.path) as temporary:
                temporary.write_bytes(content.getbuffer())
            self.saved = True

    def remove(self) -> None:
        """Remove the saved state, because the run is done."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


class RowsCheckpoint:
    """The saved rows of one recipe on one set of inputs.

    With ``folder`` None, nothing is kept. Two jobs that compute the same rows do not harm each other.
    """

    def __init__(self, folder: str | Path | None, fingerprint: str) -> None:
        self.folder, self.fingerprint = folder, fingerprint

    def load(self, part: str) -> Iterator[Tensor]:
        """Yield the saved pieces of a part, from its first row on, in order."""
        start = 0
        while (saved := self._piece(part, start).load()) is not None:
            yield saved["rows"]
            start += len(saved["rows"])

    def save(self, part: str, start: int, rows: Tensor) -> None:
        """Save rows (n, ...) with n > 0; the first of them is row ``start`` of its part."""
        assert len(rows)
        self._piece(part, start).save({"rows": rows})

    def remove(self) -> None:
        """Remove the saved rows, because the result holds them now."""
        if self.folder is not None:
            for path in Path(self.folder).glob(f"{self.fingerprint}_*.pt"):
                path.unlink(missing_ok=True)

    def _piece(self, part: str, start: int) -> Checkpoint:
        return Checkpoint(self.folder, f"{self.fingerprint}_{part}_{start}")
