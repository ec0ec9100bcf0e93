"""Sources of images: a class and a module each, one registry, and nobody else who asks which source it is."""

from __future__ import annotations

import ast
import importlib
import json
import re
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from pydantic import TypeAdapter

from wecolora.config import datasets
from wecolora.config.datasets import SOURCES, Dataset, share_of
from wecolora.config.protocol import PROTOCOLS
from wecolora.config.reading import parse
from wecolora.core.errors import BadInput

REPOSITORY = Path(__file__).parents[3]
PACKAGE = REPOSITORY / "wecolora"
MODULES = {path.stem for path in (PACKAGE / "data" / "sources").glob("*.py") if "\ndef listing(" in path.read_text()}


def entry(source, **keys):
    """An entry of the config with the keys alone that the source cannot do without."""
    needed = {key: field for key, field in SOURCES[source].model_fields.items() if field.is_required()}
    return {key: (get_args(field.annotation) or ("x",))[0] for key, field in needed.items()} | keys


# One name, two rooms


def test_every_source_has_a_class_and_a_module():
    assert set(SOURCES) == MODULES and len(MODULES) >= 8


@pytest.mark.parametrize("source", SOURCES)
def test_the_module_of_a_source_lists_what_its_class_describes(source):
    listing = importlib.import_module(f"wecolora.data.sources.{source}").listing
    about = get_type_hints(listing)
    assert list(about)[:2] == ["name", "data"] and about["data"] is SOURCES[source]


@pytest.mark.parametrize("source", SOURCES)
def test_an_entry_is_read_by_the_class_of_its_source(source):
    reader = TypeAdapter(Dataset)
    found = reader.validate_python(entry(source))
    assert type(found) is SOURCES[source] and found.source == source
    assert reader.validate_json(found.canonical()) == found
    assert list(json.loads(found.canonical())) == list(SOURCES[source].model_fields)  # facts are no keys


def test_the_schema_has_every_source():
    schema = json.loads((REPOSITORY / "schemas" / "config.schema.json").read_text())
    kinds = [kind["properties"] for kind in schema["$defs"].values()]
    assert {keys["source"]["const"] for keys in kinds if "source" in keys} == MODULES


@pytest.mark.parametrize("given", ["web", None, 3])
def test_the_refusal_of_another_source_names_them_all(small_config, given):
    small_config["datasets"]["shapes"]["source"] = given
    with pytest.raises(BadInput) as caught:
        parse(small_config)
    said = rf"config: datasets\.shapes\.source: must be one of (.*), not {given!r}\."
    (names,) = re.fullmatch(said, str(caught.value)).groups()
    assert sorted(names.split(", ")) == sorted(MODULES)


def test_the_page_on_own_data_has_every_source_that_reads_files():
    page = (REPOSITORY / "docs" / "own-data.md").read_text(encoding="utf-8")
    files = [source for source in SOURCES if SOURCES[source](**entry(source)).folder is not None]
    assert len(files) >= 7 and [source for source in files if f"\n| `{source}` |" not in page] == []


# What a source says of itself


@pytest.mark.parametrize("source", SOURCES)
def test_what_a_protocol_chooses_for_a_source_are_keys_of_it(source):
    for protocol, choices in SOURCES[source].of_protocol.items():
        assert protocol in PROTOCOLS
        chosen = SOURCES[source](**entry(source, **choices))
        assert {key: getattr(chosen, key) for key in choices} == choices
        assert chosen != SOURCES[source](**entry(source))


@pytest.mark.parametrize(
    ("source", "keys", "labelled", "several"),
    [
        ("bundled", {"bundled": "photos"}, True, False),
        ("bundled", {"bundled": "tags"}, True, True),
        ("folder", {}, True, False),
        ("table", {}, True, False),
        ("table", {"separator": "|"}, True, True),
        ("table", {"separator": "|", "labels": None}, False, False),
        ("imagenet", {}, True, False),
        ("chestxray14", {}, True, True),
        ("resisc45", {}, True, False),
    ],
)
def test_labels(source, keys, labelled, several):
    data = SOURCES[source](**entry(source, **keys))
    assert (data.labelled, data.several_labels) == (labelled, several)


@pytest.mark.parametrize(
    ("source", "keys", "published", "expected"),
    [
        ("bundled", {"train": 7, "test": 5}, None, (7, 5)),
        ("folder", {}, None, None),
        ("table", {}, None, None),
        ("imagenet", {}, (1_281_167, 50_000, 1000), (1_281_167, 50_000)),
        ("cifar100", {}, (50_000, 10_000, 100), (50_000, 10_000)),
        ("chestxray14", {}, (86_524, 25_596, 14), (86_524, 25_596)),
        ("chestxray14", {"classes": 15}, (86_524, 25_596, 15), (86_524, 25_596)),
        ("inat2019", {}, (265_213, 3_030, 1010), (265_213, 3_030)),
        ("resisc45", {}, (6_300, 25_200, 45), (6_300, 25_200)),  # 45 classes of 700
        ("resisc45", {"train_share": 0.1}, (3_150, 28_350, 45), (3_150, 28_350)),
        ("resisc45", {"train_share": 0.0001}, (45, 31_455, 45), (45, 31_455)),
    ],
)
def test_counts_before_any_image_is_listed(source, keys, published, expected):
    data = SOURCES[source](**entry(source, **keys))
    counts, ahead = data.published_counts(), data.expected_counts()
    assert (counts and (counts["train"], counts["test"], counts["classes"])) == published
    assert (ahead and (ahead["train"], ahead["test"])) == expected


@pytest.mark.parametrize(
    ("images", "share", "found"), [(10, 0.3, 3), (3, 0.5, 2), (7, 0.5, 4), (10, 0.01, 1), (10, 0.99, 9), (2, 0.9, 1)]
)
def test_a_share_of_a_class_leaves_one_image_on_either_side(images, share, found):
    assert share_of(images, share) == found


def test_an_official_set_is_looked_at_no_deeper_than_its_class_folders(monkeypatch):
    asked = {}
    monkeypatch.setattr(datasets, "folder_state", lambda root, depth: str(asked.setdefault(root, depth)))
    depths = {"folder": None, "table": None}  # all files
    depths |= {"imagenet": 2, "cifar100": 2, "chestxray14": 2, "inat2019": 3, "resisc45": 2}
    for source in depths:
        SOURCES[source](**entry(source, root=source)).state()
    assert asked == depths


def test_what_is_drawn_has_no_folder():
    drawn = SOURCES["bundled"](**entry("bundled"))
    assert drawn.folder is None and drawn.state() == ""


# Nobody else asks


def asked(code):
    """The lines that compare the name of a source, or look it up in a table of their own."""
    found = []
    for node in ast.walk(ast.parse(code)):
        parts = []
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.Match):
            parts = [node.subject]
        elif isinstance(node, ast.Subscript):
            parts = [node.slice]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            parts = node.args
        inner = [each for part in parts for each in ast.walk(part)]
        if any(isinstance(each, ast.Attribute) and each.attr == "source" for each in inner):
            found.append(node.lineno)
    return found


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ('x = 1\nif data.source == "a": pass', [2]),
        ('"a" != entry.data.source', [1]),
        ('data.source in ("a", "b")', [1]),
        ("TABLE[data.source]", [1]),
        ("TABLE.get(data.source, 2)", [1]),
        ('match data.source:\n    case "a": pass', [1]),
        ('f"{data.source}"', []),
        ("report(source=data.source)", []),
        ("campaign.source(w)", []),
    ],
)
def test_a_question_for_the_source_is_found(code, lines):
    assert asked(code) == lines


def test_no_other_module_asks_which_source_a_data_set_has():
    """It asks the data set what it wants to know: another source is then no change to it."""
    own = {PACKAGE / "config" / "datasets.py", *(PACKAGE / "data" / "sources").glob("*.py")}
    others = [path for path in [*PACKAGE.rglob("*.py"), *REPOSITORY.glob("workflow_scripts/*.py")] if path not in own]
    assert len(others) > 60
    for path in others:
        code = path.read_text(encoding="utf-8")
        assert asked(code) == [], path
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module == "wecolora.config.datasets":
                assert {name.name for name in node.names} <= {"Dataset", "SOURCES", "share_of"}, path
