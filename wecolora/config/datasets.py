"""Sets of images as the config names them: a class for each source. No torch."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from wecolora.config.values import IS_PAPERS, STANDS_FOR, AboveZero, Grey, PaperDataset, Positive, Strict, Triple


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


def several_labels(data: Dataset) -> bool:
    """Whether its images have several labels each, as an index says later (images.Index.multilabel)."""
    if data.source == "table":
        return data.labels is not None and data.separator is not None
    return data.source == "chestxray14" or (data.source == "bundled" and data.bundled == "tags")
