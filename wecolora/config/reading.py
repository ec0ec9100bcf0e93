"""Config files and `--config` values: read without loss, and checked. No torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from wecolora.config.campaign import Config
from wecolora.config.checks import first_fault
from wecolora.core.errors import BadInput

WORDS = {"true": True, "false": False, "null": None}


def typed(value: Any) -> Any:
    """Return a value of `snakemake --config`, such as ``probe={epochs: 9}``, with its numbers, true, false and null as
    such: within a list or a dictionary Snakemake leaves all of them texts."""
    if isinstance(value, Mapping):
        return {int(key) if key.isdecimal() else key: typed(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [typed(entry) for entry in value]
    if isinstance(value, str):
        if value in WORDS:
            return WORDS[value]
        if re.fullmatch(r"[+-]?\d+", value):
            return int(value)
        if re.fullmatch(r"[+-]?(\d+\.\d*|\.\d+)(e[+-]?\d+)?", value, re.IGNORECASE):
            return float(value)
    return value


class _PlainLoader(yaml.SafeLoader):
    """YAML in which a key stands once in one place, and a number is the same one in every reader's eyes."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuse a key that is there already, which YAML's readers take the last of without a word; ``2.0`` and ``"2"``
        are ``2``. Called for each mapping, and for each that is merged into one."""
        seen: dict[str, str] = {}
        for node_of_key, _ in node.value:
            merge = node_of_key.tag == "tag:yaml.org,2002:merge"
            key = "<<" if merge else self.construct_object(node_of_key, deep=True)
            key = str(int(key) if isinstance(key, float) and key.is_integer() else key).strip()
            if key in seen:
                raise ValueError(
                    f"{_place(node_of_key)} gives the key {key!r} again, which {seen[key]} gives already; keep one of "
                    "the two"
                )
            seen[key] = _place(node_of_key)
        super().flatten_mapping(node)


def _place(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}, column {node.start_mark.column + 1}"


def _plain_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    """YAML reads 010 as 8, 1:30 as 90 and 1_0 as 10; another reader, or a person, does not."""
    if not re.fullmatch(r"[+-]?(0|[1-9]\d*)", node.value):
        raise ValueError(
            f"{_place(node)}: the number {node.value} can be read in several ways; write it in plain digits, or, if it "
            "is a text, in quotes"
        )
    return int(node.value)


_PlainLoader.add_constructor("tag:yaml.org,2002:int", _plain_int)


# A date is a label, if anything.
_PlainLoader.add_constructor("tag:yaml.org,2002:timestamp", lambda loader, node: node.value)


def flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return nested keys as one level, joined with dots."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        place = f"{before}{key}"
        found |= flat(value, f"{place}.") if isinstance(value, Mapping) else {place: value}
    return found


def read_config(path: str | Path) -> dict[str, Any]:
    """Return the values of a YAML or JSON file, unchecked but for this: raise BadInput where it is none, or gives a key
    twice in one place."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        # JSON may be indented with tabs, and YAML not; else JSON is YAML.
        values = yaml.load(text.replace("\t", " ") if text.lstrip().startswith("{") else text, _PlainLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())  # YAML's takes several lines
        raise BadInput(f"{path}: cannot be read as YAML in UTF-8 ({reason}); see config.yaml for a config.") from error
    except ValueError as error:
        raise BadInput(f"{path}: {error}.") from error
    if not isinstance(values, dict):
        raise BadInput(f"{path}: holds no keys; see config.yaml for a config file.")
    return values


def parse(values: Mapping[str, Any]) -> Config:
    """Check a loaded config file; BadInput lists each wrong key with its value and what is allowed, one a line."""
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        found: dict[str, list[str]] = {}
        for problem in error.errors():
            # Brackets mark pydantic's own names, such as list[int] for a branch of a union.
            key = ".".join(str(part) for part in _without_source(problem["loc"]) if "[" not in str(part))
            message = re.sub(r" or instance of \w+", "", problem["msg"].removeprefix("Value error, "))
            if problem["type"] == "source":
                entry = problem["input"]
                found_source = entry.get("source") if isinstance(entry, dict) else entry
                key, message = f"{key}.source", f"{message}, not {found_source!r}"
            elif problem["type"] == "extra_forbidden":
                message = f"unknown key{_suggest(problem['loc'])}"
            elif not isinstance(problem["input"], dict):
                message = f"{message}, not {problem['input']!r}"
            found.setdefault(key, []).append(message)
        lines = [f"{key}: {'; or: '.join(messages)}." for key, messages in found.items()]
        raise BadInput("config: " + "\n        ".join(line.removeprefix(": ") for line in lines)) from None
    if fault := first_fault(config):
        raise BadInput(f"config: {fault}.") from None
    return config


def _without_source(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Return the place of a key in the file. Pydantic also names a data set's source, which stands nowhere."""
    return (*location[:2], *location[3:]) if location[:1] == ("datasets",) else location


def _suggest(location: tuple[int | str, ...]) -> str:
    """Name the allowed keys beside an unknown one, found by walking the schema."""
    schema = Config.model_json_schema()
    node: dict[str, Any] = schema
    for part in location[:-1]:
        node = _resolve(node, schema)
        named = next(iter(node.get("patternProperties", {}).values()), None)  # dict[Name, ...]
        sources = [_resolve(choice, schema) for choice in node.get("oneOf", [])]
        source = next((entry for entry in sources if entry["properties"]["source"]["const"] == part), None)
        node = source or node.get("properties", {}).get(part) or named or node.get("items") or {}
    allowed = list(_resolve(node, schema).get("properties", {}))
    return f"; allowed here are {', '.join(allowed)}" if allowed else ""


def _resolve(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    reference = node.get("$ref") or next((n["$ref"] for n in node.get("anyOf", []) if "$ref" in n), None)
    return schema["$defs"][reference.rsplit("/", 1)[1]] if reference else node
