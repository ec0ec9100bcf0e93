"""The teacher cache: what is written is what the teacher makes of the recorded views; what does not fit is refused."""

from __future__ import annotations

import dataclasses
import json

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from wecolora.config.recipes import CacheRecipe
from wecolora.core.errors import BadInput
from wecolora.data.views import apply_view, draw_view
from wecolora.training import cache
from wecolora.training.cache import CacheReader, Recording, view_pixels, write_shard

SHA = "a" * 64
POSITIONS = [7, 2, 5, 0, 3]  # in subset order, which is not the index's


@pytest.fixture
def recipe(tiny_architecture):
    return CacheRecipe(
        teacher="tiny",
        corpus="coarse",
        architecture=tiny_architecture,
        mean=(0.5, 0.4, 0.6),
        std=(0.25, 0.3, 0.2),
        seed=3,
        views=2,
        low=0,
        high=10,
        revision=1,
    )


@pytest.fixture
def shard(array_index, tiny_teacher, recipe, tmp_path):
    path = tmp_path / "cache" / "000.h5"
    write_shard(path, array_index, POSITIONS, tiny_teacher, SHA, recipe, Recording(batch=3))
    return path


def read_all(reader, views=2):
    return [reader.read(range(len(reader)), view) for view in range(views)]


def refusal(path, recipe, sha=SHA, number=0, before=()):
    """The message with which a reader refuses a file, when it is opened or when its images are read."""
    with pytest.raises(BadInput) as caught:
        read_all(CacheReader([*before, path], recipe.of_all_shards(), sha))
    message = str(caught.value)
    assert str(path) in message and f"shard {number}" in message and message.endswith("to record it again.")
    return message


# What is recorded


def test_crops_are_the_views(array_index, shard, recipe):
    reader = CacheReader([shard], recipe.of_all_shards(), SHA)
    assert len(reader) == 5 and reader.ids == [f"coarse/{position:02d}" for position in POSITIONS]
    for number in range(2):
        crops, _ = reader.read(range(5), number)
        assert crops.dtype == np.uint8 and crops.shape == (5, 16, 16, 3)
        for crop, position in zip(crops, POSITIONS, strict=True):
            view = draw_view(3, f"coarse/{position:02d}", number, 24, 20)
            np.testing.assert_array_equal(crop, apply_view(array_index.picture(position), view, 16))


def test_tokens_are_the_teachers_last_block_in_fp16(array_index, shard, recipe, tiny_teacher):
    reader = CacheReader([shard], recipe.of_all_shards(), SHA)
    before_norm = tiny_teacher
    before_norm.norm = nn.Identity()
    for crops, tokens in read_all(reader):
        assert tokens.dtype == np.float16 and tokens.shape == (5, 4 + 1, 32)
        inputs = (crops.astype(np.float64) / 255 - [0.5, 0.4, 0.6]) / [0.25, 0.3, 0.2]
        with torch.no_grad():  # timm's own forward, and pixels normalised in float64
            wanted = before_norm.forward_features(torch.from_numpy(inputs.transpose(0, 3, 1, 2)).float()).numpy()
        np.testing.assert_allclose(tokens, wanted, rtol=2**-10, atol=1e-4)
        assert np.abs(wanted).max() > 0.5 and np.ptp(wanted, axis=0).max() > 0.1


def test_views_of_an_image_differ_and_are_read_apart(shard, recipe):
    (crops0, tokens0), (crops1, tokens1) = read_all(CacheReader([shard], recipe.of_all_shards(), SHA))
    assert (crops0 != crops1).any(axis=(1, 2, 3)).all() and (tokens0 != tokens1).any(axis=(1, 2)).all()


def test_the_layout_is_contiguous(shard):
    with h5py.File(shard) as file:
        for name in ("tokens", "crops"):
            assert file[name].chunks is None and file[name].compression is None
            assert file[name].id.get_offset() is not None
        assert set(file) == {"tokens", "crops", "ids", "checksum"}
        assert file["tokens"].shape == (5, 2, 5, 32) and file["crops"].shape == (5, 2, 16, 16, 3)
        assert file["checksum"].shape == (5, 2) and file["checksum"].dtype == np.uint64
        assert len(np.unique(file["checksum"][:])) == 10


def test_the_file_says_what_made_it(shard, recipe):
    with h5py.File(shard) as file:
        said = json.loads(file.attrs["recipe"])
        assert file.attrs["teacher_sha256"] == SHA
        software = json.loads(file.attrs["software"])
    assert said["architecture"]["embed_dim"] == 32 and said["views"] == 2 and said["seed"] == 3
    assert said["mean"] == [0.5, 0.4, 0.6] and "low" not in said and "high" not in said
    assert software["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert set(software) == {"torch", "timm", "pillow"}


@pytest.mark.parametrize("batch", [1, 4, 256])
def test_the_batch_does_not_matter(array_index, tiny_teacher, recipe, shard, tmp_path, batch):
    path = tmp_path / "other.h5"
    write_shard(path, array_index, POSITIONS, tiny_teacher, SHA, recipe, Recording(batch=batch))
    found, wanted = (read_all(CacheReader([p], recipe.of_all_shards(), SHA)) for p in (path, shard))
    for (crops, tokens), (wanted_crops, wanted_tokens) in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(crops, wanted_crops)
        np.testing.assert_allclose(tokens, wanted_tokens, rtol=2**-9, atol=1e-4)


def test_an_images_views_do_not_depend_on_the_shard_that_holds_it(array_index, tiny_teacher, recipe, shard, tmp_path):
    path = tmp_path / "alone.h5"
    write_shard(path, array_index, POSITIONS[3:4], tiny_teacher, SHA, recipe)
    alone, together = (CacheReader([p], recipe.of_all_shards(), SHA) for p in (path, shard))
    for view in range(2):
        np.testing.assert_array_equal(alone.read([0], view)[0], together.read([3], view)[0])
        np.testing.assert_allclose(alone.read([0], view)[1], together.read([3], view)[1], rtol=2**-9, atol=1e-4)


def test_progress_is_told(array_index, tiny_teacher, recipe, tmp_path):
    told = []
    write_shard(
        tmp_path / "a.h5", array_index, POSITIONS, tiny_teacher, SHA, recipe, Recording(batch=4, progress=told.append)
    )
    assert told == [2, 4, 5]


def test_view_pixels_are_of_the_numbers_asked_for(array_index):
    several = view_pixels(array_index, 4, [3, 0, 3], 9, 16)
    for found, number in zip(several, (3, 0, 3), strict=True):
        view = draw_view(9, "coarse/04", number, 24, 20)
        np.testing.assert_array_equal(found, apply_view(array_index.picture(4), view, 16))


# Reading


@pytest.fixture
def shards(array_index, tiny_teacher, recipe, tmp_path):
    """Three files of 5, 0 and 3 images: in a small corpus no image may fall between two shares."""
    parts = [POSITIONS, [], [8, 1, 6]]
    paths = [tmp_path / f"{number:03d}.h5" for number in range(3)]
    for path, part in zip(paths, parts, strict=True):
        write_shard(path, array_index, part, tiny_teacher, SHA, recipe)
    return paths


def test_several_shards_read_as_one_sequence(array_index, recipe, shards):
    reader = CacheReader(shards, recipe.of_all_shards(), SHA)
    positions = [*POSITIONS, 8, 1, 6]
    assert len(reader) == 8 and reader.ids == [array_index.ids[position] for position in positions]
    rows = [7, 0, 5, 4, 5, 2]  # across the files, in any order, one of them twice
    for view in range(2):
        crops, tokens = reader.read(rows, view)
        wanted = np.stack([view_pixels(array_index, positions[row], [view], 3, 16)[0] for row in rows])
        np.testing.assert_array_equal(crops, wanted)
        for at, row in enumerate(rows):
            np.testing.assert_array_equal(tokens[at], reader.read([row], view)[1][0])


def test_the_images_that_a_run_expects_are_checked_shard_by_shard(array_index, recipe, shards):
    ids = [array_index.ids[position] for position in [*POSITIONS, 8, 1, 6]]
    for count in (0, 5, 8):
        CacheReader(shards, recipe.of_all_shards(), SHA, ids[:count])
    with pytest.raises(BadInput, match=r"002\.h5 \(shard 2\): holds image .*coarse/01.* where the subset has 'other'"):
        CacheReader(shards, recipe.of_all_shards(), SHA, [*ids[:6], "other"])
    with pytest.raises(BadInput, match=r"000\.h5 \(shard 0\)"):
        CacheReader(shards, recipe.of_all_shards(), SHA, ids[::-1])
    with pytest.raises(BadInput, match="ends after 8 of 9 images"):
        CacheReader(shards, recipe.of_all_shards(), SHA, [*ids, "more"])


def test_an_empty_first_shard_is_whole(recipe, shards):
    reader = CacheReader([shards[1], shards[2]], recipe.of_all_shards(), SHA)
    alone = CacheReader([shards[2]], recipe.of_all_shards(), SHA)
    assert len(reader) == len(alone) == 3
    for found, wanted in zip(read_all(reader), read_all(alone), strict=True):
        np.testing.assert_array_equal(found[0], wanted[0])
        np.testing.assert_array_equal(found[1], wanted[1])
    assert len(CacheReader([shards[1]], recipe.of_all_shards(), SHA)) == 0


def test_a_large_batch_is_the_same_as_its_images_one_by_one(recipe, shards):
    rows = np.random.default_rng(0).integers(0, 8, 500).tolist()
    crops, tokens = CacheReader(shards, recipe.of_all_shards(), SHA).read(rows, 1)
    reader = CacheReader(shards, recipe.of_all_shards(), SHA)
    single = [reader.read([row], 1) for row in range(8)]
    np.testing.assert_array_equal(crops, np.concatenate([single[row][0] for row in rows]))
    np.testing.assert_array_equal(tokens, np.concatenate([single[row][1] for row in rows]))


def test_crops_are_read_and_checked_without_their_tokens(recipe, shards):
    rows = [7, 0, 5, 4, 5]
    reader = CacheReader(shards, recipe.of_all_shards(), SHA)
    for _ in range(2):  # the first time with the checksum
        crops, tokens = reader.read(rows, 1, tokens=False)
        assert tokens.shape == (0, 5, 32)
        np.testing.assert_array_equal(crops, CacheReader(shards, recipe.of_all_shards(), SHA).read(rows, 1)[0])
    flip(shards[0], place(shards[0], "tokens", 3, 1))
    with pytest.raises(BadInput, match="checksum"):
        CacheReader(shards, recipe.of_all_shards(), SHA).read([3], 1, tokens=False)


def test_what_is_read_is_the_callers_own(recipe, shard):
    reader = CacheReader([shard], recipe.of_all_shards(), SHA)
    crops, tokens = reader.read([0], 0)
    kept = crops.copy(), tokens.copy()
    crops[:], tokens[:] = 0, 0
    np.testing.assert_array_equal(reader.read([0], 0)[0], kept[0])
    np.testing.assert_array_equal(reader.read([0], 0)[1], kept[1])


# Refused: made otherwise


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"views": 3}, ["views = 2", "needs 3"]),
        ({"seed": 4}, ["seed = 3", "needs 4"]),
        ({"mean": (0.5, 0.5, 0.5)}, ["mean = [0.5, 0.4, 0.6]", "needs [0.5, 0.5, 0.5]"]),
        ({"std": (0.5, 0.5, 0.5)}, ["std = [0.25, 0.3, 0.2]"]),
        ({"teacher": "other"}, ["teacher = 'tiny'", "needs 'other'"]),
        ({"corpus": "other"}, ["corpus = 'coarse'"]),
        ({"revision": 2}, ["revision = 1", "needs 2"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_cache_made_by_another_recipe_is_refused(shard, recipe, change, said):
    message = refusal(shard, CacheRecipe.model_validate({**recipe.model_dump(), **change}))
    for words in said:
        assert words in message, message
    unchanged = {"views", "seed", "mean", "std", "teacher", "corpus", "revision"} - set(change)
    assert not any(f"{name} = " in message for name in unchanged)  # what agrees is not told


def test_a_cache_of_another_architecture_is_refused(shard, recipe):
    other = recipe.input.architecture.model_copy(update={"num_heads": 4})
    message = refusal(shard, CacheRecipe.model_validate({**recipe.model_dump(), "architecture": other}))
    assert "architecture" in message and "'num_heads': 2" in message and "'num_heads': 4" in message


def test_a_cache_of_other_weights_is_refused(shard, recipe):
    message = refusal(shard, recipe, sha="b" * 64)
    assert "teacher's sha256" in message and SHA in message and "b" * 64 in message


@pytest.mark.parametrize("package", ["torch", "timm", "pillow"])
def test_a_cache_of_other_software_is_refused(shard, recipe, monkeypatch, package):
    installed = cache.version
    version = installed(package)
    monkeypatch.setattr(cache, "version", lambda name: "0.0.1" if name == package else installed(name))
    message = refusal(shard, recipe)
    assert f"software of this teacher cache is {package} = '{version}', but the run needs '0.0.1'" in message


def test_the_share_of_a_shard_is_nothing_that_a_run_asks(shard, recipe):
    CacheReader([shard], recipe.model_copy(update={"low": 50.0, "high": 60.0}).of_all_shards(), SHA)


# Refused: damaged


def place(path, name, row, view, byte=0):
    """Where in the file a byte of one view's crop or tokens lies."""
    with h5py.File(path) as file:
        data = file[name]
        one = int(np.prod(data.shape[2:])) * data.dtype.itemsize
        return data.id.get_offset() + (row * data.shape[1] + view) * one + byte


def flip(path, at, bits=1):
    whole = bytearray(path.read_bytes())
    whole[at] ^= bits
    path.write_bytes(whole)


@pytest.mark.parametrize("name", ["tokens", "crops"])
@pytest.mark.parametrize(("row", "view", "byte"), [(0, 0, 0), (3, 1, 100), (4, 1, 319)])
def test_a_flipped_bit_is_found_when_its_view_is_read(shard, recipe, name, row, view, byte):
    flip(shard, place(shard, name, row, view, byte))
    reader = CacheReader([shard], recipe.of_all_shards(), SHA)
    others = [other for other in range(5) if other != row]
    reader.read(others, view)
    reader.read(range(5), 1 - view)
    for _ in range(2):  # and found again: a bad view never counts as checked
        with pytest.raises(BadInput) as caught:
            reader.read([*others, row], view)
        message = str(caught.value)
        assert f"{shard} (shard 0)" in message and "checksum" in message and "delete the file" in message
        assert f"image coarse/{POSITIONS[row]:02d}, view {view}" in message


def test_a_flipped_bit_in_a_later_shard_names_that_file_and_image(recipe, shards):
    flip(shards[2], place(shards[2], "tokens", 1, 0))
    message = refusal(shards[2], recipe, number=2, before=shards[:2])
    assert "image coarse/01, view 0" in message


def test_a_flipped_bit_in_a_checksum_is_found(shard, recipe):
    with h5py.File(shard) as file:
        at = file["checksum"].id.get_offset()
    flip(shard, at + 8 * (2 * 2 + 1))
    assert f"image coarse/{POSITIONS[2]:02d}, view 1" in refusal(shard, recipe)


def test_a_truncated_file_is_refused(shard, recipe):
    whole = shard.read_bytes()
    for length in (len(whole) - 1, len(whole) - 600, len(whole) // 2, 1000, 100, 8, 1):
        shard.write_bytes(whole[:length])
        assert "no whole teacher cache" in refusal(shard, recipe)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 another file", b"\x89HDF\r\n\x1a\n" + b"\0" * 2000])
def test_what_is_no_hdf5_file_is_refused(shard, recipe, content):
    shard.write_bytes(content)
    assert "no whole teacher cache" in refusal(shard, recipe)


def test_a_missing_file_is_refused(shard, recipe):
    shard.unlink()
    with pytest.raises(BadInput, match=r"\(shard 0\): cannot be read \(No such file or directory\); restore it"):
        CacheReader([shard], recipe.of_all_shards(), "digest")


@pytest.mark.parametrize("name", ["tokens", "crops", "ids", "checksum"])
def test_a_file_without_one_of_its_parts_is_refused(shard, recipe, name):
    with h5py.File(shard, "r+") as file:
        del file[name]
    assert name in refusal(shard, recipe)


@pytest.mark.parametrize("name", ["recipe", "teacher_sha256", "software"])
def test_a_file_that_does_not_say_what_made_it_is_refused(shard, recipe, name):
    with h5py.File(shard, "r+") as file:
        del file.attrs[name]
    assert "no whole teacher cache" in refusal(shard, recipe)


def test_a_chunked_file_is_refused(shard, recipe):
    """It would be read a hundred times as slowly, and its bytes lie elsewhere."""
    with h5py.File(shard, "r+") as file:
        crops = file["crops"][:]
        del file["crops"]
        file.create_dataset("crops", data=crops, chunks=(1, 1, 16, 16, 3))
    assert "crops is not contiguous" in refusal(shard, recipe)


# Written whole or not at all


class Failing(nn.Module):
    """A teacher that fails at its second batch."""

    def __init__(self, blocks, error):
        super().__init__()
        self.blocks, self.error, self.calls = blocks, error, 0

    def forward(self, hidden):
        self.calls += 1
        if self.calls > 1:
            raise self.error
        return self.blocks(hidden)


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (RuntimeError("out of memory"), RuntimeError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(28, "No space left on device"), BadInput),
    ],
)
def test_a_write_that_fails_midway_leaves_nothing(array_index, tiny_teacher, recipe, tmp_path, error, raised):
    tiny_teacher.blocks = Failing(tiny_teacher.blocks, error)
    with pytest.raises(raised) as caught:
        write_shard(
            tmp_path / "cache" / "000.h5", array_index, POSITIONS, tiny_teacher, SHA, recipe, Recording(batch=4)
        )
    assert tiny_teacher.blocks.calls == 2
    assert list((tmp_path / "cache").iterdir()) == []
    if raised is BadInput:
        assert "000.h5" in str(caught.value) and "No space left" in str(caught.value)


def test_a_write_that_fails_leaves_the_file_that_was_there(array_index, tiny_teacher, recipe, shard):
    before = shard.read_bytes()
    tiny_teacher.blocks = Failing(tiny_teacher.blocks, RuntimeError())
    with pytest.raises(RuntimeError):
        write_shard(shard, array_index, POSITIONS, tiny_teacher, SHA, recipe, Recording(batch=4))
    assert shard.read_bytes() == before and [path.name for path in shard.parent.iterdir()] == ["000.h5"]


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_tokens_that_fp16_cannot_hold_are_refused(array_index, tiny_teacher, recipe, tmp_path, value):
    with torch.no_grad():
        tiny_teacher.blocks[-1].mlp.fc2.bias[3] = value
    with pytest.raises(BadInput, match=r"000\.h5.*teacher tiny.*float16"):
        write_shard(tmp_path / "cache" / "000.h5", array_index, POSITIONS, tiny_teacher, SHA, recipe)
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_unreadable_image_leaves_no_file_and_is_named(array_index, tiny_teacher, recipe, tmp_path):
    index = dataclasses.replace(array_index, paths=[*["images.npy"] * 5, "gone.png", *["images.npy"] * 6])
    with pytest.raises(BadInput, match=r"gone\.png"):
        write_shard(tmp_path / "cache" / "000.h5", index, POSITIONS, tiny_teacher, SHA, recipe)
    assert list((tmp_path / "cache").iterdir()) == []
