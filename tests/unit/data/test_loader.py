"""Worker processes give what one process gives, in order, and name what they cannot read."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from wecolora.config.recipes import CacheRecipe
from wecolora.core.errors import BadInput
from wecolora.data.loader import Loader
from wecolora.evaluation.features import Extractor, read_features, write_features
from wecolora.models.vit import pooled
from wecolora.training.batches import OnlineBatches, prefetched
from wecolora.training.cache import CacheReader, Recording, write_shard


def squares(item):
    if item == 13:
        raise BadInput("image 13: is no image.")
    if item == 14:
        raise ZeroDivisionError("a mistake of the program")
    return np.full((2, 3), item * item, np.uint8)


def process(item):
    return np.array([os.getpid()])


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_come_in_order_each_time(workers):
    decoder = Loader(squares, workers)
    for batches in ([[3, 1], [2], [0, 5, 4]], [], [[7]], [[number] for number in range(12)]):
        found = list(decoder(iter(batches)))
        assert [batch.tolist() for batch in found] == [[[[i * i] * 3] * 2 for i in batch] for batch in batches]
        assert all(batch.dtype == torch.uint8 for batch in found)


def test_the_processes_are_others_and_stay():
    decoder = Loader(process, 2)
    first, second = ({int(pid) for batch in decoder([[0]] * 6) for pid in batch} for _ in range(2))
    assert first == second and len(first) == 2 and os.getpid() not in first
    assert {int(pid) for batch in Loader(process)([[0]] * 3) for pid in batch} == {os.getpid()}


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_input_is_raised_in_its_place_as_it_is(workers):
    found = []
    with pytest.raises(BadInput) as caught:
        for batch in Loader(squares, workers)([[1], [2], [3, 13], [4]]):
            found.append(int(batch[0, 0, 0]))
    assert found == [1, 4] and str(caught.value) == "image 13: is no image."


@pytest.mark.parametrize("workers", [0, 2])
def test_a_mistake_of_the_program_keeps_its_traceback(workers):
    with pytest.raises(ZeroDivisionError, match="a mistake of the program"):
        list(Loader(squares, workers)([[14]]))


@pytest.mark.filterwarnings("error")  # of a thread's, too
def test_decoders_that_end_in_a_cycle_of_garbage_close_their_files_once():
    kept = None
    for number in range(30):
        decoder = Loader(squares, 2)
        try:
            list(decoder([[14]] if number % 2 else [[13], [1], [2]]))
        except (BadInput, ZeroDivisionError) as error:  # its traceback holds this frame, and so itself
            kept = error
    gc.collect()
    assert kept is not None
    time.sleep(0.5)


@pytest.mark.parametrize("workers", [0, 2])
def test_no_random_number_of_the_callers_is_drawn(workers):
    torch.manual_seed(0)
    wanted = torch.rand(3)
    torch.manual_seed(0)
    list(Loader(squares, workers)([[1], [2]]))
    assert torch.equal(torch.rand(3), wanted)


# Where images are decoded


@pytest.fixture
def recipe(tiny_architecture):
    return CacheRecipe(
        teacher="tiny", corpus="c", architecture=tiny_architecture, mean=(0.5,) * 3, std=(0.25,) * 3,
        seed=3, views=2, low=0, high=10, revision=1,
    )  # fmt: skip


def test_a_shard_has_the_same_bytes_for_any_number_of_workers(array_index, tiny_teacher, recipe, tmp_path):
    for workers in (0, 2):
        path = tmp_path / f"{workers}.h5"
        write_shard(
            path, array_index, [7, 2, 5, 0, 3], tiny_teacher, "sha", recipe, Recording(batch=4, workers=workers)
        )
    assert (tmp_path / "0.h5").read_bytes() == (tmp_path / "2.h5").read_bytes()
    assert len(CacheReader([tmp_path / "2.h5"], recipe.of_all_shards(), "sha")) == 5


def test_features_are_the_same_for_any_number_of_workers(array_index, tiny_teacher, tmp_path):
    def forward(pixels):
        return pooled(tiny_teacher, pixels.permute(0, 3, 1, 2) / 255)

    found = []
    for workers in (0, 2):
        path = tmp_path / f"{workers}.h5"
        write_features(path, Extractor(forward, 16, 32, "sha"), array_index, workers=workers)
        found.append(read_features(path)[0])
    for split in ("train", "test"):
        assert all(torch.equal(*pair) for pair in zip(found[0][split], found[1][split], strict=True))


def test_online_batches_are_the_same_for_any_number_of_workers(array_index, tiny_teacher, distill_recipe):
    alone, helped = (
        OnlineBatches(array_index, range(12), tiny_teacher, distill_recipe(), workers=workers) for workers in (0, 2)
    )
    for view in (0, 1):  # an epoch each
        batches = [[3, 1, 2], [11], [0, 5]]
        pairs = zip(prefetched(alone, batches, view), prefetched(helped, batches, view), strict=True)
        assert all(torch.equal(a, b) for one, other in pairs for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_ends_a_shard_with_its_name(array_index, tiny_teacher, recipe, tmp_path, workers):
    (tmp_path / "broken.png").write_bytes(b"")
    array_index.paths[4] = "broken.png"
    with pytest.raises(BadInput, match=r"broken\.png \(data set coarse\): cannot be read as an image"):
        write_shard(
            tmp_path / "a.h5", array_index, range(9), tiny_teacher, "sha", recipe, Recording(batch=2, workers=workers)
        )
    assert not (tmp_path / "a.h5").exists()


TERMINATED = """
import os, signal, time
import numpy as np
from wecolora.core import job
from wecolora.data.loader import Loader
from wecolora.core.errors import Stopped

def decode(item):
    time.sleep(0.01)
    return np.full((2, 2, 3), item, np.uint8)

with job.running(None), job.stop_deferred() as stopping:
    for number, batch in enumerate(Loader(decode, 2)([number] * 4 for number in range(60))):
        if number == 3:
            os.killpg(0, signal.SIGTERM)
        if number == 20 and stopping():
            raise Stopped(f"batch {batch.unique().tolist()}")
"""


def test_a_scheduler_that_ends_every_process_at_once_does_not_end_the_step_under_way():
    ended = subprocess.run(
        [sys.executable, "-c", TERMINATED],
        start_new_session=True,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 143, ended.stderr
    assert "stopped by SIGTERM, and saved: batch [20]" in ended.stderr and "Traceback" not in ended.stderr
