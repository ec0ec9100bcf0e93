"""Sets of images as the config names them: a class for each source. No torch.

A source has two rooms, which are found by one name: its class here has its keys and the facts about it that others ask
(``SOURCES`` below is all that they know of it), and the module of that name in data/sources lists its images.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, Union, get_args

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from wecolora.config.values import IS_PAPERS, STANDS_FOR, AboveZero, Grey, PaperDataset, Positive, Strict, Triple
from wecolora.core.folders import file_state, folder_state

Choices = Mapping[str, Mapping[str, Any]]  # values of keys, by the name of the protocol that chooses them


class _Dataset(Strict):
    """A set of images: the keys that every source has, and what others ask of each."""

    if TYPE_CHECKING:  # a key of each class below, where it stands before the keys of its own
        source: str
    # What the protocols choose for it where that is not its keys' defaults.
    of_protocol: ClassVar[Choices] = {}

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

    @property
    def folder(self) -> str | None:
        """Its folder of the user's; None: it needs none."""
        return None

    def state(self) -> str:
        """Return what changes when its files change, or its folder is another; no image is read."""
        return ""

    @property
    def labelled(self) -> bool:
        """True if it may have labels, as far as its keys tell."""
        return True

    @property
    def several_labels(self) -> bool:
        """True if an image of it may have several labels, or none."""
        return False

    def published_counts(self) -> dict[str, int] | None:
        """Return how many "train" and "test" images and "classes" its authors publish; None: nobody does."""
        return None

    def expected_counts(self) -> dict[str, int] | None:
        """Return how many "train" and "test" images it has, as far as that is known before they are listed."""
        return self.published_counts()


class Bundled(_Dataset):
    """Drawn from pictures that installed packages ship."""

    source: Literal["bundled"] = Field(description="Pictures of installed packages.")
    bundled: Literal["photos", "digits", "textures", "glyphs", "tags"] = Field(description="Which bundled set.")
    train: Positive = Field(default=1000, description="Training images, about.")
    test: Positive = Field(default=1000, description="Test images, about.")
    seed: int = Field(default=0, description="Seed of the drawing.")

    @property
    def several_labels(self) -> bool:
        return self.bundled == "tags"

    def expected_counts(self) -> dict[str, int]:
        return {"train": self.train, "test": self.test}


class _Files(_Dataset):
    """Images in files or archives of the user's."""

    # How deep its folders are looked at for changes (folders.folder_state), since every parse of the Snakefile looks:
    # an official data set's to its class folders, and not into them. None: all files.
    scan_depth: ClassVar[int | None] = None

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

    @property
    def folder(self) -> str:
        return self.root

    def state(self) -> str:
        # The index names the real folder: a link that leads elsewhere, or a project that was moved, needs another.
        return f"{Path(self.root).resolve()} {folder_state(self.root, self.scan_depth)}"


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

    def state(self) -> str:
        # The table may lie outside the folder.
        return f"{super().state()} {file_state(Path(self.root) / self.table)}"

    @property
    def labelled(self) -> bool:
        return self.labels is not None

    @property
    def several_labels(self) -> bool:
        return self.labels is not None and self.separator is not None


class ImageNet(_Files):
    """ImageNet-1K: train/ and val/ with class folders, or the official tar files and the devkit."""

    scan_depth = 2

    source: Literal["imagenet"] = Field(description="ImageNet-1K, as folders or as the official tar files.")

    def published_counts(self) -> dict[str, int]:
        return {"train": 1_281_167, "test": 50_000, "classes": 1000}


class Cifar100(_Files):
    """CIFAR-100, python version: cifar-100-python/, its parent, or cifar-100-python.tar.gz."""

    scan_depth = 2

    source: Literal["cifar100"] = Field(description="CIFAR-100, python version.")

    def published_counts(self) -> dict[str, int]:
        return {"train": 50_000, "test": 10_000, "classes": 100}


class ChestXray14(_Files):
    """ChestX-ray14 in NIH's or Kaggle's layout, with the official patient-wise lists."""

    scan_depth = 2
    of_protocol: ClassVar[Choices] = {"authors_code": {"classes": 15, "mean": (0.5057,) * 3, "std": (0.2507,) * 3}}

    source: Literal["chestxray14"] = Field(description="ChestX-ray14, in NIH's or Kaggle's layout.")
    classes: Literal[14, 15] = Field(
        default=14, description="14: the diseases. 15: also `No Finding`, as in the authors' code."
    )

    @property
    def several_labels(self) -> bool:
        return True

    def published_counts(self) -> dict[str, int]:
        return {"train": 86_524, "test": 25_596, "classes": self.classes}


class INat2019(_Files):
    """The competition of iNaturalist 2019: train_val2019/, train2019.json and val2019.json."""

    scan_depth = 3  # train_val2019/<group>/<class>/

    source: Literal["inat2019"] = Field(description="iNaturalist 2019.")

    def published_counts(self) -> dict[str, int]:
        return {"train": 265_213, "test": 3_030, "classes": 1010}


class Resisc45(_Divided):
    """NWPU-RESISC45: class folders without an official split."""

    scan_depth = 2
    of_protocol: ClassVar[Choices] = {
        "authors_code": {"train_share": 0.1, "mean": (0.3684, 0.3813, 0.3439), "std": (0.1999, 0.1814, 0.1808)}
    }

    source: Literal["resisc45"] = Field(description="NWPU-RESISC45.")
    train_share: float = Field(
        default=0.2, gt=0, lt=1, description="Of each class: 0.2 in the paper, 0.1 in the authors' code."
    )

    def published_counts(self) -> dict[str, int]:
        images, classes = 700, 45  # images of a class
        train = share_of(images, self.train_share)
        return {"train": train * classes, "test": (images - train) * classes, "classes": classes}


def share_of(images: int, share: float) -> int:
    """Return how many of so many images, two or more, a share is: to the nearest whole number, halves up, at least one
    and not all."""
    return min(max(int(images * share + 0.5), 1), images - 1)


def _name(kind: type[_Dataset]) -> str:
    (name,) = get_args(kind.model_fields["source"].annotation)
    return str(name)


_CLASSES = (Bundled, Folder, Listed, ImageNet, Cifar100, ChestXray14, INat2019, Resisc45)
SOURCES: dict[str, type[_Dataset]] = {_name(kind): kind for kind in _CLASSES}


def _source(value: Any) -> str:
    return str(value.get("source", "")) if isinstance(value, dict) else str(getattr(value, "source", ""))


# Who asks a data set sees what every source has; pydantic, which reads the config, sees a class for each source.
if TYPE_CHECKING:
    Dataset = _Dataset
else:
    # Not pydantic's plain discriminator, which allows no validator on its field (Strict has one on all).
    Dataset = Annotated[
        Union[*(Annotated[kind, Tag(name)] for name, kind in SOURCES.items())],
        Discriminator(_source, custom_error_type="source", custom_error_message=f"must be one of {', '.join(SOURCES)}"),
    ]
