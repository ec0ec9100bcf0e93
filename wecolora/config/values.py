"""What the config's models are made of: strict values, and the roles of the paper's own. No torch."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)


class Strict(BaseModel):
    """No unknown keys, no infinite numbers, no change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML's yes, on and true are no numbers, though Python takes True for 1."""
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError("needs a value other than true or false")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _printable(cls, value: Any) -> Any:
        """Refuse texts with control characters but line breaks and tabs, or with halves of characters."""
        if isinstance(value, str) and re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", value):
            raise ValueError("holds a character that cannot be printed")
        return value

    def canonical(self) -> str:
        """JSON with every default written out, the same bytes for the same values."""
        return self.model_dump_json()

    def fingerprint(self) -> str:
        """Return the first 16 hex digits of the canonical JSON's sha256."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:16]


class Part(Strict):
    """Values that several recipes share."""


class Recipe(Strict):
    """What decides a stage's result. In JSON the keys of its parts stand among the recipe's own, as they do in every
    cache, student and score."""

    @classmethod
    def _parts(cls) -> dict[str, type[Part]]:
        kinds = {name: field.annotation for name, field in cls.model_fields.items()}
        return {name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Part)}

    @model_validator(mode="before")
    @classmethod
    def _nested(cls, values: Any) -> Any:
        """Take a part's values from among the recipe's own."""
        if not isinstance(values, dict):
            return values
        values = dict(values)
        for name, kind in cls._parts().items():
            if name not in values:
                values[name] = {key: values.pop(key) for key in kind.model_fields if key in values}
        return values

    @model_serializer(mode="wrap")
    def _flat(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Put a part's values among the recipe's own, at its place."""
        found: dict[str, Any] = {}
        for name, value in serialise(self).items():
            found |= value if name in self._parts() else {name: value}
        return found


Triple = tuple[float, float, float]
Positive = Annotated[int, Field(gt=0, strict=True)]
AboveZero = Annotated[float, Field(gt=0)]
Grey = Annotated[float, Field(strict=True)]
PaperTeacher = Literal["vitb_sup", "vitb_mae"]
PaperDataset = Literal["imagenet1k", "chestxray14", "inat19", "resisc45", "cifar100"]
PAPER_NAMES: dict[str, str] = {
    "vitb_sup": "ViT-B (supervised)",
    "vitb_mae": "ViT-B (MAE)",
    "imagenet1k": "ImageNet-1K",
    "chestxray14": "ChestX-ray14",
    "inat19": "iNaturalist-2019",
    "resisc45": "RESISC45",
    "cifar100": "CIFAR-100",
}
IS_PAPERS = "It is this one of the paper's: published scores and differences stand beside its own."
STANDS_FOR = "It stands for this one of the paper's, in miniature: orderings are compared, and no scores."
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$", max_length=24)]
Alpha = Annotated[float, Field(gt=0, le=100)]
