"""The model card of an exported student: README.md with the front matter that Hugging Face's hub reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from wecolora.config.methods import METHODS
from wecolora.data.images import shorter_side
from wecolora.models.student import Student

FRONT = """---
license: # fill in; the teacher's licence may bind its students
{library}tags:
- vision-transformer
- knowledge-distillation
- wecolora
---
"""
TIMM = """library_name: timm
pipeline_tag: image-feature-extraction
"""


def card(student: Student, loading: Mapping[str, str]) -> str:
    """Return the text of README.md for a student; ``loading``: of each form that it has, how it is loaded."""
    parts = [
        FRONT.format(library=TIMM if "hf" in loading else ""),
        _what(student),
        "## Loading\n",
        *loading.values(),
        _images(student),
        _origin(student),
        _scores(student),
        "## Recipe\n\nThe architecture in it is the teacher's.\n",
        f"```json\n{json.dumps(student.record['recipe'], indent=2, sort_keys=True)}\n```\n",
    ]
    return "\n".join(part for part in parts if part)


def _what(student: Student) -> str:
    shape, recipe = student.architecture, student.record["recipe"]
    size = student.parameters / 1e6
    return (
        f"# A student of {recipe['teacher']}\n\nA Vision Transformer of {shape['depth']} blocks, {shape['embed_dim']} "
        f"wide, with {size:.3g} million parameters, for images of {shape['img_size']} pixels. It gives the features of "
        f"an image, {student.model.num_features} numbers, and has no classifier. It was "
        "distilled with WeCoLoRA Bench ([paper](https://arxiv.org/abs/2404.09326)).\n"
    )


def _images(student: Student) -> str:
    size, given = student.input.architecture.img_size, student.input
    return (
        f"Images are resized (bicubic) to {shorter_side(size)} pixels on the shorter side, and the middle {size} x "
        f"{size} are taken. Where this student was scored, an image of {size} x {size} pixels stayed as it is: give "
        "timm's transform `crop_pct=1.0` for such images. Values from 0 to 1 are normalised: mean "
        f"{_numbers(given.mean)}, standard deviation {_numbers(given.std)}.\n"
    )


def _origin(student: Student) -> str:
    record, recipe = student.record, student.record["recipe"]
    method = METHODS[recipe["method"]].label if recipe["method"] in METHODS else recipe["method"]
    rows = {
        "Teacher": f"`{recipe['teacher']}`, {student.input.architecture.depth} blocks, sha256 of its weights "
        f"`{record.get('teacher_sha256', 'unknown')}`",
        "Method": f"{method} (`{recipe['method']}`)",
        "Reduction ratio": recipe.get("r"),
        "Rank": recipe.get("k"),
        "Images": f"{record.get('images', 'unknown')}, {recipe.get('alpha', 100):g}% of `{recipe.get('corpus')}`",
        "Epochs": recipe.get("epochs"),
    }
    last = (record.get("history") or [{}])[-1]
    if last.get("relative_loss") is not None:
        rows["Last loss"] = f"{last['relative_loss']:.3f} of the teacher's deviation"
    if last.get("signs"):
        rows["Warnings"] = "; ".join(last["signs"])
    lines = [f"| {name} | {value} |" for name, value in rows.items() if value is not None]
    return "\n".join(["## Where it comes from\n", "| | |", "| --- | --- |", *lines, ""])


def _scores(student: Student) -> str:
    if not student.scores:
        return ""
    lines = [
        f"| `{score['run']['dataset']}` | {score['metric']} | {score['last']:.2f} | {score['n_test']} |"
        for score in student.scores
    ]
    head = ["| Data set | Metric | Last epoch, % | Test images |", "| --- | --- | ---: | ---: |"]
    return "\n".join(["## Scores of linear probes on its features\n", *head, *lines, ""])


def _numbers(values: Sequence[float]) -> str:
    return f"({', '.join(f'{value:g}' for value in values)})"
