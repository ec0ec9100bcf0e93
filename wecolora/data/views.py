"""Views: recorded random crops and flips; each is a pure function of (the corpus's seed, image id, view number).

A view is a RandomResizedCrop with area in [0.2, 1] and aspect ratio in [3/4, 4/3], bicubic, then a horizontal flip with
probability 1/2: the weak augmentation of He et al. that section 4.2 names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import xxhash
from PIL import Image

from wecolora.data.images import Picture

SCALE = (0.2, 1.0)
RATIO = (3 / 4, 4 / 3)


@dataclass(frozen=True)
class View:
    """A crop box in pixels of the source image (left, top, width, height), and whether the crop is mirrored."""

    left: int
    top: int
    width: int
    height: int
    flip: bool


def draw_view(seed: int, image_id: str, number: int, width: int, height: int) -> View:
    """Return view ``number`` of an image of this size in pixels.

    There is no state, so workers and batches do not matter.
    """
    key = xxhash.xxh64_intdigest(f"{seed}/{image_id}/{number}".encode())
    rng = np.random.default_rng(key)
    flip = bool(rng.random() < 0.5)
    for _ in range(10):
        area = width * height * rng.uniform(*SCALE)
        ratio = math.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return View(int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1)), w, h, flip)
    # No box fitted, because the image is very long: take the largest centred one of an allowed aspect ratio.
    w = min(width, round(height * RATIO[1]))
    h = min(height, round(width / RATIO[0]))
    return View((width - w) // 2, (height - h) // 2, w, h, flip)


def room(width: int, height: int, size: int) -> float:
    """Return how many times smaller an image may be decoded so that even the smallest box is not enlarged to ``size``.

    This depends on the image alone, so the pixels of a view do not depend on the views that are made with it.
    """
    return min(width, height, math.sqrt(SCALE[0] * RATIO[0] * width * height)) / size


def apply_view(picture: Picture, view: View, size: int) -> np.ndarray:
    """Return the view's pixels, (size, size, 3) uint8."""
    left, top = view.left / picture.scale, view.top / picture.scale
    right, bottom = left + view.width / picture.scale, top + view.height / picture.scale
    # The filter of resize(box=box) would also read pixels around the box, so cut first, at the next whole pixels.
    x, y = math.floor(left), math.floor(top)
    cut = picture.image.crop((x, y, math.ceil(right), math.ceil(bottom)))
    crop = cut.resize((size, size), Image.Resampling.BICUBIC, (left - x, top - y, right - x, bottom - y))
    return np.asarray(crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if view.flip else crop)
