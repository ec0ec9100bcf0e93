"""Recipes: everything that decides a stage's result, as plain values. No torch: the Snakefile builds them.

A recipe travels to its job as canonical JSON, so that Snakemake reruns the job when, and only when, it changes.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from wecolora.methods import LossPoint


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

    def canonical(self) -> str:
        """JSON with every default written out, the same bytes for the same values."""
        return self.model_dump_json()

    def fingerprint(self) -> str:
        """The first 16 hex digits of the canonical JSON's sha256."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:16]


Triple = tuple[float, float, float]
Positive = Annotated[int, Field(gt=0, strict=True)]
AboveZero = Annotated[float, Field(gt=0)]


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


class Dataset(Strict):
    """Where the images of a data set come from."""

    label: str = Field(description="What tables and figures print.")
    source: Literal["bundled", "folder"] = Field(
        description="bundled: drawn from pictures that installed packages ship. folder: image files, in "
        "train/<class>/ and test/<class>/, or unlabelled in any layout (for distillation only)."
    )
    bundled: Literal["photos", "digits", "textures", "glyphs", "tags"] | None = Field(
        default=None, description="Which bundled set (source: bundled)."
    )
    root: str | None = Field(default=None, description="The folder of images (source: folder).")
    train: Positive = Field(default=1000, description="Training images of a bundled set, about.")
    test: Positive = Field(default=1000, description="Test images of a bundled set, about.")
    seed: int = Field(default=0, description="Seed of a bundled set's drawing.")
    job: str = Field(
        default="",
        pattern=r"^[a-z0-9_]*$",
        description="Data sets that name the same job share one feature job and one probe job a run: less start-up "
        "where they are small; a change to one then reruns them all. Empty: jobs of its own.",
    )
    paper: PaperDataset | None = Field(default=None, description=IS_PAPERS)
    stands_for: PaperDataset | None = Field(default=None, description=STANDS_FOR)

    def of_images(self) -> Dataset:
        """Without what says nothing about its images."""
        return self.model_copy(update={"job": "", "label": "", "paper": None, "stands_for": None})


class Architecture(Strict):
    """A plain timm VisionTransformer, in timm's own words."""

    img_size: Positive = Field(default=224, description="Side of the square input in pixels.")
    patch_size: Positive = Field(default=16, description="Side of a patch in pixels.")
    embed_dim: Positive = Field(default=768, description="Width of a token, d.")
    depth: Positive = Field(default=12, description="Number of transformer blocks, L.")
    num_heads: Positive = Field(default=12, description="Attention heads, H.")
    mlp_ratio: float = Field(default=4.0, gt=0, description="Hidden width of the feed-forward layers over embed_dim.")
    global_pool: Literal["token", "avg"] = Field(
        default="token", description="The feature that a probe reads: the class token, or the mean of the patches."
    )
    fc_norm: bool = Field(
        default=False, description="false: the final norm stands before pooling, as in the paper's models."
    )

    @model_validator(mode="after")
    def _divides(self) -> Architecture:
        if self.img_size % self.patch_size:
            raise ValueError(f"patch_size {self.patch_size} must divide img_size {self.img_size}")
        if self.embed_dim % self.num_heads:
            raise ValueError(f"num_heads {self.num_heads} must divide embed_dim {self.embed_dim}")
        return self


class Teacher(Strict):
    """A pre-trained model."""

    label: str = Field(description="What tables and figures print.")
    weights: str = Field(description="A safetensors file with timm's parameter names, from the workflow's folder.")
    architecture: Architecture = Field(description="timm VisionTransformer arguments.")
    mean: Triple = Field(default=(0.5, 0.5, 0.5), description="Pixel mean that its input is normalised with.")
    std: tuple[AboveZero, AboveZero, AboveZero] = Field(
        default=(0.5, 0.5, 0.5), description="Pixel standard deviation, likewise."
    )
    paper: PaperTeacher | None = Field(default=None, description=IS_PAPERS)
    stands_for: PaperTeacher | None = Field(default=None, description=STANDS_FOR)


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
        default={}, description="In the place of lr, for every r, of single methods, by name."
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


class FeatureRecipe(Strict):
    """Feature extraction of one run or teacher."""

    architecture: Architecture
    mean: Triple
    std: Triple
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
    revision: int


class StudentShape(Strict):
    """What decides a student's counts, besides its teacher."""

    method: str
    r: int
    k: int | None


class ComputationRecipe(Strict):
    """A computation study."""

    title: str
    caption: str
    teachers: dict[str, Architecture]
    labels: dict[str, str]
    students: list[StudentShape]
    batch: int
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
