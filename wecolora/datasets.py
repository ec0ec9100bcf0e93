"""How the index of a data set is made: from the bundled sets, or from a folder of image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xxhash

from wecolora.errors import BadInput
from wecolora.files import atomic_write
from wecolora.images import Index, write_index

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}


def prepare_bundled(name: str, source: str, train: int, test: int, seed: int, index: str | Path) -> None:
    """Draw a bundled set; write its pixels beside the index (images.npy), then the index."""
    from wecolora.bundled import BUNDLED

    drawn = BUNDLED[source](train, test, seed)
    index = Path(index)
    with atomic_write(index.with_name("images.npy")) as temporary, open(temporary, "wb") as file:
        np.save(file, drawn.images)
    count = len(drawn.images)
    write_index(
        Index(
            name=name,
            root=".",
            classes=drawn.classes,
            multilabel=source == "tags",
            ids=[f"{source}/{number:06d}" for number in range(count)],
            paths=["images.npy"] * count,
            offsets=list(range(count)),
            labels=[list(label) for label in drawn.labels],
            split=drawn.split,
            pixels_digest=xxhash.xxh3_128_hexdigest(np.ascontiguousarray(drawn.images).data),
        ),
        index,
    )


def prepare_folder(name: str, root: str | Path, index: str | Path) -> None:
    """Index image files: ``train/<class>/...`` and ``test/<class>/...``, or, where one of these two folders is missing,
    every image below the root as an unlabelled training image (enough for distillation)."""
    root = Path(root).resolve()
    if not root.is_dir():
        raise BadInput(f"{root}: the root of data set {name} is no folder; set datasets.{name}.root.")
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise BadInput(f"{root}: no image files below the root of data set {name}.")
    relative = [path.relative_to(root) for path in files]
    labelled = (root / "train").is_dir() and (root / "test").is_dir()
    if labelled:
        stray = [path for path in relative if len(path.parts) < 3 or path.parts[0] not in ("train", "test")]
        if stray:
            raise BadInput(
                f"{root / stray[0]}: lies in no class folder of train/ or test/, and neither do {len(stray) - 1} other "
                f"images of data set {name}; move them into train/<class>/ or test/<class>/, or out of {root}."
            )
    classes = sorted({path.parts[1] for path in relative}) if labelled else []
    number_of = {label: number for number, label in enumerate(classes)}
    digest = xxhash.xxh3_128()
    for path in files:
        digest.update(path.read_bytes())
    write_index(
        Index(
            name=name,
            root=str(root),
            classes=classes,
            multilabel=False,
            ids=[str(path) for path in relative],
            paths=[str(path) for path in relative],
            offsets=[0] * len(relative),
            labels=[[number_of[path.parts[1]]] if labelled else [] for path in relative],
            split=[path.parts[0] if labelled else "train" for path in relative],
            pixels_digest=digest.hexdigest(),
        ),
        index,
    )
