"""Students as their runs' folders hold them: weights, record and scores."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer

from wecolora.config.layout import ABOUT, PROBE_PROVENANCE
from wecolora.config.recipes import TeacherInput
from wecolora.core import files
from wecolora.core.errors import BadInput
from wecolora.models import vit


@dataclass(frozen=True)
class Student:
    """A student with what its run's folder says about it.

    ``record`` is its student.json, and ``scores`` are the contents of its score files.
    """

    weights: Path
    model: VisionTransformer
    input: TeacherInput
    record: dict[str, Any]
    scores: list[dict[str, Any]]

    @property
    def architecture(self) -> dict[str, Any]:
        """The values of ``Architecture`` of the student itself."""
        shape = self.input.architecture.model_dump() | {"depth": len(self.model.blocks)}
        if self.is_distilled:
            shape |= {"fc_norm": False, "reg_tokens": 0, "no_embed_class": False}
        return shape

    @property
    def is_distilled(self) -> bool:
        """True for a student with a distillation token (DeiT)."""
        return isinstance(self.model, VisionTransformerDistilled)

    @property
    def parameters(self) -> int:
        """The number of its weights."""
        return sum(parameter.numel() for parameter in self.model.parameters())


def read_student(path: str | Path) -> Student:
    """Read a student from its run's folder, or from its file of weights there; raise BadInput."""
    weights = Path(path)
    if weights.is_dir():
        weights = weights / "student.safetensors"
    if not weights.is_file():
        raise BadInput(f"{weights}: there is no such student; give a run's folder, or its student.safetensors.")
    about = weights.with_suffix(".json")
    if not about.is_file():
        raise BadInput(
            f"{about}: is missing, and it says what the student is; put the {ABOUT} of its run beside the weights."
        )
    try:
        record = json.loads(about.read_text(encoding="utf-8"))
        recipe = record["recipe"]
        given = TeacherInput.model_validate({key: recipe[key] for key in TeacherInput.model_fields})
        for key in ("teacher", "method"):
            recipe[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = ValueError(_first(error)) if isinstance(error, ValidationError) else error
        raise files.unreadable(
            about, reason, "is no record of a student", f"put the {ABOUT} of its run beside the weights"
        ) from error
    model = vit.load_student(given.architecture.model_dump(), weights)
    return Student(weights, model, given, record, _scores(weights))


def _first(error: ValidationError) -> str:
    found = error.errors()[0]
    return f"{'.'.join(map(str, found['loc']))}: {found['msg']}"


def _scores(weights: Path) -> list[dict[str, Any]]:
    """Return the scores of the student of these weights; those of an earlier one in its place are left out."""
    found, sha256 = [], files.sha256(weights)
    for path in sorted((weights.parent / "scores").glob("*.json")):
        if not path.match(PROBE_PROVENANCE.format(job="*")):
            wanted = ("student_sha256", "run", "metric", "last", "n_test")
            score = files.read_json(path, wanted, "probe again")
            if score["student_sha256"] == sha256:
                found.append(score)
    return found
