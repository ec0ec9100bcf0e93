"""The few-shot subsets: one nested, class-balanced order of a corpus, of which alpha takes a prefix (section 4)."""

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
    """Return (order, share), int64 and float64 (count,).

    ``order`` holds the positions of the images in the order in which subsets take them. ``share`` holds, for each place
    in the order, the smallest share in (0, 1] whose subset includes it.

    With ``balanced``, image j (from 1) of a shuffled class of n is in every subset of share >= j / n. So a share s
    holds floor(s * n) images of each class, and 1% lies in 2%, which lies in 5%. ``groups`` are the class numbers,
    which only the balance reads. Without them (an unlabelled corpus), or with ``uniform``, all images are one class.
    """
    of = np.zeros(count, np.int64) if groups is None or strategy == "uniform" else np.asarray(groups, np.int64)
    found, sizes = np.unique(of, return_counts=True)
    members = np.split(np.argsort(of, kind="stable"), np.cumsum(sizes)[:-1])
    shuffled = [
        np.random.default_rng([seed, group]).permutation(rows) for group, rows in zip(found, members, strict=True)
    ]
    place = np.concatenate([np.arange(1, n + 1) for n in sizes])
    # Floats compare as the fractions do: in classes of fewer than 2^25 images, two shares differ by at least 2^-50.
    share = place / np.repeat(sizes, sizes)
    first_to_last = np.lexsort((np.repeat(found, sizes), place, share))
    return np.concatenate(shuffled)[first_to_last], share[first_to_last]


def ordered(
    index: Index, rows: Sequence[int], seed: int, strategy: Strategy = "balanced"
) -> tuple[list[int], np.ndarray]:
    """Return these rows of an index in the order in which subsets take them, and the share of each (see order_images).

    If an image has no label, all images are one class.
    """
    groups = [index.labels[row][0] for row in rows] if all(index.labels[row] for row in rows) else None
    order, share = order_images(groups, len(rows), seed, strategy)
    return [rows[place] for place in order.tolist()], share


def prefix_length(share: Sequence[float], alpha: float) -> int:
    """Return how many images are in the subset of alpha percent: those whose share is at most alpha / 100."""
    # Shares are stored as floats; the margin makes sure that 0.07 (7 of 100 images) lies in 7 percent.
    return int(np.searchsorted(np.asarray(share, dtype=np.float64), alpha / 100 * (1 + 1e-12), side="right"))


def write_subset(index: Index, seed: int, strategy: Strategy, path: str | Path) -> None:
    """Order the training images of an index and write a Parquet row for each: its position, id and share.

    Raise BadInput if there are none.
    """
    rows = index.rows("train")
    if not rows:
        raise BadInput(f"data set {index.name}: has no training images to distil on; add some.")
    positions, share = ordered(index, rows, seed, strategy)
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
    """Return (positions in the index, ids, shares), in subset order.

    Raise BadInput if the file is not whole, or if its images are not those of ``index``.
    """
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
