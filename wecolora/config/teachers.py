"""Pre-trained models as the config names them, and their shapes. No torch."""

from __future__ import annotations

import os
import re
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator
from safetensors import SafetensorError, safe_open

from wecolora.config.timm_catalogue import lookup
from wecolora.config.values import IS_PAPERS, STANDS_FOR, AboveZero, PaperTeacher, Positive, Strict, Triple


class Architecture(Strict):
    """A plain timm VisionTransformer, in timm's own words."""

    img_size: Positive = Field(default=224, description="Side of the square input in pixels.")
    patch_size: Positive = Field(default=16, description="Side of a patch in pixels.")
    embed_dim: Positive = Field(default=768, description="Width of a token, d.")
    depth: Positive = Field(default=12, description="Number of transformer blocks, L.")
    num_heads: Positive = Field(default=12, description="Attention heads, H.")
    mlp_ratio: float = Field(default=4.0, gt=0, description="Hidden width of the feed-forward layers over embed_dim.")
    global_pool: Literal["token", "avg", "map"] = Field(
        default="token",
        description="The feature that a probe reads: the class token, the mean of the patches, or what attention of "
        "its own makes of them.",
    )
    fc_norm: bool = Field(
        default=False,
        description="false: the final norm stands before pooling, as in the paper's models. true: after it, so that "
        "tokens before and after the final norm are the same.",
    )
    final_norm: bool = Field(default=True, description="false: there is no final norm.")
    class_token: bool = Field(default=True, description="Whether there is a class token.")
    reg_tokens: int = Field(default=0, ge=0, description="Registers: further tokens that are no patches.")
    no_embed_class: bool = Field(
        default=False, description="true: positions are added to the patches alone, not to class token and registers."
    )
    pool_include_prefix: bool = Field(
        default=False, description="true: the mean is of all tokens, class token and registers too."
    )
    pre_norm: bool = Field(default=False, description="A norm before the first block, as in CLIP.")
    qkv_bias: bool = Field(default=True, description="Whether queries, keys and values have a bias.")
    init_values: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Given: each block's outputs are scaled by learnt factors (LayerScale)."
    )
    scale_attn_norm: bool = Field(default=False, description="A norm before the attention's last layer, as in BEiT-3.")
    scale_mlp_norm: bool = Field(default=False, description="A norm before the feed-forward part's last layer.")
    norm_layer: Literal["layernorm", "rmsnorm"] = Field(default="layernorm", description="The kind of all norms.")
    norm_eps: AboveZero = Field(default=1e-6, description="What norms add to the variance; in CLIP 1e-5.")
    act_layer: Literal["gelu", "gelu_tanh", "quick_gelu", "silu"] = Field(
        default="gelu", description="Activation of the feed-forward layers."
    )

    @model_validator(mode="after")
    def _divides(self) -> Architecture:
        if self.embed_dim % self.num_heads:
            raise ValueError(f"num_heads {self.num_heads} must divide embed_dim {self.embed_dim}")
        if self.global_pool == "token" and not self.class_token:
            raise ValueError("global_pool: there is no class token; take avg")
        return self

    @property
    def tokens(self) -> int:
        """Class token, registers and patches; a rest at the right and lower edge is in none (timm has such models)."""
        return int(self.class_token) + self.reg_tokens + (self.img_size // self.patch_size) ** 2


class Teacher(Strict):
    """A pre-trained model: one of timm's by name, or a file in a shape that the config describes."""

    model_config = ConfigDict(json_schema_extra=lambda schema: schema["required"].remove("architecture"))

    label: str = Field(description="What tables and figures print.")
    timm: str | None = Field(
        default=None,
        description="A VisionTransformer of timm's with its tag, such as vit_base_patch16_224.mae. Its weights come "
        "from the hub or its cache (HF_HOME, HF_HUB_OFFLINE), unless `weights` names a file.",
    )
    weights: str | None = Field(
        default=None,
        description="With `timm`: a .safetensors, .pth or .bin file of that model's, or a folder with one, in place of "
        "the hub. With `architecture`: a safetensors file with timm's parameter names. From the workflow's folder.",
    )
    img_size: Positive | None = Field(
        default=None, description="With `timm`: another input size; the position embedding is resampled."
    )
    global_pool: Literal["token", "avg"] | None = Field(
        default=None, description="With `timm`: another feature to read, see architecture.global_pool."
    )
    architecture: Architecture = Field(description="timm VisionTransformer arguments, where no `timm` gives them.")
    mean: Triple = Field(
        default=(0.5, 0.5, 0.5), description="Pixel mean that its input is normalised with; with `timm`, that model's."
    )
    std: tuple[AboveZero, AboveZero, AboveZero] = Field(
        default=(0.5, 0.5, 0.5), description="Pixel standard deviation, likewise."
    )
    paper: PaperTeacher | None = Field(default=None, description=IS_PAPERS)
    stands_for: PaperTeacher | None = Field(default=None, description=STANDS_FOR)

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, values: Any) -> Any:
        """Fill in what timm's table says of the model, where the config says nothing else."""
        if not isinstance(values, dict):
            return values
        changes = {key: values[key] for key in ("img_size", "global_pool") if values.get(key) is not None}
        if values.get("timm") is None:
            if "weights" not in values or "architecture" not in values:
                raise ValueError("give `timm`, or both `weights` and `architecture`")
            if changes:
                raise ValueError(f"{next(iter(changes))}: belongs to `timm`; here it stands in `architecture`")
            return values
        model = lookup(str(values["timm"]))
        if values.get("weights") is None and model.elsewhere is not None:
            where = f"load {model.elsewhere} and" if model.elsewhere else "nobody has published any:"
            raise ValueError(f"the hub has no weights of {model.name}; {where} give a file as `weights`")
        shape = {**model.architecture, **changes}
        return {"mean": model.mean, "std": model.std, "architecture": shape, **values, "timm": model.name}

    @field_validator("weights", mode="after")
    @classmethod
    def _is_path(cls, weights: str | None) -> str | None:
        """Snakemake, whose jobs have the file as input, takes what stands in braces in a path for a wildcard."""
        if weights is None:
            return None
        if "://" in weights:
            raise ValueError("needs the path of a file, not an address; download it")
        if re.search("[{}]", weights):
            raise ValueError("a path with braces cannot be an input of Snakemake; rename the file or its folder")
        return os.path.expanduser(weights)

    @model_validator(mode="after")
    def _one_shape(self) -> Teacher:
        shape = self.architecture
        if self.timm is not None:  # a config that was written back holds what was filled in
            changes = {"img_size": self.img_size, "global_pool": self.global_pool}
            changes = {key: value for key, value in changes.items() if value is not None}
            if shape != Architecture(**{**lookup(self.timm).architecture, **changes}):
                raise ValueError("architecture: follows from `timm`, `img_size` and `global_pool`; leave it out")
        if shape.img_size % shape.patch_size and (self.timm is None or self.img_size is not None):
            raise ValueError(f"architecture: patch_size {shape.patch_size} must divide img_size {shape.img_size}")
        return self


def head_classes(teacher: Teacher) -> int | None:
    """Return the classes of the classifier that a teacher's weights end in; 0 if they have none.

    Return None if that is not known yet, because the file is not there.
    """
    if teacher.timm is not None and teacher.weights is None:
        return lookup(teacher.timm).num_classes
    if teacher.weights is None or not teacher.weights.endswith(".safetensors"):
        return None
    try:
        with safe_open(teacher.weights, "np") as file:  # reads names and shapes alone
            names = set(file.keys())
            if "patch_embed.proj.weight" not in names:
                return None
            return int(file.get_slice("head.weight").get_shape()[0]) if "head.weight" in names else 0
    except (OSError, SafetensorError):
        return None  # the job that reads it says what is wrong
