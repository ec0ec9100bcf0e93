"""How students and demo teachers are trained, and how students are scored: the config's settings. No torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from wecolora.config.methods import Layers, LossPoint
from wecolora.config.values import Name, Part, Positive, Strict


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


class Optimisation(Part):
    """How long a student trains, and in which portions (section 4.2). A new key of `distill` that every run takes as it
    is needs a field here, and its use in wecolora/training, alone."""

    epochs: Positive = Field(default=10, description="Passes over the subset.")
    warmup_epochs: float = Field(default=2, ge=0, description="Epochs of linear warm-up, part of `epochs`.")
    batch: Positive = Field(default=128, description="Images a micro-batch; an incomplete last one is dropped.")
    accumulate: Positive = Field(default=8, description="Micro-batches an update.")
    leftover: Literal["use", "drop"] = Field(
        default="use",
        description="Micro-batches left at the end of an epoch: `use` updates with their mean gradient; `drop` "
        "discards them, as the authors' code does.",
    )


class DistillSettings(Optimisation):
    """How students are trained (section 4.2): what every run takes as it is, and what each run resolves."""

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
    layers: Layers | list[int] = Field(
        default="paper",
        description="Blocks that are copied: paper (1-based r * l), authors_code (0-based 0::r), first (the first "
        "floor(L / r)), influence and search (those that the images choose, see docs/calibrated.md), or 0-based "
        "numbers.",
    )
    layers_of: dict[str, Layers | list[int]] = Field(
        default={},
        description="In the place of layers, for single methods, by name. Without it, calibrated methods have "
        "authors_code: a block that stands for those that follow it must know the stream before them.",
        exclude_if=lambda layers: not layers,
    )
    calibration_views: Positive = Field(
        default=2,
        description="Views of each image that calibrated methods take, and what chooses blocks; at most corpus.views.",
    )
    loss_point: LossPoint | Literal["authors_code"] = Field(
        default="after_norm",
        description="Where tokens are compared, for every method: before or after the final norm. authors_code: "
        "before for WeCoLoRA and Q, V; after for the others, which mixes two changes in one comparison.",
    )
    teacher: Literal["cached", "online"] = Field(
        default="cached", description="Read the teacher's tokens from the cache, or compute them in every step."
    )


class ProbeSettings(Strict):
    """Linear probing by LARS; lr is base_lr x batch / 256."""

    epochs: Positive = Field(default=90, description="Passes over the training features.")
    warmup_epochs: float = Field(default=10, ge=0, description="Epochs of linear warm-up, part of `epochs`.")
    batch: int = Field(default=512, ge=2, description="Features a step.")
    base_lr: float = Field(default=0.1, gt=0, description="Learning rate at a batch of 256.")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="LARS momentum.")
    trust: float = Field(default=0.001, gt=0, description="LARS trust coefficient.")
    drop_last: bool = Field(default=True, description="Drop an epoch's incomplete last batch.")


class Corpus(Strict):
    """The images that students are distilled on."""

    dataset: Name = Field(description="A data set; its training images, without their labels.")
    seed: int = Field(
        default=0,
        ge=0,
        description="Of the subsets' order and of the views, apart from the runs' seeds, so that all runs of a teacher "
        "share one cache. Another value recomputes every cache and every run.",
    )
    strategy: Literal["balanced", "uniform"] = Field(
        default="balanced", description="balanced: floor(alpha * n) of each class (labels are read for this alone)."
    )
    views: Positive = Field(
        default=10,
        description="Recorded crops an image. Epoch e uses view e mod views: as many as epochs is the paper's "
        "fresh crop every epoch; fewer save disk in proportion.",
    )
    shard_percent: float = Field(
        default=10,
        gt=0,
        le=100,
        description="Share of the corpus in one file, and one job, of a teacher's cache. A run waits for the shards "
        "that its alpha needs. A view of ViT-B at 224 px takes 0.45 MB, so keep share x images x views in bounds; "
        "another value makes caches and runs again.",
    )


class ProbeOverride(Strict):
    """What one data set's probe does differently."""

    epochs: Positive | None = Field(default=None, description="In the place of probe.epochs.")
    warmup_epochs: float | None = Field(default=None, ge=0, description="In the place of probe.warmup_epochs.")
    batch: int | None = Field(default=None, ge=2, description="In the place of probe.batch.")
    base_lr: float | None = Field(default=None, gt=0, description="In the place of probe.base_lr.")
