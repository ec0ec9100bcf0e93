"""The data sets of the embedded default: real pixels that installed packages ship, 32 x 32 RGB, without a download.

Each stands in for one data set of the paper (section 4.1): photos for ImageNet-1K, digits for CIFAR-100, textures for
NWPU-RESISC45, glyphs for iNaturalist-2019, tags for ChestX-ray14. Every image has a random generator of its own, seeded
by (data set, seed, split, class, number), so a larger set contains a smaller one of the same seed.
"""

from __future__ import annotations

import string
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZE = 32
# A crop counts as uniform if the standard deviation of its grey levels is below this.
FLAT = 4.0

# Pictures whose docstrings (scikit-image) or README (scikit-learn) state CC0, public domain or CC-BY.
PHOTOS = ("astronaut", "camera", "chelsea", "china", "clock", "coffee", "flower", "hubble", "retina", "rocket")
# (picture, smallest side, largest side) of the window that a patch is cut from; near and far are two classes.
TEXTURES = {
    "brick_near": ("brick", 32, 48),
    "brick_far": ("brick", 96, 128),
    "cell": ("cell", 32, 128),
    "grass_near": ("grass", 32, 48),
    "grass_far": ("grass", 96, 128),
    "gravel_near": ("gravel", 32, 48),
    "gravel_far": ("gravel", 96, 128),
    "text": ("text", 32, 43),
}
GLYPHS = string.digits + string.ascii_uppercase + string.ascii_lowercase
TRAIN_FONTS = (
    "DejaVuSans",
    "DejaVuSans-BoldOblique",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSansMono",
    "STIXGeneral",
    "STIXGeneralBolIta",
    "cmss10",
)
TEST_FONTS = ("DejaVuSans-Bold", "DejaVuSerif-Italic", "DejaVuSansMono-Bold", "STIXGeneralBol", "cmr10", "cmtt10")


@dataclass(frozen=True)
class BundledSet:
    """The images of a data set, (n, 32, 32, 3) uint8.

    ``labels`` holds a tuple of class numbers for each image, ``split`` holds "train" or "test".
    """

    images: np.ndarray
    labels: list[tuple[int, ...]]
    split: list[str]
    classes: list[str]


def _rng(*key: int | str) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(part.encode()) if isinstance(part, str) else part for part in key])


def _picture(name: str) -> Image.Image:
    if name in ("china", "flower"):
        from sklearn.datasets import load_sample_image

        return Image.fromarray(load_sample_image(f"{name}.jpg"))
    import skimage.data

    array = getattr(skimage.data, {"hubble": "hubble_deep_field"}.get(name, name))()
    return Image.fromarray(array).convert("RGB")


def _cells(picture: Image.Image) -> tuple[list[tuple[int, int, int, int]], list[tuple[int, int, int, int]]]:
    """Cut a picture into a 4 x 4 grid; return the 4 boxes of a Latin pattern (one in each row and column) and the other
    12."""
    width, height = picture.size
    latin: list[tuple[int, int, int, int]] = []
    rest: list[tuple[int, int, int, int]] = []
    for row, latin_column in enumerate((1, 3, 0, 2)):
        for column in range(4):
            box = (column * width // 4, row * height // 4, (column + 1) * width // 4, (row + 1) * height // 4)
            (latin if column == latin_column else rest).append(box)
    return latin, rest


def _crop(
    picture: Image.Image,
    cells: list[tuple[int, int, int, int]],
    rng: np.random.Generator,
    smallest: int = SIZE,
    largest: int = 10_000,
) -> Image.Image:
    """Cut a square window out of one of the cells and return it, resized to 32 x 32.

    The side of the window is log-uniform in [smallest, largest]. The window is cut before it is resized, so that no
    filter reads pixels outside its cell. A nearly uniform window (black sky, white paper) shows nothing of its class,
    and another one is drawn.
    """
    while True:
        left, top, right, bottom = cells[rng.integers(len(cells))]
        limit = min(right - left, bottom - top)
        side = round(np.exp(rng.uniform(np.log(min(smallest, limit)), np.log(min(largest, limit)))))
        x, y = rng.integers(left, right - side, endpoint=True), rng.integers(top, bottom - side, endpoint=True)
        patch = picture.crop((x, y, x + side, y + side)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        if np.asarray(patch.convert("RGB")).std((0, 1)).max() >= FLAT:
            return patch


def photos(train: int, test: int, seed: int) -> BundledSet:
    """Return crops of many sizes from ten photographs; the class is the photograph.

    Training and test images come from disjoint cells.
    """

    def draw() -> Iterator[tuple[Image.Image, int, str]]:
        for label, name in enumerate(PHOTOS):
            picture = _picture(name)
            test_cells, train_cells = _cells(picture)
            for split, cells, count in (("train", train_cells, train), ("test", test_cells, test)):
                for number in range(count // len(PHOTOS)):
                    yield _crop(picture, cells, _rng("photos", seed, split, name, number)), label, split

    return _collect(draw(), list(PHOTOS))


def textures(train: int, test: int, seed: int) -> BundledSet:
    """Return patches of pictures that ``photos`` does not use, turned by multiples of 90 degrees.

    Training and test images come from disjoint cells.
    """

    def draw() -> Iterator[tuple[Image.Image, int, str]]:
        for label, (name, (source, smallest, largest)) in enumerate(TEXTURES.items()):
            picture = _picture(source)
            train_cells, test_cells = _cells(picture)
            for split, cells, count in (("train", train_cells, train), ("test", test_cells, test)):
                for number in range(count // len(TEXTURES)):
                    rng = _rng("textures", seed, split, name, number)
                    patch = _crop(picture, cells, rng, smallest, largest)
                    yield patch.rotate(90 * int(rng.integers(4))), label, split

    return _collect(draw(), list(TEXTURES))


def _digit_images() -> dict[str, list[tuple[np.ndarray, int]]]:
    """Return scikit-learn's 1,797 digits by split, as (image 8 x 8 in [0, 255], label); every third is a test image."""
    from sklearn.datasets import load_digits

    data = load_digits()
    pairs = [
        ((image * (255 / 16)).astype(np.uint8), int(label))
        for image, label in zip(data.images, data.target, strict=True)
    ]
    return {"train": [pair for i, pair in enumerate(pairs) if i % 3], "test": pairs[::3]}


def digits(train: int, test: int, seed: int) -> BundledSet:
    """Return scikit-learn's hand-written digits, enlarged to 32 x 32; ``train`` and ``test`` are upper bounds."""

    def draw() -> Iterator[tuple[Image.Image, int, str]]:
        for split, count in (("train", train), ("test", test)):
            for image, label in _digit_images()[split][:count]:
                enlarged = Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
                yield enlarged.convert("RGB"), label, split

    return _collect(draw(), list(string.digits))


def _font_folder() -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def glyphs(train: int, test: int, seed: int) -> BundledSet:
    """Return images of 62 characters, in colour, in the fonts that matplotlib ships.

    The training counts are long-tailed. The test images use other fonts.
    """
    weights = np.geomspace(1.0, 0.1, len(GLYPHS))
    counts = {
        "train": np.maximum(1, np.round(train * weights / weights.sum())).astype(int),
        "test": np.full(len(GLYPHS), max(1, test // len(GLYPHS))),
    }

    def draw() -> Iterator[tuple[Image.Image, int, str]]:
        for split, names in (("train", TRAIN_FONTS), ("test", TEST_FONTS)):
            choices = [
                ImageFont.truetype(_font_folder() / f"{name}.ttf", size) for name in names for size in (21, 24, 27)
            ]
            # Which classes are rare is drawn once, so that it does not follow the alphabet.
            order = _rng("glyphs", seed).permutation(len(GLYPHS))
            for rank, label in enumerate(order):
                for number in range(counts[split][rank]):
                    rng = _rng("glyphs", seed, split, int(label), number)
                    ground, ink = rng.integers(0, 70, 3), rng.integers(170, 256, 3)
                    image = Image.new("RGB", (SIZE, SIZE), tuple(int(v) for v in ground))
                    at = (SIZE / 2 + rng.uniform(-3, 3), 24 + rng.uniform(-2.5, 2.5))
                    font = choices[rng.integers(len(choices))]
                    ImageDraw.Draw(image).text(at, GLYPHS[label], tuple(int(v) for v in ink), font=font, anchor="ms")
                    yield image, int(label), split

    return _collect(draw(), list(GLYPHS))


def tags(train: int, test: int, seed: int) -> BundledSet:
    """Return images of one to three hand-written digits, in colour, over a faded crop of a photograph.

    The labels of an image are the digits that it shows.
    """

    def draw() -> Iterator[tuple[Image.Image, tuple[int, ...], str]]:
        pictures = [(picture, *_cells(picture)) for picture in map(_picture, PHOTOS)]
        grey = Image.new("RGB", (SIZE, SIZE), (128, 128, 128))
        for split, count in (("train", train), ("test", test)):
            pool = _digit_images()[split]
            for number in range(count):
                rng = _rng("tags", seed, split, number)
                picture, test_cells, train_cells = pictures[rng.integers(len(pictures))]
                crop = _crop(picture, train_cells if split == "train" else test_cells, rng)
                image = Image.blend(crop.convert("RGB"), grey, 0.5)  # so that both dark and light ink are visible
                present: set[int] = set()
                for quadrant in rng.permutation(4)[: rng.integers(1, 4)]:
                    digit, label = pool[rng.integers(len(pool))]
                    mask = Image.fromarray(digit).resize((16, 16), Image.Resampling.BICUBIC)
                    colour = rng.integers(0, 90, 3) + (166 if rng.random() < 0.5 else 0)
                    ink = Image.new("RGB", (16, 16), tuple(int(v) for v in colour))
                    image.paste(ink, (int(quadrant % 2) * 16, int(quadrant // 2) * 16), mask)
                    present.add(label)
                yield image, tuple(sorted(present)), split

    return _collect(draw(), list(string.digits))


def _collect(drawn: Iterator[tuple[Image.Image, int | tuple[int, ...], str]], classes: list[str]) -> BundledSet:
    images, labels, split = [], [], []
    for image, label, part in drawn:
        images.append(np.asarray(image.convert("RGB")))
        labels.append(label if isinstance(label, tuple) else (label,))
        split.append(part)
    return BundledSet(np.stack(images), labels, split, classes)


BUNDLED: dict[str, Callable[[int, int, int], BundledSet]] = {
    "photos": photos,
    "digits": digits,
    "textures": textures,
    "glyphs": glyphs,
    "tags": tags,
}
