"""Recipes: everything that decides a stage's result, as plain values. No torch: the Snakefile builds them.

A recipe travels to its job as canonical JSON, so that Snakemake reruns the job when, and only when, it changes.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator

from wecolora.config.methods import LossPoint
from wecolora.config.timm_catalogue import lookup


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
        """The first 16 hex digits of the canonical JSON's sha256."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:16]


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


class _Dataset(Strict):
    """A set of images: what every source has."""

    label: str = Field(description="What tables and figures print.")
    job: str = Field(
        default="",
        pattern=r"^[a-z0-9_]*$",
        description="Data sets that name the same job share one feature job and one probe job a run: less start-up "
        "where they are small; a change to one then reruns them all. Empty: jobs of its own.",
    )
    mean: Triple | None = Field(
        default=None, description="Pixel mean in probing, in the place of the teacher's; the corpus has the teacher's."
    )
    std: tuple[AboveZero, AboveZero, AboveZero] | None = Field(
        default=None, description="Pixel standard deviation in probing, likewise."
    )
    paper: PaperDataset | None = Field(default=None, description=IS_PAPERS)
    stands_for: PaperDataset | None = Field(default=None, description=STANDS_FOR)

    @model_validator(mode="after")
    def _both_statistics(self) -> _Dataset:
        if (self.mean is None) != (self.std is None):
            raise ValueError("give both `mean` and `std`, or neither")
        return self

    def of_images(self) -> Self:
        """Without what says nothing about its images."""
        nothing = {"job": "", "label": "", "mean": None, "std": None, "paper": None, "stands_for": None}
        return self.model_copy(update=nothing)


class Bundled(_Dataset):
    """Drawn from pictures that installed packages ship."""

    source: Literal["bundled"] = Field(description="Pictures of installed packages.")
    bundled: Literal["photos", "digits", "textures", "glyphs", "tags"] = Field(description="Which bundled set.")
    train: Positive = Field(default=1000, description="Training images, about.")
    test: Positive = Field(default=1000, description="Test images, about.")
    seed: int = Field(default=0, description="Seed of the drawing.")


class _Files(_Dataset):
    """Images in files or archives of the user's."""

    root: str = Field(
        min_length=1,
        description="The folder of the data set, as downloaded, from the workflow's; nothing is written there.",
    )
    skip_unreadable: bool = Field(
        default=False,
        description="Leave unreadable images out, and name them in the data set's report, in the place of stopping.",
    )

    grey_range: tuple[Grey, Grey] | None = Field(
        default=None,
        description="Which values of greys deeper than 8 bits are black and white; what lies beyond is clipped. Null: "
        "those of 16 bits are 0 and 65535, and greys of no known range (32 bits, signed, floating-point) are refused. "
        "report.json tells the values.",
    )

    @field_validator("grey_range", mode="after")
    @classmethod
    def _ascending(cls, found: tuple[float, float] | None) -> tuple[float, float] | None:
        if found is not None and found[0] >= found[1]:
            raise ValueError("needs the lower value first: [black, white]")
        return found

    @field_validator("root", mode="after")
    @classmethod
    def _of_user(cls, root: str) -> str:
        return os.path.expanduser(root)


class _Divided(_Files):
    """Without a split of its own: divided at random, the same share of each class."""

    split_seed: int = Field(default=0, ge=0, description="Seed of a random division into training and test images.")


class Folder(_Divided):
    """Image files in folders."""

    source: Literal["folder"] = Field(description="Image files in folders.")
    test_share: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="Given: class folders directly below the root, divided at random. Not given: train/<class>/ and, "
        "where one of them is there, test/<class>/ (or val/, valid/ or validation/), or, in any other layout, "
        "unlabelled (for distillation only). A root that can be read in two ways is refused.",
    )


class Listed(_Divided):
    """Image files that a table names."""

    source: Literal["table"] = Field(description="Image files that a CSV or Parquet file lists.")
    table: str = Field(description="A CSV or Parquet file, from the root: a row an image.")
    path: str = Field(
        default="path", description="The column of the images' paths, from the root, or absolute and below it."
    )
    labels: str | None = Field(
        default="label", description="The column of the labels, texts or numbers (1.0 is 1); null: unlabelled."
    )
    separator: str | None = Field(
        default=None,
        description="An image has several labels, divided by it, or none; the score is the AUC. Lists in a Parquet "
        "file are several labels as they are.",
    )
    split: str | None = Field(
        default=None, description="The column that says train or test (or val, valid or validation)."
    )
    test_share: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, description="In the place of `split`: divided at random."
    )

    @model_validator(mode="after")
    def _one_division(self) -> Listed:
        if self.split is not None and self.test_share is not None:
            raise ValueError("give `split` or `test_share`, not both")
        if self.separator == "":
            raise ValueError("separator: needs at least one character")
        return self


class ImageNet(_Files):
    """ImageNet-1K: train/ and val/ with class folders, or the official tar files and the devkit."""

    source: Literal["imagenet"] = Field(description="ImageNet-1K, as folders or as the official tar files.")


class Cifar100(_Files):
    """CIFAR-100, python version: cifar-100-python/, its parent, or cifar-100-python.tar.gz."""

    source: Literal["cifar100"] = Field(description="CIFAR-100, python version.")


class ChestXray14(_Files):
    """ChestX-ray14 in NIH's or Kaggle's layout, with the official patient-wise lists."""

    source: Literal["chestxray14"] = Field(description="ChestX-ray14, in NIH's or Kaggle's layout.")
    classes: Literal[14, 15] = Field(
        default=14, description="14: the diseases. 15: also `No Finding`, as in the authors' code."
    )


class INat2019(_Files):
    """iNaturalist 2019: train_val2019/, train2019.json and val2019.json."""

    source: Literal["inat2019"] = Field(description="iNaturalist 2019.")


class Resisc45(_Divided):
    """NWPU-RESISC45: class folders without an official split."""

    source: Literal["resisc45"] = Field(description="NWPU-RESISC45.")
    train_share: float = Field(
        default=0.2, gt=0, lt=1, description="Of each class: 0.2 in the paper, 0.1 in the authors' code."
    )


def _source(value: Any) -> str:
    return str(value.get("source", "")) if isinstance(value, dict) else str(getattr(value, "source", ""))


# Not pydantic's plain discriminator, which allows no validator on its field (Strict has one on all).
Dataset = Annotated[
    Annotated[Bundled, Tag("bundled")]
    | Annotated[Folder, Tag("folder")]
    | Annotated[Listed, Tag("table")]
    | Annotated[ImageNet, Tag("imagenet")]
    | Annotated[Cifar100, Tag("cifar100")]
    | Annotated[ChestXray14, Tag("chestxray14")]
    | Annotated[INat2019, Tag("inat2019")]
    | Annotated[Resisc45, Tag("resisc45")],
    Discriminator(
        _source,
        custom_error_type="source",
        custom_error_message="must be one of bundled, folder, table, imagenet, cifar100, chestxray14, inat2019, "
        "resisc45",
    ),
]


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
        """What timm's table says of the model, where the config says nothing else."""
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


class Pretraining(Strict):
    """How a demo teacher is trained (config/demo_teachers.yaml); not part of the paper."""

    objective: Literal["supervised", "masked_autoencoder"] = Field(description="What is learnt.")
    dataset: str = Field(description="Whose training images; their labels are read by `supervised` alone.")
    augmentation: Literal["weak", "strong", "mixed"] = Field(
        description="weak: crop and flip. strong: also turn and recolour. mixed: half of a batch each."
    )
    epochs: Positive = Field(description="Passes over the training images.")
    warmup_epochs: float = Field(default=1, ge=0, description="Epochs of linear warm-up.")
    batch: Positive = Field(default=128, description="Images a step.")
    lr: float = Field(default=1e-3, gt=0, description="Peak learning rate of AdamW.")
    weight_decay: float = Field(default=0.05, ge=0, description="Of matrices.")
    mask: float = Field(default=0.6, gt=0, lt=1, description="Share of patches hidden (masked_autoencoder).")
    seed: int = Field(default=0, description="Of initialisation, order, augmentation and masks.")


class FetchRecipe(Strict):
    """Of a teacher of timm's: the model with its tag, and the shape in which it is used."""

    timm: str
    architecture: Architecture
    revision: int


class PretrainRecipe(Strict):
    """A demo teacher's training."""

    teacher: str
    architecture: Architecture
    mean: Triple
    std: Triple
    training: Pretraining
    data: Dataset
    revision: int


class SubsetRecipe(Strict):
    """How the corpus is ordered."""

    seed: int
    strategy: Literal["balanced", "uniform"]
    revision: int


class CacheRecipe(Strict):
    """What a shard of a teacher's cache holds: the images whose smallest alpha lies in (low, high] percent."""

    teacher: str
    corpus: str
    architecture: Architecture
    mean: Triple
    std: Triple
    seed: int
    views: int
    low: float
    high: float
    revision: int

    def of_all_shards(self) -> dict[str, Any]:
        """What every shard of one cache, and every run that reads it, must agree on."""
        return self.model_dump(mode="json", exclude={"low", "high"})


class Optimisation(Strict):
    """Distillation (section 4.2)."""

    epochs: Positive = Field(default=10, description="Passes over the subset.")
    warmup_epochs: float = Field(default=2, ge=0, description="Epochs of linear warm-up, part of `epochs`.")
    batch: Positive = Field(default=128, description="Images a micro-batch; an incomplete last one is dropped.")
    accumulate: Positive = Field(default=8, description="Micro-batches an update.")
    leftover: Literal["use", "drop"] = Field(
        default="use",
        description="Micro-batches left at the end of an epoch: `use` updates with their mean gradient; `drop` "
        "discards them, as the authors' code does.",
    )
    lr: dict[int, Annotated[float, Field(gt=0)]] = Field(
        default={2: 1e-3, 3: 1e-4}, description="Learning rate for each reduction ratio r (section 4.2)."
    )
    lr_of: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default={}, description="In the place of lr, for every r, of single methods, by name; never scaled."
    )
    lr_scaling: Literal["none", "linear_256"] = Field(
        default="none",
        description="none: lr as given. linear_256: lr x batch x accumulate / 256, as the authors' code does; the "
        "paper does not say which its 1e-3 and 1e-4 are.",
    )
    weight_decay: float = Field(default=0.05, ge=0, description="Of matrices; vectors have none.")
    layers: Literal["paper", "authors_code"] | list[int] = Field(
        default="paper",
        description="Blocks that are copied: paper (1-based r * l), authors_code (0-based 0::r), or 0-based numbers.",
    )
    loss_point: LossPoint | Literal["authors_code"] = Field(
        default="after_norm",
        description="Where tokens are compared, for every method: before or after the final norm. authors_code: "
        "before for WeCoLoRA and Q, V; after for the others, which mixes two changes in one comparison.",
    )
    teacher: Literal["cached", "online"] = Field(
        default="cached", description="Read the teacher's tokens from the cache, or compute them in every step."
    )


class DistillRecipe(Strict):
    """One run."""

    method: str
    teacher: str
    architecture: Architecture
    mean: Triple
    std: Triple
    corpus: str
    corpus_seed: int
    views: int
    cache_revision: int
    r: int
    k: int | None
    alpha: float
    seed: int
    epochs: int
    warmup_epochs: float
    batch: int
    accumulate: int
    leftover: Literal["use", "drop"]
    lr: float
    weight_decay: float
    layers: Literal["paper", "authors_code"] | list[int]
    loss_point: LossPoint | None  # None: the method's loss compares no tokens
    online: bool
    revision: int

    def cache(self) -> dict[str, Any]:
        """What the cache that this run reads must say of itself (CacheRecipe.of_all_shards)."""
        return CacheRecipe(
            teacher=self.teacher,
            corpus=self.corpus,
            architecture=self.architecture,
            mean=self.mean,
            std=self.std,
            seed=self.corpus_seed,
            views=self.views,
            low=0,
            high=0,
            revision=self.cache_revision,
        ).of_all_shards()


class Statistics(Strict):
    """What pixels are normalised with."""

    mean: Triple
    std: Triple


class FeatureRecipe(Strict):
    """Feature extraction of one run or teacher, from some data sets."""

    architecture: Architecture
    statistics: dict[str, Statistics]
    revision: int


class ProbeSettings(Strict):
    """Linear probing by LARS; lr is base_lr x batch / 256."""

    epochs: Positive = Field(default=90, description="Passes over the training features.")
    warmup_epochs: float = Field(default=10, ge=0, description="Epochs of linear warm-up, part of `epochs`.")
    batch: int = Field(default=512, ge=2, description="Features a step.")
    base_lr: float = Field(default=0.1, gt=0, description="Learning rate at a batch of 256.")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="LARS momentum.")
    trust: float = Field(default=0.001, gt=0, description="LARS trust coefficient.")
    drop_last: bool = Field(default=True, description="Drop an epoch's incomplete last batch.")


class ProbeRecipe(ProbeSettings):
    """One probe. The seed, of the initial weights and of the order of the features, is its run's."""

    seed: int = 0


class ProbeJob(Strict):
    """The probes of one job: a recipe a data set."""

    recipes: dict[str, ProbeRecipe]
    revision: int


class CompareRecipe(Strict):
    """A demo teacher beside an untrained model of its shape and raw pixels."""

    architecture: Architecture
    mean: Triple
    std: Triple
    probes: ProbeJob
    revision: int


class PrepareRecipe(Strict):
    """A data set's index."""

    name: str
    data: Dataset
    folder: str  # files.folder_state, so that a changed folder is indexed again
    probed: bool  # and so needs labels and test images
    revision: int


class StudentShape(Strict):
    """What decides the counts of a run's model, besides its teacher."""

    method: str
    r: int = 1
    k: int | None = None


class ComputationRecipe(Strict):
    """A computation study."""

    title: str
    caption: str
    teachers: dict[str, Architecture]
    labels: dict[str, str]
    classes: dict[str, int]  # of each teacher's head; 0: it has none
    students: list[StudentShape]
    batch: int
    views: int
    revision: int


class ArtifactRecipe(Strict):
    """How a table or figure is drawn: its entry in the config, and the labels that it prints."""

    name: str
    title: str
    caption: str
    rows: list[str]
    x: str | None
    datasets: dict[str, str]
    teachers: dict[str, str]
    methods: list[str]
    # Which of these are, or stand for, which of the paper's; those that are; and the paper's table of them.
    paper_teachers: dict[str, PaperTeacher] = {}
    paper_datasets: dict[str, PaperDataset] = {}
    exact_teachers: list[str] = []
    exact_datasets: list[str] = []
    paper_table: int | None = None
    images: int = 0  # how many a rollout shows
    revision: int


class ReportArtifact(Strict):
    """A finished artifact: its files, in the order of workflow.FILES, and how a table's rows are labelled."""

    kind: Literal["table", "figure", "latent", "rollout", "computation", "claims"]
    title: str
    caption: str
    files: list[str]
    recipe: ArtifactRecipe | None


class ReportRecipe(Strict):
    """The page that shows a campaign."""

    title: str
    artifacts: dict[str, ReportArtifact]
    revision: int


class ClaimsRecipe(Strict):
    """Which teacher and data set of a campaign stands for which of the paper's, and the width of its teachers; for each
    of the paper's tables, the methods of the campaign's own."""

    title: str
    caption: str
    teachers: dict[str, PaperTeacher]
    datasets: dict[str, PaperDataset]
    widths: dict[str, Positive]
    methods: dict[int, list[str]] = {}
    revision: int

    @model_validator(mode="after")
    def _one_each(self) -> ClaimsRecipe:
        for part in (self.teachers, self.datasets):
            if len(set(part.values())) < len(part):
                raise ValueError(f"two stand for the same of the paper's: {part}")
        if missing := self.teachers.keys() - self.widths.keys():
            raise ValueError(f"widths: none for {', '.join(sorted(missing))}")
        return self
