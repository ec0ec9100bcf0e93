"""Students in the forms that other programs load: a folder of timm's hub, ONNX, and a program of torch.export."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, cast

import timm
import torch
from safetensors.torch import save
from torch import Tensor

from wecolora.config.recipes import TeacherInput
from wecolora.config.teachers import Architecture
from wecolora.config.timm_catalogue import table
from wecolora.core import files
from wecolora.core.errors import BadInput
from wecolora.data.images import shorter_side
from wecolora.models import vit
from wecolora.models.attention import TransformedAttention
from wecolora.models.card import card
from wecolora.models.student import Student

Form = Literal["hf", "onnx", "torch"]
Features = Callable[[Tensor], Tensor]  # images (batch, 3, size, size) -> (batch, width)
LIMIT = 1e-4  # on the difference from the student's own features, see Exported
BATCHES = (1, 2, 5)  # sizes that an export is tried with
# Of timm's models, those that timm loads by rules of their own, and those of its tests.
NO_BASE = ("flexivit", "radio", "siglip", "test_")
# The architecture that timm builds for a name may change in a later version, but these are always given.
ALWAYS_GIVEN = ("img_size", "patch_size", "embed_dim", "depth", "num_heads", "global_pool", "fc_norm")
ANY_BATCH = ({0: torch.export.Dim("batch", min=1)},)
ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
OPSET = 18  # the one that torch writes without a conversion
ONE_FILE = 1_900_000_000  # bytes of weights that fit into model.onnx itself: protobuf ends at 2 GiB
NORM_EPS = 1e-6  # of the norms that timm builds from a name alone


@dataclass(frozen=True)
class Exported:
    """A form that was written, and how it was found to differ from the student.

    ``difference`` is the largest one of a value of the features. It may be LIMIT for features up to 1, and that share
    of ``largest``, the largest value, for others: floating-point numbers are no finer.
    """

    form: Form
    about: str
    difference: float
    largest: float


def export(student: Student, folder: str | Path, forms: Sequence[Form]) -> list[Exported]:
    """Write a student into a new folder, in each of these forms, and return what was written.

    Each form is loaded again, and its features are compared with the student's. Raise BadInput, and leave nothing
    behind, if a form cannot be had of this student or differs from it, or if the folder holds something.
    """
    if "hf" in forms:
        hub_model(student)
    if "onnx" in forms and (missing := [name for name in ONNX_PACKAGES if find_spec(name) is None]):
        raise BadInput(f"--to onnx needs {', '.join(missing)}; run `pip install {' '.join(ONNX_PACKAGES)}`.")
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
def compared(student: Student, form: Form, about: str, features: Features) -> Exported:
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
    return Exported(form, about, difference, largest)


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


def preprocessing(given: TeacherInput) -> dict[str, Any]:
    """Return how images are prepared for a student, in the words of timm's pretrained_cfg."""
    size = given.architecture.img_size
    resized = shorter_side(size)
    share = size / resized
    if math.floor(size / share) < resized:  # timm rounds down
        share = math.nextafter(share, 0)
    return {
        "input_size": (3, size, size),
        "interpolation": "bicubic",
        "crop_pct": share,
        "crop_mode": "center",
        "mean": given.mean,
        "std": given.std,
    }


def hub_config(student: Student) -> dict[str, Any]:
    """Return timm's config.json of a student, from which timm also makes the transform of images."""
    name, arguments = hub_model(student)
    return {
        "architecture": name,
        "num_classes": 0,
        "num_features": student.model.num_features,
        "global_pool": arguments["global_pool"],
        "model_args": arguments,
        "pretrained_cfg": {
            "custom_load": False,
            **preprocessing(student.input),
            "fixed_input_size": True,
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
    config = hub_config(student)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    what = f"model.safetensors and config.json, timm's {config['architecture']} with arguments"
    return compared(student, "hf", what, cast(Features, loaded))


# torch.export and ONNX


def write_program(student: Student, folder: Path) -> Exported:
    """Write model.pt2 of torch.export, for any number of images, with about.json beside the weights in it."""
    path = folder / "model.pt2"
    with warnings.catch_warnings(action="ignore"):  # torch warns of its own calls
        program = torch.export.export(student.model, (probing_images(student, 2),), dynamic_shapes=ANY_BATCH)
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # paths of this machine
        torch.export.save(program, path, extra_files={"about.json": json.dumps(about(student), indent=2)})
        loaded = torch.export.load(path).module()
    return compared(student, "torch", "model.pt2, for any number of images", cast(Features, loaded))


def write_onnx(student: Student, folder: Path) -> Exported:
    """Write model.onnx, for any number of images; weights that are too large for it stand in model.onnx.data."""
    import onnxruntime

    path = folder / "model.onnx"
    with warnings.catch_warnings(action="ignore"):
        program = torch.onnx.export(
            student.model,
            (probing_images(student, 2),),
            input_names=["images"],
            output_names=["features"],
            opset_version=OPSET,
            dynamic_shapes=ANY_BATCH,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model: Any = program.model
    for part in (model.graph, *model.graph):
        part.metadata_props.clear()  # paths of this machine
    model.metadata_props.update(about(student))
    program.save(path, external_data=4 * student.parameters > ONE_FILE)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def features(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])

    return compared(student, "onnx", f"model.onnx, opset {OPSET}, for any number of images", features)


def about(student: Student) -> dict[str, str]:
    """Return what a program of a student says about itself, since it holds no preparation of images."""
    size, recipe = student.input.architecture.img_size, student.record["recipe"]
    return {
        "input": f"float32 (batch, 3, {size}, {size}), RGB, values from 0 to 1, normalised with mean and std",
        "output": f"float32 (batch, {student.model.num_features}), the pooled features",
        "mean": json.dumps(student.input.mean),
        "std": json.dumps(student.input.std),
        "resize": f"bicubic, the shorter side to {shorter_side(size)} pixels, then the middle {size} x {size}",
        "teacher": recipe["teacher"],
        "method": recipe["method"],
    }


LOADING: dict[Form, str] = {
    "hf": """```python
import timm

model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()  # from the hub: "hf-hub:OWNER/NAME"
transform = timm.data.create_transform(**timm.data.resolve_data_config(model.pretrained_cfg))
features = model(transform(image).unsqueeze(0))  # image: RGB, of PIL
```
""",
    "onnx": f"""```python
import onnxruntime

session = onnxruntime.InferenceSession("FOLDER/model.onnx")  # opset {OPSET}
features = session.run(None, {{"images": images}})[0]  # float32 (any number, 3, height, width), normalised: see below
```
""",
    "torch": """```python
import torch

model = torch.export.load("FOLDER/model.pt2").module()
features = model(images)  # float32 (any number, 3, height, width), normalised: see below
```
""",
}
WRITERS: dict[Form, Callable[[Student, Path], Exported]] = {"hf": write_hub, "onnx": write_onnx, "torch": write_program}
