"""Indexes and pixels: what is written reads back, what cannot be read is named, what is cut is the centre."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from PIL import ExifTags, Image

from wecolora.errors import BadInput
from wecolora.images import Index, Picture, decode, read_index, write_index
from wecolora.images import centre_crop as crop_of


def smooth(width, height, seed=0):
    """A picture in which resampling matters, but not wildly."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def centre_crop(image, size):
    return crop_of(Picture(image, *image.size), size)


def file_index(folder, name):
    return Index("pictures", str(folder), [], False, [name], [name], [0], [[]], ["train"])


# The index


def test_an_index_reads_back(array_index, tmp_path):
    index = dataclasses.replace(
        array_index,
        multilabel=True,
        classes=["ä", "b", "c"],
        ids=[f"träin/{number}" for number in range(12)],
        labels=[[], [0], [0, 2], *[[1]] * 9],
    )
    write_index(index, tmp_path / "a" / "index.parquet")
    assert read_index(tmp_path / "a" / "index.parquet") == index
    write_index(index, tmp_path / "b.parquet")
    assert (tmp_path / "b.parquet").read_bytes() == (tmp_path / "a" / "index.parquet").read_bytes()


def test_a_relative_root_moves_with_its_index(array_index, tmp_path):
    write_index(dataclasses.replace(array_index, root="."), tmp_path / "index.parquet")
    pixels = read_index(tmp_path / "index.parquet").pixels([3], 20)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("index.parquet", "images.npy"):
        (tmp_path / name).rename(moved / name)
    np.testing.assert_array_equal(read_index(moved / "index.parquet").pixels([3], 20), pixels)


def test_rows_of_a_split(array_index):
    assert array_index.rows("train") == list(range(9))
    assert array_index.rows("test") == [9, 10, 11]
    assert array_index.rows("validation") == []


def test_single_labels_come_in_the_order_asked_for(array_index):
    assert array_index.single_labels([5, 0, 10, 4]) == [2, 0, 1, 1]
    assert array_index.single_labels([]) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": [[number % 3] for number in range(11)] + [[]]},
        {"labels": [[number % 3] for number in range(11)] + [[0, 2]]},
        {"multilabel": True},
        {"labels": [[]] * 12},
    ],
)
def test_images_without_one_label_each_are_refused_where_it_is_read(array_index, changes):
    index = dataclasses.replace(array_index, **changes)
    with pytest.raises(BadInput, match="data set coarse: has no single label an image, which a method needs"):
        index.single_labels(range(12))


def test_a_label_that_is_missing_elsewhere_does_not_matter(array_index):
    index = dataclasses.replace(array_index, labels=[[0]] * 9 + [[]] * 3)
    assert index.single_labels(range(9)) == [0] * 9


# Examples


def labels_of(index, positions):
    return [tuple(index.labels[position]) for position in positions]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_examples_are_of_different_classes_where_there_are_enough(array_index, count):
    found = array_index.examples("train", count)
    assert len(found) == len(set(labels_of(array_index, found))) == count


def test_further_examples_are_other_images_of_the_split(array_index):
    found = array_index.examples("train", 7)
    assert len(set(found)) == 7 and set(found) <= set(range(9))
    assert len(set(labels_of(array_index, found[:3]))) == 3
    assert set(array_index.examples("test", 100)) == {9, 10, 11}
    assert array_index.examples("validation", 2) == []


def test_examples_are_fixed_and_fewer_are_the_first_of_more(array_index):
    many = array_index.examples("train", 9)
    assert many == array_index.examples("train", 9) and sorted(many) == list(range(9)) != many
    assert all(array_index.examples("train", count) == many[:count] for count in range(9))


def test_examples_of_several_labels_differ_in_their_combination(array_index):
    labels = [[0], [0], [0, 1], [0], [0, 1], [1], [0], [0], [0], *[[2]] * 3]
    index = dataclasses.replace(array_index, multilabel=True, labels=labels)
    assert set(labels_of(index, index.examples("train", 3))) == {(0,), (0, 1), (1,)}


def test_an_image_without_a_label_is_no_example(array_index):
    index = dataclasses.replace(array_index, labels=[[], [1], []] * 4)
    assert set(index.examples("train", 9)) == {1, 4, 7}


def test_a_broken_index_is_named(array_index, tmp_path):
    path = tmp_path / "index.parquet"
    write_index(array_index, path)
    whole = path.read_bytes()
    for broken in (b"", whole[:-9], b"not parquet"):
        path.write_bytes(broken)
        with pytest.raises(BadInput, match=r"index\.parquet: is no index"):
            read_index(path)
    with pytest.raises(BadInput, match="is no index"):
        read_index(tmp_path / "missing.parquet")


def test_another_table_is_no_index(array_index, tmp_path):
    from wecolora.subset import write_subset

    write_subset(array_index, 0, "balanced", tmp_path / "subset.parquet")
    with pytest.raises(BadInput, match=r"subset\.parquet: is no index"):
        read_index(tmp_path / "subset.parquet")


# Pictures


def test_array_rows_are_read_at_their_offset(array_index, tmp_path):
    stored = np.load(tmp_path / "images.npy")
    index = dataclasses.replace(array_index, offsets=list(reversed(range(12))))
    for position in (0, 5, 11):
        np.testing.assert_array_equal(np.asarray(index.image(position)), stored[11 - position])


def test_a_missing_or_broken_array_is_named(array_index, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    index = dataclasses.replace(array_index, root=str(other))
    with pytest.raises(BadInput, match=r"other/images\.npy: cannot be read"):
        index.image(0)
    (other / "images.npy").write_bytes((tmp_path / "images.npy").read_bytes()[:500])
    with pytest.raises(BadInput, match=r"other/images\.npy: cannot be read"):
        index.image(0)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK", "RGB", "I;16"])
def test_every_kind_of_picture_comes_as_rgb(tmp_path, mode):
    suffix = "tif" if mode in ("CMYK", "I;16") else "png"
    if mode == "I;16":
        picture = Image.fromarray(np.arange(80, dtype=np.uint16).reshape(8, 10))
    else:
        picture = smooth(10, 8).convert(mode)
    picture.save(tmp_path / f"a.{suffix}")
    found = file_index(tmp_path, f"a.{suffix}").image(0)
    assert found.mode == "RGB" and found.size == (10, 8)
    if mode in ("L", "RGB"):
        np.testing.assert_array_equal(np.asarray(found), np.asarray(picture.convert("RGB")))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "tif"])
def test_an_unreadable_picture_is_named(tmp_path, suffix):
    name = f"train/cat/one.{suffix}"
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    smooth(30, 30).save(path)
    whole = path.read_bytes()
    index = file_index(tmp_path, name)
    assert index.image(0).size == (30, 30)
    for broken in (b"", b"some text", whole[:10], whole[: len(whole) // 2]):
        path.write_bytes(broken)
        with pytest.raises(BadInput) as caught:
            index.image(0)
        assert str(path) in str(caught.value) and "pictures" in str(caught.value)
    path.unlink()
    with pytest.raises(BadInput, match=f"one.{suffix}"):
        index.image(0)


@pytest.mark.filterwarnings("ignore")
def test_whatever_is_wrong_with_a_picture_no_other_error_comes(tmp_path, monkeypatch):
    """Damaged files: each is read, or refused by its name."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)  # Pillow's guard; lower, so that no huge picture is made
    rng = np.random.default_rng(0)
    outcomes = {"read": 0, "refused": 0}
    for suffix in ("png", "bmp", "tif", "jpg"):
        path = tmp_path / f"a.{suffix}"
        smooth(12, 10).save(path)
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(100):
            damaged = whole.copy()
            damaged[rng.integers(len(whole), size=2)] = rng.integers(256, size=2)
            damaged[rng.integers(min(len(whole), 60))] = rng.integers(256)
            path.write_bytes(damaged.tobytes())
            try:
                file_index(tmp_path, path.name).image(0)
                outcomes["read"] += 1
            except BadInput as error:
                assert path.name in str(error)
                outcomes["refused"] += 1
    assert min(outcomes.values()) > 50


def test_a_broken_chunk_of_a_png_is_refused(tmp_path):
    """Pillow raises SyntaxError for it, as for a mistake in a program."""
    path = tmp_path / "a.png"
    smooth(200, 150).save(path)
    damaged = bytearray(path.read_bytes())
    length = damaged.index(b"IDAT") - 4
    damaged[length : length + 4] = (1000).to_bytes(4, "big")  # the rest is then read as a chunk without a name
    path.write_bytes(damaged)
    with pytest.raises(BadInput, match=r"a\.png"):
        file_index(tmp_path, "a.png").image(0)


# Between Pillow's warning and its error, and beyond both.
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(10_000, 9_000), (30_000, 30_000)])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path, size, monkeypatch):
    Image.new("1", size).save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size < 150_000
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(BadInput, match=rf"a\.png.*{size[0] * size[1]} pixels"):
        file_index(tmp_path, "a.png").image(0)


def test_the_largest_allowed_picture_is_read(tmp_path, monkeypatch):
    smooth(300, 200).save(tmp_path / "a.png")
    monkeypatch.setattr("wecolora.images.MAX_PIXELS", 60_000)
    assert file_index(tmp_path, "a.png").image(0).size == (300, 200)
    monkeypatch.setattr("wecolora.images.MAX_PIXELS", 59_999)
    with pytest.raises(BadInput, match=r"a\.png.*60000 pixels, more than 59999"):
        file_index(tmp_path, "a.png").image(0)


# Odd pictures

RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


def corners(mode="RGB", colours=(RED, GREEN, WHITE, (0, 0, 0)), side=8):
    """A picture of four squares: top left, top right, bottom left, bottom right."""
    picture = Image.new(mode, (2 * side, 2 * side))
    for number, colour in enumerate(colours):
        picture.paste(
            colour, (number % 2 * side, number // 2 * side, (number % 2 + 1) * side, (number // 2 + 1) * side)
        )
    return picture


def palette(**options):
    picture = corners("P", (0, 1, 2, 3))
    picture.putpalette([*RED, *GREEN, *WHITE, 0, 0, 0])
    return picture, {"format": "PNG", **options}


def sixteen(dtype, suffix):
    values = np.repeat(np.repeat(np.array([[0, 257 * 100], [257 * 200 + 128, 65535]]), 8, 0), 8, 1)
    return Image.fromarray(values.astype(dtype)), {"format": suffix}


GREYS = [(0,) * 3, (100,) * 3, (200,) * 3, (255,) * 3]
ODD = {
    "grey": ((corners("L", (0, 100, 200, 255)), {"format": "PNG"}), GREYS),
    "grey and alpha": ((corners("LA", ((0, 255), (100, 255), (0, 0), (255, 255))), {"format": "PNG"}), [
        (0,) * 3, (100,) * 3, WHITE, WHITE
    ]),
    "bits": ((corners("1", (0, 1, 1, 0)), {"format": "PNG"}), [(0,) * 3, WHITE, WHITE, (0,) * 3]),
    "palette": (palette(), [RED, GREEN, WHITE, (0, 0, 0)]),
    "palette with a transparent colour": (palette(transparency=3), [RED, GREEN, WHITE, WHITE]),
    "GIF": (palette(format="GIF"), [RED, GREEN, WHITE, (0, 0, 0)]),
    "alpha": ((corners("RGBA", ((*RED, 255), (*GREEN, 255), (9, 9, 9, 0), (255, 0, 0, 128))), {"format": "PNG"}), [
        RED, GREEN, WHITE, (255, 127, 127)
    ]),
    "a transparent colour": ((corners(), {"format": "PNG", "transparency": GREEN}), [RED, WHITE, WHITE, (0, 0, 0)]),
    "CMYK": ((corners("CMYK", ((0, 255, 255, 0), (255, 0, 255, 0), (0,) * 4, (0, 0, 0, 255))), {"format": "TIFF"}), [
        RED, GREEN, WHITE, (0, 0, 0)
    ]),
    "16 bits, PNG": (sixteen(np.uint16, "PNG"), GREYS),
    "16 bits, TIFF": (sixteen(np.uint16, "TIFF"), GREYS),
    "16 bits, big-endian": (sixteen(">u2", "TIFF"), GREYS),
    "16 bits in 32": (sixteen(np.int32, "TIFF"), GREYS),
    "WebP": ((corners(), {"format": "WEBP", "lossless": True}), [RED, GREEN, WHITE, (0, 0, 0)]),
}  # fmt: skip


@pytest.mark.parametrize("name", ["picture.jpg", "picture", "bîldchen 图 (1).tar", "a.PNG"])
@pytest.mark.parametrize("kind", ODD)
def test_an_odd_picture_comes_as_what_one_sees(tmp_path, kind, name):
    """Whatever its name says. Colours by hand: a corner each."""
    (picture, options), colours = ODD[kind]
    picture.save(tmp_path / name, **options)
    found = file_index(tmp_path, name).image(0)
    assert found.mode == "RGB" and found.size == (16, 16)
    pixels = np.asarray(found).astype(int)
    for square, colour in zip((pixels[:8, :8], pixels[:8, 8:], pixels[8:, :8], pixels[8:, 8:]), colours, strict=True):
        assert np.abs(square - colour).max() <= 1, (kind, square[0, 0])


@pytest.mark.parametrize("orientation", range(1, 10))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP", "MPO"])
def test_a_picture_is_turned_as_its_exif_says(tmp_path, orientation, form):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation  # 9 is none
    smooth(40, 24).save(tmp_path / "a", form, exif=exif)
    with Image.open(tmp_path / "a") as stored:
        wanted = ImageOps.exif_transpose(stored).convert("RGB")
    picture = file_index(tmp_path, "a").picture(0)
    np.testing.assert_array_equal(np.asarray(picture.image), np.asarray(wanted))
    assert (picture.width, picture.height) == wanted.size == ((24, 40) if 5 <= orientation <= 8 else (40, 24))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_beside_a_whole_picture_is_passed_over(tmp_path):
    smooth(40, 24).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff broken")
    assert file_index(tmp_path, "a.jpg").image(0).size == (40, 24)


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (Image.fromarray(np.full((4, 4), 0.5, np.float32)), "floating-point"),
        (Image.fromarray(np.full((4, 4), 70_000, np.int32)), "more than 16 bits"),
    ],
)
def test_pixels_of_no_known_range_are_refused(tmp_path, picture, said):
    picture.save(tmp_path / "a.tif")
    with pytest.raises(BadInput, match=rf"a\.tif.*{said}"):
        file_index(tmp_path, "a.tif").image(0)


@pytest.mark.parametrize("source", [b"", b"no picture", "missing.png"])
def test_what_is_no_picture_is_one_sentence(source):
    with pytest.raises(BadInput) as caught:
        decode(source, "the third of them")
    assert str(caught.value).startswith("the third of them: cannot be read as an image (")
    assert " object at " not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 200)])
def test_tiny_and_long_pictures_have_crops_and_views(tmp_path, size):
    from wecolora.cache import view_pixels

    smooth(*size).save(tmp_path / "a.jpg")
    index = file_index(tmp_path, "a.jpg")
    assert index.pixels([0], 32).shape == (1, 32, 32, 3)
    assert view_pixels(index, 0, range(3), 0, 32).shape == (3, 32, 32, 3)


# Pictures inside larger files


@pytest.fixture
def archive(tmp_path):
    """An index of three pictures in one tar file, and their bytes."""
    import tarfile

    contents = []
    for number, form in enumerate(("PNG", "JPEG", "WEBP")):
        file = io.BytesIO()
        smooth(30 + number, 20, number).save(file, form)
        contents.append(file.getvalue())
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        for number, content in enumerate(contents):
            about = tarfile.TarInfo(f"inside/{number}")
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    with tarfile.open(tmp_path / "all.tar") as tar:
        offsets = [member.offset_data for member in tar]
    names = [f"inside/{number}" for number in range(3)]
    sizes = [len(content) for content in contents]
    rows = (names, ["all.tar"] * 3, offsets, [[0]] * 3, ["train"] * 3)
    return Index("packed", str(tmp_path), ["a"], False, *rows, "", sizes), contents


def test_pictures_are_read_where_they_lie_in_a_tar_file(archive):
    index, contents = archive
    for position in (2, 0, 1, 2):
        with Image.open(io.BytesIO(contents[position])) as picture:
            wanted = np.asarray(picture.convert("RGB"))
        np.testing.assert_array_equal(np.asarray(index.image(position)), wanted)


def test_a_picture_that_cannot_be_read_from_a_tar_file_is_named_in_it(archive, tmp_path):
    index, _ = archive
    whole = (tmp_path / "all.tar").read_bytes()
    (tmp_path / "all.tar").write_bytes(whole[: index.offsets[2] + 10])
    with pytest.raises(BadInput, match=r"all\.tar, image inside/2: the file ends before it"):
        index.image(2)
    (tmp_path / "all.tar").write_bytes(whole[: index.offsets[1]] + b"x" * len(whole[index.offsets[1] :]))
    with pytest.raises(BadInput, match=r"all\.tar, image inside/1 \(data set packed\): cannot be read as an image"):
        index.image(1)
    assert index.image(0).size == (30, 20)
    moved = dataclasses.replace(index, paths=["gone.tar"] * 3)
    with pytest.raises(BadInput, match=r"gone\.tar, image inside/0: cannot be read"):
        moved.image(0)


def test_sizes_and_digests_read_back_and_default_to_none(archive, array_index, tmp_path):
    index = dataclasses.replace(archive[0], digests=["aa", "", "cc"], root=str(tmp_path))
    write_index(index, tmp_path / "index.parquet")
    assert read_index(tmp_path / "index.parquet") == index
    assert array_index.sizes == [0] * 12 and array_index.digests == [""] * 12


# Reduced decoding


@pytest.fixture(scope="module")
def photograph(tmp_path_factory):
    """A smooth picture of three megapixels, stored once as JPEG and once without loss."""
    folder = tmp_path_factory.mktemp("large")
    smooth(2003, 1501).save(folder / "a.jpg", quality=95)
    with Image.open(folder / "a.jpg") as picture:
        picture.save(folder / "a.png", compress_level=0)
    return folder


@pytest.mark.parametrize(("size", "scale"), [(224, 4), (600, 2), (96, 8), (1313, 1), (32, 8)])
def test_a_large_jpeg_is_decoded_no_smaller_than_its_crop_needs(photograph, size, scale, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "wecolora.images.centre_crop", lambda picture, size: seen.append(picture) or crop_of(picture, size)
    )
    reduced = file_index(photograph, "a.jpg").pixels([0], size)[0].astype(int)
    full = file_index(photograph, "a.png").pixels([0], size)[0].astype(int)
    assert [picture.scale for picture in seen] == [scale, 1]
    assert min(seen[0].image.size) >= size * 256 / 224 and (seen[0].width, seen[0].height) == (2003, 1501)
    assert scale == 8 or min(seen[0].image.size) < 2 * (size * 256 / 224 + 1)
    assert np.abs(reduced - full).mean() < 1 and np.abs(reduced - full).max() < 12
    if scale == 1:
        np.testing.assert_array_equal(reduced, full)


@pytest.mark.parametrize("size", [(500, 375), (500, 333), (400, 300)])
def test_a_jpeg_of_imagenets_size_is_decoded_whole(tmp_path, size):
    from wecolora.cache import view_pixels

    smooth(*size).save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as picture:
        picture.save(tmp_path / "a.png")
    lossy, whole = file_index(tmp_path, "a.jpg"), dataclasses.replace(file_index(tmp_path, "a.jpg"), paths=["a.png"])
    np.testing.assert_array_equal(lossy.pixels([0], 224), whole.pixels([0], 224))
    np.testing.assert_array_equal(view_pixels(lossy, 0, range(4), 0, 224), view_pixels(whole, 0, range(4), 0, 224))


@pytest.mark.parametrize("size", [96, 224])
def test_views_of_a_large_jpeg_are_those_of_the_whole_picture(photograph, size):
    """Boxes are drawn in its own pixels. And a view is the same alone as with others."""
    from wecolora.cache import view_pixels

    index = file_index(photograph, "a.jpg")
    whole = dataclasses.replace(index, paths=["a.png"])
    together = view_pixels(index, 0, range(12), 3, size)
    exact = view_pixels(whole, 0, range(12), 3, size)
    for number in range(12):
        np.testing.assert_array_equal(view_pixels(index, 0, [number], 3, size)[0], together[number])
        difference = np.abs(together[number].astype(int) - exact[number])
        assert difference.mean() < 1 and difference.max() < 12
    others = np.abs(together[0].astype(int) - exact[1]).mean()
    assert others > 5  # so that the comparison can fail


def test_a_turned_jpeg_is_reduced_like_one_that_stands(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    smooth(1600, 1200).save(tmp_path / "a.jpg", quality=95, exif=exif)
    turned = file_index(tmp_path, "a.jpg").picture(0, lambda width, height: 4)
    assert turned.image.size == (300, 400) and (turned.width, turned.height, turned.scale) == (1200, 1600, 4)
    full = np.asarray(file_index(tmp_path, "a.jpg").image(0).resize((300, 400), Image.Resampling.BOX)).astype(int)
    assert np.abs(np.asarray(turned.image) - full).mean() < 1


# The centre crop


@pytest.mark.parametrize("size", [(512, 384), (384, 512), (600, 400), (256, 256), (300, 200)])
def test_the_centre_crop_at_224_is_torchvisions(size):
    from torchvision import transforms

    theirs = transforms.Compose(
        [transforms.Resize(256, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(224)]
    )
    image = smooth(*size)
    np.testing.assert_array_equal(centre_crop(image, 224), np.asarray(theirs(image)))


def test_a_picture_of_the_right_size_is_left_as_it_is(array_index, tmp_path):
    stored = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    np.testing.assert_array_equal(centre_crop(Image.fromarray(stored), 20), stored)


def test_a_small_centre_crop_by_hand():
    # 16 x 256 / 224 = 18.3: the shorter side of 24 x 20 becomes 18, the longer 21.6, rounded.
    resized = np.asarray(smooth(24, 20).resize((22, 18), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(centre_crop(smooth(24, 20), 16), resized[1:17, 3:19])


@pytest.mark.parametrize("size", [(32, 32), (33, 32), (32, 500), (7, 3), (1, 1), (2000, 31)])
@pytest.mark.parametrize("side", [16, 32, 224])
def test_the_centre_crop_has_its_size_whatever_the_picture(size, side):
    assert centre_crop(smooth(*size), side).shape == (side, side, 3)


def test_the_centre_crop_is_centred():
    # A picture that is its own mirror image gives a crop that is, to the rounding of an odd margin.
    half = np.asarray(smooth(40, 60)).astype(int)
    image = np.concatenate([half, half[:, ::-1]], axis=1)
    image = np.concatenate([image, image[::-1]], axis=0).astype(np.uint8)  # 120 x 80
    crop = centre_crop(Image.fromarray(image), 28).astype(int)  # resized to 48 x 32
    np.testing.assert_allclose(crop, crop[::-1, ::-1], atol=1)


def test_pixels_are_stacked_in_the_order_asked_for(array_index):
    found = array_index.pixels([4, 0, 4], 16)
    assert found.shape == (3, 16, 16, 3) and found.dtype == np.uint8
    for row, position in zip(found, (4, 0, 4), strict=True):
        np.testing.assert_array_equal(row, centre_crop(array_index.image(position), 16))
    assert (found[0] != found[1]).any()
