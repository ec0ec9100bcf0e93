"""Students in the forms that other programs load: a folder of timm's hub, ONNX, and a program of torch.export."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import timm
import torch
from safetensors.torch import save
from torch import Tensor

from wecolora.config.teachers import Architecture
from wecolora.config.timm_catalogue import table
from wecolora.core import files
from wecolora.core.errors import BadInput
from wecolora.data.images import shorter_side
from wecolora.models import vit
from wecolora.models.attention import TransformedAttention
from wecolora.models.card import card
from wecolora.models.student import Student

Form = Literal["hf"]
LIMIT = 1e-4  # on the difference from the student's own features, see Exported
BATCHES = (1, 2, 5)  # sizes that an export is tried with
# Of timm's models, those that timm loads by rules of their own, and those of its tests.
NO_BASE = ("flexivit", "radio", "siglip", "test_")
# The architecture that timm builds for a name may change in a later version, but these are always given.
ALWAYS_GIVEN = ("img_size", "patch_size", "embed_dim", "depth", "num_heads", "global_pool", "fc_norm")
NORM_EPS = 1e-6  # of the norms that timm builds from a name alone


@dataclass(frozen=True)
class Exported:
    """A form that was written, and how it was found to differ from the student.

    ``difference`` is the largest one of a value of the features. It may be LIMIT for features up to 1, and that share
    of ``largest``, the largest value, for others: floating-point numbers are no finer.
    """

    form: Form
    files: tuple[str, ...]
    difference: float
    largest: float


def export(student: Student, folder: str | Path, forms: Sequence[Form]) -> list[Exported]:
    """Write a student into a new folder, in each of these forms, and return what was written.

    Each form is loaded again, and its features are compared with the student's. Raise BadInput, and leave nothing
    behind, if a form cannot be had of this student or differs from it, or if the folder holds something.
    """
    if "hf" in forms:
        hub_model(student)
    size = 4 * student.parameters * len(forms) + 2**24
    with files.new_folder(folder, size) as temporary:
        written = [WRITERS[form](student, temporary) for form in forms]
        (temporary / "README.md").write_text(card(student, {form: LOADING[form] for form in forms}), encoding="utf-8")
    return written


def probing_images(student: Student, batch: int) -> Tensor:
    """Return random images, normalised: (batch, 3, size, size)."""
    size = student.input.architecture.img_size
    pixels = torch.randint(256, (batch, size, size, 3), generator=torch.Generator().manual_seed(batch))
    return vit.normalise(pixels.to(torch.uint8), student.input.mean, student.input.std)


@torch.no_grad()
def compared(student: Student, form: Form, written: Sequence[str], features: Callable[[Tensor], Tensor]) -> Exported:
    """Return what was written, with how its features differ from the student's; raise BadInput if by too much."""
    difference = largest = 0.0
    for batch in BATCHES:
        images = probing_images(student, batch)
        own = vit.pooled(student.model, images)
        difference = max(difference, float((features(images) - own).abs().max()))
        largest = max(largest, float(own.abs().max()))
    if not difference <= LIMIT * max(1.0, largest):
        raise BadInput(
            f"{student.weights}: its {form} form gives other features, by up to {difference:.1e}; nothing was written; "
            "try another version of torch, timm or onnx, or another form."
        )
    return Exported(form, tuple(written), difference, largest)


# timm's hub format


def hub_model(student: Student) -> tuple[str, dict[str, Any]]:
    """Return the name of the model of timm's that is most like the student, and the arguments that make it so.

    Raise BadInput if timm has no such model. A text such as config.json's can name norms of NORM_EPS alone, so the
    model with that name must have all others itself.
    """
    if any(isinstance(block.attn, TransformedAttention) for block in student.model.blocks):
        raise BadInput(
            f"{student.weights}: its attention has transforms over the heads (MiniViT), and no model of timm has them; "
            "export it --to onnx or torch."
        )
    shape = student.architecture
    known = {"deit_base_distilled_patch16_224": Architecture().model_dump()}
    if not student.is_distilled:
        names = (name for name in table()["models"] if not any(part in name for part in NO_BASE))
        known = {name: Architecture(**table()["models"][name]["architecture"]).model_dump() for name in names}
    differing = {
        name: [key for key, value in shape.items() if value != base[key]]
        for name, base in known.items()
        if shape["norm_eps"] == NORM_EPS or all(shape[key] == base[key] for key in ("norm_layer", "norm_eps"))
    }
    if not differing:
        kind = "VisionTransformer with a distillation token" if student.is_distilled else "VisionTransformer"
        raise BadInput(
            f"{student.weights}: timm has no {kind} whose norms are {shape['norm_layer']} with "
            f"{shape['norm_eps']:g}; export it --to onnx or torch."
        )
    name = min(differing, key=lambda name: (len(differing[name]), len(name), name))
    given = {*ALWAYS_GIVEN, *differing[name]}
    if "norm_eps" in given:
        given = given - {"norm_eps"} | {"norm_layer"}
    return name, {key: value for key, value in shape.items() if key in given}


def hub_config(student: Student) -> dict[str, Any]:
    """Return timm's config.json of a student, from which timm also makes the transform of images."""
    name, arguments = hub_model(student)
    size = student.input.architecture.img_size
    resized = shorter_side(size)
    share = size / resized
    if math.floor(size / share) < resized:  # timm rounds down
        share = math.nextafter(share, 0)
    return {
        "architecture": name,
        "num_classes": 0,
        "num_features": student.model.num_features,
        "global_pool": arguments["global_pool"],
        "model_args": arguments,
        "pretrained_cfg": {
            "custom_load": False,
            "input_size": [3, size, size],
            "fixed_input_size": True,
            "interpolation": "bicubic",
            "crop_pct": share,
            "crop_mode": "center",
            "mean": list(student.input.mean),
            "std": list(student.input.std),
            "num_classes": 0,
            "pool_size": None,
            "first_conv": "patch_embed.proj",
            "classifier": ["head", "head_dist"] if student.is_distilled else "head",
        },
    }


def write_hub(student: Student, folder: Path) -> Exported:
    """Write a folder that timm loads by ``local-dir:`` or, from the hub, by ``hf-hub:``."""
    state = {name: tensor.contiguous() for name, tensor in student.model.state_dict().items()}
    (folder / "model.safetensors").write_bytes(save(state, {"format": "pt"}))
    text = json.dumps(hub_config(student), indent=2)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    return compared(student, "hf", ("model.safetensors", "config.json"), cast(Callable[[Tensor], Tensor], loaded))


LOADING: dict[Form, str] = {
    "hf": """```python
import timm

model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()  # from the hub: "hf-hub:OWNER/NAME"
transform = timm.data.create_transform(**timm.data.resolve_data_config(model.pretrained_cfg))
features = model(transform(image).unsqueeze(0))  # image: RGB, of PIL
```
""",
}
WRITERS: dict[Form, Callable[[Student, Path], Exported]] = {"hf": write_hub}
