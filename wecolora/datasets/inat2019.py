"""iNaturalist 2019: one folder of training and validation images, divided by two lists in COCO's format."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from wecolora.datasets.listing import Entry, Inside, Listing, root_of, some
from wecolora.errors import BadInput
from wecolora.recipes import INat2019

PUBLISHED = {"train": 265_213, "test": 3_030, "classes": 1010}
WHERE = "get it at https://github.com/visipedia/inat_comp/tree/master/2019"
LISTS = {"train": "train2019.json", "test": "val2019.json"}


def listing(name: str, data: INat2019) -> Listing:
    """Images that train2019.json and val2019.json (the test split) list; classes are the categories by their number."""
    root = root_of(name, data, WHERE)
    lists = {split: _read(root / file) for split, file in LISTS.items()}
    names = {number: label for _, categories in lists.values() for number, label in categories.items()}
    used = sorted({number for images, _ in lists.values() for _, number in images})
    labels = {number: (place,) for place, number in enumerate(used)}
    entries, absent = [], []
    for split, (images, _) in lists.items():
        inside = Inside(root, str(root / LISTS[split]))
        for path, number in ((inside.path(given), number) for given, number in images):
            if os.path.isfile(root / path):
                entries.append(Entry(path, path, labels[number], split))
            else:
                absent.append(path)
    if not entries:
        raise BadInput(f"{root}: has none of the images that {LISTS['train']} lists ({some(absent)}); {WHERE}.")
    return Listing(root, _classes(used, names), entries, published=PUBLISHED, absent=absent)


def _classes(used: list[int], names: dict[int, str]) -> list[str]:
    """Names of the categories; their numbers stand before them where two have the same."""
    classes = [names.get(number, str(number)) for number in used]
    if len(set(classes)) < len(classes):
        return [f"{number} {label}" for number, label in zip(used, classes, strict=True)]
    return classes


def _read(path: Path) -> tuple[list[tuple[str, int]], dict[int, str]]:
    """([(file, category)], {category: name})."""
    if not path.is_file():
        raise BadInput(f"{path}: there is no such file; {WHERE}.")
    try:
        content: Any = json.loads(path.read_bytes())
        category_of = {entry["image_id"]: int(entry["category_id"]) for entry in content["annotations"]}
        images = [(str(image["file_name"]), category_of[image["id"]]) for image in content["images"]]
        return images, {int(entry["id"]): str(entry["name"]) for entry in content.get("categories", [])}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(f"{path}: cannot be read as a list in COCO's format ({error!r}); {WHERE}.") from error
