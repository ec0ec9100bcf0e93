"""The few-shot subsets: one nested, class-balanced order of a corpus; alpha takes a prefix of it (section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wecolora.core.errors import BadInput
from wecolora.core.files import atomic_write, unreadable
from wecolora.data.images import Index

Strategy = Literal["balanced", "uniform"]


def order_images(
    groups: Sequence[int] | None, count: int, seed: int, strategy: Strategy = "balanced"
) -> tuple[np.ndarray, np.ndarray]:
    """(order, share), int64 and float64 (count,): positions of the images in the order in which subsets take them, and
    for each place in it the smallest share in (0, 1] whose subset holds it.

    ``balanced``: image j (from 1) of a shuffled class of n is in every subset of share >= j / n, so that a share s
    holds floor(s * n) of each class and 1% lies in 2% lies in 5%. ``groups`` are the class numbers, read for the
    balance alone; without them (an unlabelled corpus), or with ``uniform``, all images are one class.
    """
    of = np.zeros(count, np.int64) if groups is None or strategy == "uniform" else np.asarray(groups, np.int64)
    found, sizes = np.unique(of, return_counts=True)
    members = np.split(np.argsort(of, kind="stable"), np.cumsum(sizes)[:-1])
    shuffled = [
        np.random.default_rng([seed, group]).permutation(rows) for group, rows in zip(found, members, strict=True)
    ]
    place = np.concatenate([np.arange(1, n + 1) for n in sizes])
    # Floats compare as the fractions do: of classes of less than 2^25 images, two that differ do so by 2^-50 or more.
    share = place / np.repeat(sizes, sizes)
    first_to_last = np.lexsort((np.repeat(found, sizes), place, share))
    return np.concatenate(shuffled)[first_to_last], share[first_to_last]


def prefix_length(share: Sequence[float], alpha: float) -> int:
    """How many images of the order lie in the subset of alpha percent: those whose share is at most alpha / 100."""
    # Shares are stored as floats; the margin lets 0.07 (7 of 100 images) lie in 7 percent.
    return int(np.searchsorted(np.asarray(share, dtype=np.float64), alpha / 100 * (1 + 1e-12), side="right"))


def write_subset(index: Index, seed: int, strategy: Strategy, path: str | Path) -> None:
    """Order the training images of an index: a Parquet row an image, with its position, id and share."""
    rows = index.rows("train")
    if not rows:
        raise BadInput(f"data set {index.name}: has no training images to distil on; add some.")
    groups = [index.labels[row][0] for row in rows] if all(index.labels[row] for row in rows) else None
    order, share = order_images(groups, len(rows), seed, strategy)
    positions = [rows[place] for place in order.tolist()]
    table = pa.table(
        {
            "position": pa.array(positions, pa.int64()),
            "id": pa.array([index.ids[position] for position in positions], pa.string()),
            "share": pa.array(share, pa.float64()),
        }
    )
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary)


def read_subset(path: str | Path, index: Index | None = None) -> tuple[list[int], list[str], list[float]]:
    """(positions in the index, ids, shares), in subset order; BadInput where they are not those of ``index``."""
    try:
        table = pq.read_table(path)
        positions, ids, shares = (table.column(name).to_pylist() for name in ("position", "id", "share"))
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise unreadable(path, error, "is no subset file", "delete it to order the corpus again") from error
    if index is not None and ids != [index.ids[place] for place in positions if place < len(index.ids)]:
        raise BadInput(
            f"{path}: orders other images than data set {index.name} has; delete it to order the corpus again."
        )
    return positions, ids, shares
