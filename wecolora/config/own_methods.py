"""A user's own methods: entries of the config, each with the file of its loss. No torch: none of the code runs here.

An entry becomes one of METHODS twice: where the config is checked, and where a job reads its recipe, with which the
methods that it names travel. The sha256 of the file travels with the recipes of the jobs that run its code, so that an
edit of the file makes these again, and what follows from them.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field

from wecolora.config.methods import LIBRARY, METHODS, Adapter, Method, Need, Start, use_own
from wecolora.config.values import Recipe, Strict

COLOUR = "#117733"  # a green that no method of the library has


class OwnMethod(Strict):
    """A method of the user's own (docs/own-method.md)."""

    implementation: str = Field(
        pattern=r"^[^:]+\.py:[A-Za-z_][A-Za-z0-9_]*$",
        description="A Python file, its path from the folder in which Snakemake runs, and the class of the loss in it, "
        "such as my_method.py:MyObjective.",
    )
    label: str = Field(description="What tables and figures print.")
    start: Start = Field(
        description="What a student starts from: copy (the blocks of distill.layers), first (the first floor(L / r) "
        "blocks) or random (weights)."
    )
    trains: Literal["all", "enhanced", "qv"] = Field(
        description="What of it trains: all, or adapters of rank k alone: on six layers of a block (enhanced) or on "
        "Q and V (qv)."
    )
    adapter: Adapter = Field(default="lora", description="The kind of these adapters.")
    needs: list[Need] = Field(
        default=["tokens"],
        description="What the loss takes. tokens: the output of the teacher's last block. teacher: the teacher itself, "
        "run in every step. labels: the corpus's labels. head: the teacher's logits. class_token, plain_attention: "
        "teachers that have it. loss_point: where tokens are compared, as an axis of the runs.",
    )
    venue: str = Field(default="-", description="Where it was published, for the row label `venue`.")
    colour: str = Field(default=COLOUR, pattern="^#[0-9a-fA-F]{6}$", description="Of its lines in figures.")

    @property
    def file(self) -> str:
        """The path of the file, without the class."""
        return self.implementation.rpartition(":")[0]

    def entry(self, sha256: str) -> Method:
        """Return the method as METHODS has it; ``sha256`` is that of its file's text."""
        return Method(
            self.label,
            self.start,
            self.trains,
            self.implementation,
            needs=frozenset(self.needs),
            adapter=self.adapter,
            venue=self.venue,
            colour=self.colour,
            sha256=sha256,
        )

    def checked_sha256(self) -> str:
        """Return the sha256 of the file's text. Raise ValueError if there is no such file, or no such class in it."""
        file, _, name = self.implementation.rpartition(":")
        try:
            text = Path(file).read_bytes()
            classes = [node.name for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
        except OSError as error:
            raise ValueError(
                f"{file} cannot be read ({error.strerror}); give its path from the folder in which snakemake runs"
            ) from error
        except (SyntaxError, ValueError) as error:
            where = f"line {error.lineno}: {error.msg}" if isinstance(error, SyntaxError) else str(error)
            raise ValueError(f"{file} is no Python ({where}); correct it") from error
        if name not in classes:
            raise ValueError(f"{file} has no class {name}; it has {', '.join(classes) or 'none'}")
        return hashlib.sha256(text).hexdigest()


def register(own: Mapping[str, OwnMethod]) -> None:
    """Let METHODS hold a config's own methods, in the place of those of another; raise ValueError where one cannot be
    had."""
    entries = {}
    for name, method in own.items():
        if name in LIBRARY:
            raise ValueError(f"methods.{name}: is a method of the library; choose another name")
        try:
            entries[name] = method.entry(method.checked_sha256())
        except ValueError as error:
            raise ValueError(f"methods.{name}.implementation: {error}") from error
    use_own(entries)


class CarriedMethod(OwnMethod):
    """What a job is told of a user's own method."""

    sha256: str = ""  # of the file's text; empty where the job runs none of it


class NamesMethods(Recipe):
    """A recipe that names methods. Those of the user's own travel with it, and are known where it is read."""

    own_methods: dict[str, CarriedMethod] = Field(default={}, exclude_if=lambda carried: not carried)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """Read the recipe, as its job does; METHODS then holds the methods that travel with it."""
        recipe = super().model_validate_json(json_data, **options)
        METHODS.update({name: method.entry(method.sha256) for name, method in recipe.own_methods.items()})
        return recipe


def carried(
    own: Mapping[str, OwnMethod], names: Iterable[str], *, code: bool, printed: bool
) -> dict[str, CarriedMethod]:
    """Those of a config's own methods that a recipe names: with the text of their ``code`` where the job runs it, and
    with what is ``printed`` of them where the job prints, so that nothing else is made again when these change."""
    found = {}
    for name in sorted(own.keys() & set(names)):
        values = own[name].model_dump() | {"needs": sorted(set(own[name].needs))}
        if not printed:
            values |= {"label": name, "venue": "-", "colour": COLOUR}
        found[name] = CarriedMethod(**values, sha256=METHODS[name].sha256 if code else "")
    return found
