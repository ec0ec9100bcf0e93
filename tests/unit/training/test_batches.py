"""Where a step gets its pixels and tokens: the cache and the teacher itself give the same."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch

from wecolora.config.recipes import CacheRecipe
from wecolora.data.views import apply_view, draw_view
from wecolora.models.vit import normalise
from wecolora.training.batches import CachedBatches, OnlineBatches, prefetched
from wecolora.training.cache import CacheReader, write_shard

POSITIONS = [6, 1, 8, 4]
MEAN, STD, SEED = (0.5, 0.4, 0.6), (0.25, 0.3, 0.2), 3


@pytest.fixture
def recipe(distill_recipe):
    return distill_recipe(mean=MEAN, std=STD, corpus_seed=SEED)


@pytest.fixture
def online(array_index, tiny_teacher, recipe):
    return OnlineBatches(array_index, POSITIONS, tiny_teacher, recipe)


@pytest.fixture
def cached(array_index, tiny_teacher, tiny_architecture, tmp_path):
    recipe = CacheRecipe(
        teacher="tiny", corpus="c", architecture=tiny_architecture, mean=MEAN, std=STD,
        seed=SEED, views=3, low=0, high=10, revision=1,
    )  # fmt: skip
    paths = [tmp_path / "0.h5", tmp_path / "1.h5"]
    for path, part in zip(paths, (POSITIONS[:3], POSITIONS[3:]), strict=True):
        write_shard(path, array_index, part, tiny_teacher, "sha", recipe)
    return CachedBatches(CacheReader(paths, recipe.of_all_shards(), "sha"))


@pytest.mark.parametrize("view", [0, 1, 2])
@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [3, 0], [2, 2, 1]])
def test_cached_and_online_are_the_same_to_fp16(cached, online, rows, view):
    (pixels, tokens), (live_pixels, live_tokens) = cached.batch(rows, view), online.batch(rows, view)
    assert pixels.dtype == live_pixels.dtype == torch.uint8 and pixels.shape == (len(rows), 16, 16, 3)
    assert torch.equal(pixels, live_pixels)
    assert live_tokens.dtype == torch.float32 and tokens.shape == live_tokens.shape == (len(rows), 5, 32)
    torch.testing.assert_close(tokens.float(), live_tokens, rtol=2**-10, atol=1e-4)
    assert not live_tokens.requires_grad


def test_online_takes_the_recorded_views_of_its_positions(array_index, online):
    pixels, _ = online.batch([2, 0], 7)
    for found, position in zip(pixels, (8, 6), strict=True):
        view = draw_view(SEED, f"coarse/{position:02d}", 7, 24, 20)
        np.testing.assert_array_equal(found.numpy(), apply_view(array_index.picture(position), view, 16))


def test_without_a_teacher_it_gives_the_same_pixels_and_no_tokens(array_index, online, recipe):
    bare = OnlineBatches(array_index, POSITIONS, None, recipe)
    pixels, tokens = bare.batch([3, 0, 1], 5)
    assert torch.equal(pixels, online.batch([3, 0, 1], 5)[0]) and tokens.numel() == 0


def test_the_teachers_head_changes_no_token(array_index, online, headed_teacher, recipe):
    headed = OnlineBatches(array_index, POSITIONS, headed_teacher, recipe)
    assert torch.equal(headed.batch([0, 2], 1)[1], online.batch([0, 2], 1)[1])


def test_online_tokens_become_timms_output_by_the_final_norm(online, tiny_teacher):
    pixels, tokens = online.batch([0, 1, 2, 3], 0)
    with torch.no_grad():
        wanted = tiny_teacher.forward_features(normalise(pixels, MEAN, STD))
        torch.testing.assert_close(tiny_teacher.norm(tokens), wanted)
        assert not torch.allclose(tokens, wanted, atol=0.01)  # the norm does something


def test_they_know_how_many_images_there_are(cached, online):
    """The first of a cache may be fewer than its shards hold: a run's alpha ends within one."""
    assert online.images == cached.images == len(POSITIONS)
    assert CachedBatches(cached.reader, 3).images == 3


def test_the_batch_does_not_matter_to_an_image(cached, online):
    for batches in (cached, online):
        together, alone = batches.batch([0, 1, 2, 3], 1), batches.batch([2], 1)
        assert torch.equal(together[0][2:3], alone[0])
        torch.testing.assert_close(together[1][2:3], alone[1])


# Reading ahead


class Recorder:
    """Gives what it was asked for, and tells when, and by which thread."""

    def __init__(self, fail_at=None):
        self.asked, self.threads, self.fail_at = [], set(), fail_at

    def read(self, rows, view):
        for batch in rows:
            self.asked.append(list(batch))
            self.threads.add(threading.current_thread())
            if len(self.asked) - 1 == self.fail_at:
                raise ValueError("broken batch")
            yield torch.tensor(batch), torch.tensor([view])


def test_batches_come_in_order(cached):
    asked = [[0, 1], [3], [2, 0, 1]]
    for (pixels, tokens), rows in zip(prefetched(cached, asked, 2), asked, strict=True):
        wanted = cached.batch(rows, 2)
        assert torch.equal(pixels, wanted[0]) and torch.equal(tokens, wanted[1])


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_each_batch_is_asked_once(count):
    batches = Recorder()
    asked = [[number] for number in range(count)]
    assert [rows.tolist() for rows, _ in prefetched(batches, asked, 0)] == asked == batches.asked


def test_the_next_batch_is_read_while_the_caller_works():
    batches = Recorder()
    coming = prefetched(batches, iter([[number] for number in range(5)]), 0)
    assert next(coming)[0].tolist() == [0]
    for _ in range(200):  # it is read without being asked for, and no more than that one
        if len(batches.asked) >= 2:
            break
        time.sleep(0.01)
    assert batches.asked == [[0], [1]]
    assert len(batches.threads) == 1 and threading.main_thread() not in batches.threads
    coming.close()


def test_a_failing_batch_raises_in_the_caller_at_its_place():
    batches = Recorder(fail_at=2)
    got = []
    with pytest.raises(ValueError, match="broken batch"):
        for rows, _ in prefetched(batches, [[number] for number in range(5)], 0):
            got.append(rows.tolist())
    assert got == [[0], [1]]


def test_a_caller_that_stops_leaves_no_thread():
    before = threading.active_count()
    coming = prefetched(Recorder(), [[number] for number in range(5)], 0)
    next(coming)
    coming.close()
    assert threading.active_count() == before
