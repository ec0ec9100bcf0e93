"""The images of iNaturalist 2019: one folder of training and validation images, divided by two lists in COCO's
format."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from wecolora.config.datasets import INat2019
from wecolora.core.errors import BadInput
from wecolora.data.listing import Entry, Inside, Listing, root_of, some

WHERE = "get it at https://github.com/visipedia/inat_comp/tree/master/2019"
LISTS = {"train": "train2019.json", "test": "val2019.json"}


def listing(name: str, data: INat2019) -> Listing:
    """Images that train2019.json and val2019.json (the test split) list; classes are the categories by their number."""
    root = root_of(name, data, WHERE)
    lists = {split: _read(root / file) for split, file in LISTS.items()}
    names = _names(root, [categories for _, categories in lists.values()])
    used = sorted({number for images, _ in lists.values() for _, number in images})
    labels = {number: (place,) for place, number in enumerate(used)}
    entries, absent = [], []
    for split, (images, _) in lists.items():
        inside = Inside(root, str(root / LISTS[split]))
        for given, number in images:
            path = inside.file(given)
            if path is not None:
                entries.append(Entry(path, path, labels[number], split))
            else:
                absent.append(given)
    if not entries:
        raise BadInput(f"{root}: has none of the images that {LISTS['train']} lists ({some(absent)}); {WHERE}.")
    return Listing(root, _classes(used, names), entries, absent=absent)


def _names(root: Path, lists: list[list[tuple[int, str]]]) -> dict[int, str]:
    names: dict[int, str] = {}
    for number, label in (category for categories in lists for category in categories):
        if names.setdefault(number, label) != label:
            raise BadInput(
                f"{root}: {' and '.join(LISTS.values())} name category {number} both {names[number]!r} and {label!r}; "
                f"{WHERE}."
            )
    return names


def _classes(used: list[int], names: dict[int, str]) -> list[str]:
    """Names of the categories; their numbers stand before them where two have the same."""
    classes = [names.get(number, str(number)) for number in used]
    if len(set(classes)) < len(classes):
        return [f"{number} {label}" for number, label in zip(used, classes, strict=True)]
    return classes


def _read(path: Path) -> tuple[list[tuple[str, int]], list[tuple[int, str]]]:
    """Return ([(file, category)], [(category, name)])."""
    if not path.is_file():
        raise BadInput(f"{path}: there is no such file; {WHERE}.")
    try:
        content: Any = json.loads(path.read_bytes())
        category_of: dict[Any, int] = {}
        for entry in content["annotations"]:
            image, category = entry["image_id"], int(entry["category_id"])
            if category_of.setdefault(image, category) != category:
                raise BadInput(
                    f"{path}: annotates image {image!r} with categories {category_of[image]} and {category}, and may "
                    f"with one; {WHERE}."
                )
        counts = Counter(image["id"] for image in content["images"])
        if twice := [str(image) for image, count in counts.items() if count > 1]:
            raise BadInput(f"{path}: has several images of one id ({some(twice)}); {WHERE}.")
        images = [(str(image["file_name"]), category_of[image["id"]]) for image in content["images"]]
        return images, [(int(entry["id"]), str(entry["name"])) for entry in content.get("categories", [])]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(f"{path}: cannot be read as a list in COCO's format ({error!r}); {WHERE}.") from error
