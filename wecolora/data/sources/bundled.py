"""Sets that are drawn from pictures of installed packages (wecolora/data/bundled.py)."""

from __future__ import annotations

from pathlib import Path

from wecolora.config.datasets import Bundled
from wecolora.data.bundled import BUNDLED
from wecolora.data.images import ARRAY
from wecolora.data.listing import Entry, Listing


def listing(name: str, data: Bundled) -> Listing:
    """Return the images that are drawn, in their order."""
    drawn = BUNDLED[data.bundled](data.train, data.test, data.seed)
    entries = [
        Entry(f"{data.bundled}/{number:06d}", ARRAY, tuple(labels), split, offset=number)
        for number, (labels, split) in enumerate(zip(drawn.labels, drawn.split, strict=True))
    ]
    return Listing(Path(), drawn.classes, entries, pixels=drawn.images)
