"""The bundled sets: the same each time, as many as asked, nothing of the test images in training."""

from __future__ import annotations

import functools
import string
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from wecolora.data import bundled
from wecolora.data.bundled import BUNDLED, PHOTOS, TEST_FONTS, TEXTURES, TRAIN_FONTS, _cells, _crop

SMALL = {"photos": (40, 20), "digits": (40, 20), "textures": (40, 24), "glyphs": (300, 124), "tags": (60, 30)}


@pytest.fixture(scope="module", autouse=True)
def pictures_decoded_once():
    """Decoding the photographs is most of the time that drawing takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundled, "_picture", functools.cache(bundled._picture))
        yield


@pytest.fixture(scope="module")
def drawn():
    return {name: BUNDLED[name](*counts, 0) for name, counts in SMALL.items()}


def by_class(one, split):
    """The images of a split for each tuple of labels, in order."""
    found = {}
    for image, labels, part in zip(one.images, one.labels, one.split, strict=True):
        if part == split:
            found.setdefault(labels, []).append(image)
    return found


def test_the_five_sets_of_the_embedded_default():
    assert list(BUNDLED) == ["photos", "digits", "textures", "glyphs", "tags"]


@pytest.mark.parametrize("name", SMALL)
def test_a_set_is_well_formed(drawn, name):
    one = drawn[name]
    n = len(one.images)
    assert one.images.dtype == np.uint8 and one.images.shape == (n, 32, 32, 3)
    assert len(one.labels) == len(one.split) == n
    assert set(one.split) == {"train", "test"}
    assert len(set(one.classes)) == len(one.classes)
    for split in ("train", "test"):
        seen = {label for labels, part in zip(one.labels, one.split, strict=True) if part == split for label in labels}
        assert seen == set(range(len(one.classes)))  # no class is missing in either
    assert all(labels and list(labels) == sorted(set(labels)) for labels in one.labels)
    flat = one.images.reshape(n, -1)
    assert (flat.std(axis=1) < 1).mean() < 0.05  # hardly a blank image (a crop of a black corner)
    assert len(np.unique(flat, axis=0)) > 0.97 * n


@pytest.mark.parametrize("name", SMALL)
def test_the_counts_are_those_asked_for(drawn, name):
    found = Counter(drawn[name].split)
    assert (found["train"], found["test"]) == pytest.approx(SMALL[name], rel=0.05)


@pytest.mark.parametrize("name", SMALL)
def test_a_set_is_a_function_of_its_seed(drawn, name):
    again = BUNDLED[name](*SMALL[name], 0)
    np.testing.assert_array_equal(again.images, drawn[name].images)
    assert (again.labels, again.split, again.classes) == (
        drawn[name].labels,
        drawn[name].split,
        drawn[name].classes,
    )
    other = BUNDLED[name](*SMALL[name], 1)
    if name == "digits":  # the digits are what they are
        np.testing.assert_array_equal(other.images, again.images)
    else:  # not the same images in another order either
        one, two = by_class(again, "train"), by_class(other, "train")
        shared = [labels for labels in one if labels in two]
        assert np.mean([(one[labels][0] != two[labels][0]).any() for labels in shared]) > 0.9


@pytest.mark.parametrize("name", SMALL)
def test_a_larger_set_contains_the_smaller_one(drawn, name):
    train, test = SMALL[name]
    larger = BUNDLED[name](2 * train, test, 0)
    small_train, large_train = by_class(drawn[name], "train"), by_class(larger, "train")
    assert sum(map(len, large_train.values())) == pytest.approx(2 * train, rel=0.05)
    for labels, images in small_train.items():
        assert len(large_train[labels]) >= len(images)
        np.testing.assert_array_equal(large_train[labels][: len(images)], images)
    small_test, large_test = by_class(drawn[name], "test"), by_class(larger, "test")
    assert small_test.keys() == large_test.keys()
    for labels, images in small_test.items():
        np.testing.assert_array_equal(large_test[labels], images)


@pytest.mark.parametrize("name", ["photos", "textures"])
def test_classes_are_balanced(drawn, name):
    for split in ("train", "test"):
        counts = {len(images) for images in by_class(drawn[name], split).values()}
        assert len(counts) == 1


def test_a_set_does_not_draw_from_another_ones_randomness(drawn):
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    BUNDLED["tags"](5, 5, 0)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


# Disjoint regions


def overlap(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width > 0 and height > 0


@settings(deadline=None, max_examples=60)
@given(st.integers(64, 2000), st.integers(64, 2000))
def test_train_and_test_cells_are_disjoint_and_cover_the_picture(width, height):
    latin, rest = _cells(Image.new("1", (width, height)))
    assert (len(latin), len(rest)) == (4, 12)
    boxes = latin + rest
    assert not any(overlap(one, other) for i, one in enumerate(boxes) for other in boxes[:i])
    assert sum((right - left) * (bottom - top) for left, top, right, bottom in boxes) == width * height
    assert min(box[0] for box in boxes) == min(box[1] for box in boxes) == 0
    # One cell of the four in each row and each column: every part of the picture is in both.
    assert len({box[0] for box in latin}) == len({box[1] for box in latin}) == 4


class Asked:
    """Stands for a picture, notes which window is cut from it, and answers with a chequered one."""

    def crop(self, box):
        self.box = box
        side = np.arange(box[2] - box[0])
        return Image.fromarray((255 * ((side[:, None] + side) // 16 % 2)).astype(np.uint8))


WINDOWS = [*((name, 32, 10_000) for name in PHOTOS), *TEXTURES.values()]


@pytest.mark.parametrize(("name", "smallest", "largest"), WINDOWS)
def test_a_window_is_a_square_in_one_cell(name, smallest, largest):
    width, height = bundled._picture(name).size
    for cells in _cells(Image.new("1", (width, height))):
        sides = []
        for seed in range(200):
            asked = Asked()
            _crop(asked, cells, np.random.default_rng(seed), smallest, largest)
            left, top, right, bottom = asked.box
            assert right - left == bottom - top
            assert any(c[0] <= left and c[1] <= top and right <= c[2] and bottom <= c[3] for c in cells)
            sides.append(right - left)
        limit = min(min(c[2] - c[0], c[3] - c[1]) for c in cells)
        assert smallest <= min(sides) and max(sides) <= min(largest, limit + 1)
        assert min(sides) < 1.1 * smallest and max(sides) > 0.9 * min(largest, limit)  # every scale between


def test_a_crop_shows_nothing_of_what_lies_beyond_its_cells():
    """The pixels outside the cells are changed: no crop changes, at any scale and at every edge."""
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    test_cells, train_cells = _cells(Image.fromarray(noise))
    for cells in (test_cells, train_cells):
        inside = np.zeros((256, 256, 1), bool)
        for left, top, right, bottom in cells:
            inside[top:bottom, left:right] = True
        other = Image.fromarray(np.where(inside, noise, 255 - noise).astype(np.uint8))
        for seed in range(100):
            one, two = (_crop(image, cells, np.random.default_rng(seed)) for image in (Image.fromarray(noise), other))
            np.testing.assert_array_equal(np.asarray(one), np.asarray(two))


def test_a_uniform_window_is_drawn_again():
    picture = np.full((64, 64, 3), (200, 20, 90), np.uint8)
    picture[:, 32:] = np.random.default_rng(0).integers(0, 256, (64, 32, 3))
    cells = [(0, 0, 32, 64), (32, 0, 64, 64)]
    for seed in range(20):
        assert np.asarray(_crop(Image.fromarray(picture), cells, np.random.default_rng(seed))).std((0, 1)).max() > 4


@pytest.mark.parametrize("name", ["photos", "textures", "tags"])
def test_train_and_test_images_are_cut_from_the_cells_of_their_own(monkeypatch, name):
    asked = []

    def crop(picture, cells, rng, *sides):
        asked.append((picture.size, tuple(cells)))
        return Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))

    monkeypatch.setattr(bundled, "_crop", crop)
    one = BUNDLED[name](160, 160, 0)
    used = {"train": {}, "test": {}}
    for split, (size, cells) in zip(one.split, asked, strict=True):
        used[split].setdefault(size, set()).update(cells)
    assert used["train"].keys() == used["test"].keys()
    for size, cells in used["train"].items():
        assert not any(overlap(one, other) for one in cells for other in used["test"][size])
        # RESISC45's 20/80 split learns from little; the others from most of a picture.
        assert len(cells) == (4 if name == "textures" else 12)


def test_textures_come_from_pictures_that_the_corpus_does_not_have():
    assert not {source for source, _, _ in TEXTURES.values()} & set(PHOTOS)
    assert len(set(PHOTOS)) == len(PHOTOS) == 10


# Digits and tags


def test_digits_are_scikit_learns_split_in_thirds():
    from sklearn.datasets import load_digits

    data = load_digits()
    one = BUNDLED["digits"](10_000, 10_000, 0)
    assert Counter(one.split) == {"train": 1198, "test": 599}
    labels = np.array([label for (label,) in one.labels])
    parts = np.array(one.split)
    np.testing.assert_array_equal(labels[parts == "test"], data.target[::3])
    np.testing.assert_array_equal(np.sort(labels), np.sort(data.target))
    # Enlarged, a digit is still itself: shrunk again it is close to the original.
    small = one.images[parts == "test"][:, :, :, 0].reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4)) * 16 / 255
    assert np.abs(small - data.images[::3]).mean() < 1.0
    assert (one.images[..., 0] == one.images[..., 1]).all()  # grey


def test_digits_of_tags_are_from_the_digits_own_split():
    pools = bundled._digit_images()
    assert {split: len(pool) for split, pool in pools.items()} == {"train": 1198, "test": 599}
    train, test = ({image.tobytes() for image, _ in pools[split]} for split in ("train", "test"))
    assert not train & test


def test_tags_have_several_labels_and_every_digit_often_enough():
    one = BUNDLED["tags"](400, 100, 0)
    counts = Counter(len(labels) for labels in one.labels)
    assert min(counts) == 1 and 2 <= max(counts) <= 4
    assert 0.3 < 1 - counts[1] / 500 < 0.9
    assert min(Counter(label for labels in one.labels for label in labels).values()) > 30


def test_a_tags_digits_are_painted_over_its_photograph(monkeypatch):
    """Over a grey crop, what is not grey is ink: more of it where there are more digits."""
    monkeypatch.setattr(bundled, "_crop", lambda *_: Image.new("RGB", (32, 32), (128, 128, 128)))
    one = BUNDLED["tags"](200, 10, 0)
    ink = (np.abs(one.images.astype(int) - 128).max(axis=3) > 10).mean(axis=(1, 2))
    several = np.array([len(labels) > 1 for labels in one.labels])
    assert ink.min() > 0.02 and ink[several].mean() > 1.4 * ink[~several].mean()
    assert ink.max() < 0.9  # the photograph is still seen


# Glyphs


def test_glyphs_are_the_62_characters_with_a_long_tail(drawn):
    one = drawn["glyphs"]
    assert len(one.classes) == 62 >= 60
    assert sorted(one.classes) == sorted(string.ascii_letters + string.digits)
    larger = BUNDLED["glyphs"](3000, 620, 0)
    counts = sorted((len(images) for images in by_class(larger, "train").values()), reverse=True)
    assert 8 <= counts[0] / counts[-1] <= 12
    assert sum(counts[:16]) > 2 * sum(counts[-31:])  # the first quarter against the last half
    assert {len(images) for images in by_class(larger, "test").values()} == {10}  # the test set is balanced


def test_rare_glyphs_do_not_follow_the_alphabet(drawn):
    counts = {labels: len(images) for labels, images in by_class(drawn["glyphs"], "train").items()}
    sizes = np.array([counts[(label,)] for label in range(62)])
    assert abs(np.corrcoef(sizes, np.arange(62))[0, 1]) < 0.5


def test_train_and_test_fonts_are_disjoint():
    folder = bundled._font_folder()
    assert not set(TRAIN_FONTS) & set(TEST_FONTS)
    files = [(folder / f"{name}.ttf").read_bytes() for name in (*TRAIN_FONTS, *TEST_FONTS)]
    assert len(set(files)) == len(TRAIN_FONTS) + len(TEST_FONTS)


def test_a_split_is_drawn_in_its_own_fonts(monkeypatch):
    from PIL import ImageFont

    loaded, used = {}, []
    load = ImageFont.truetype

    def truetype(path, size):
        font = load(path, size)
        loaded[id(font)] = path.stem
        return font

    class Draw:
        def __init__(self, image):
            pass

        def text(self, at, text, ink, font, anchor):
            used.append(loaded[id(font)])

    monkeypatch.setattr(bundled.ImageFont, "truetype", truetype)
    monkeypatch.setattr(bundled.ImageDraw, "Draw", Draw)
    one = BUNDLED["glyphs"](300, 300, 0)
    for split, fonts in (("train", TRAIN_FONTS), ("test", TEST_FONTS)):
        assert {name for name, part in zip(used, one.split, strict=True) if part == split} == set(fonts)


def test_every_font_has_every_glyph():
    from matplotlib.ft2font import FT2Font

    for name in (*TRAIN_FONTS, *TEST_FONTS):
        known = FT2Font(str(bundled._font_folder() / f"{name}.ttf")).get_charmap()
        assert [glyph for glyph in bundled.GLYPHS if ord(glyph) not in known] == [], name
