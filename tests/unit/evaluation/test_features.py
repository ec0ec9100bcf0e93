"""Features: one row an image, equal to the model's own, and files that are refused."""

import contextlib
import dataclasses
import signal
from functools import partial

import h5py
import numpy as np
import pytest
import torch

from wecolora.config.recipes import FeatureRecipe
from wecolora.core.checkpoint import RowsCheckpoint
from wecolora.core.errors import BadInput, Stopped
from wecolora.data.images import Index, write_index
from wecolora.data.loader import Loader
from wecolora.evaluation import features
from wecolora.evaluation.features import Extractor, extract, read_features, write_features
from wecolora.models import vit
from workflow_scripts import features as job

MEAN, STD = (0.5, 0.4, 0.6), (0.25, 0.3, 0.2)


@pytest.fixture
def images(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 16, 16, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", pixels)
    return pixels


@pytest.fixture
def index(images, tmp_path):
    """Nine images; training and test images alternate, so that order can go wrong."""
    return Index(
        name="set",
        root=str(tmp_path),
        classes=["ant", "bee", "cat"],
        multilabel=False,
        ids=[f"id{number}" for number in range(9)],
        paths=["images.npy"] * 9,
        offsets=[8, 7, 6, 5, 4, 3, 2, 1, 0],
        labels=[[number % 3] for number in range(9)],
        split=["train", "test"] * 4 + ["train"],
    )


@pytest.fixture
def forward(tiny_teacher):
    return lambda pixels: vit.pooled(tiny_teacher, vit.normalise(pixels, MEAN, STD))


def model(forward):
    return Extractor(forward, size=16, width=32, weights_sha256="digest")


def test_each_image_has_the_row_that_timm_computes_for_it(index, forward, images, tiny_teacher, tmp_path):
    write_features(tmp_path / "f.h5", model(forward), index)
    data, classes, sha256 = read_features(tmp_path / "f.h5")
    assert classes == ["ant", "bee", "cat"] and sha256 == "digest"
    for split, numbers in {"train": [0, 2, 4, 6, 8], "test": [1, 3, 5, 7]}.items():
        features, labels = data[split]
        pixels = images[[8 - number for number in numbers]]
        inputs = torch.from_numpy(((pixels / 255 - MEAN) / STD).transpose(0, 3, 1, 2)).float()
        with torch.no_grad():
            torch.testing.assert_close(features, tiny_teacher(inputs), rtol=1e-4, atol=1e-5)
        assert features.dtype == torch.float32 and labels.tolist() == [number % 3 for number in numbers]
        with h5py.File(tmp_path / "f.h5") as file:
            assert [name.decode() for name in file[split]["ids"][:]] == [f"id{number}" for number in numbers]


def test_the_size_of_a_batch_changes_no_row(index, forward):
    loader = Loader(partial(index.crop, size=16))
    rows = [np.concatenate(list(extract(forward, loader, list(range(9)), batch))) for batch in (1, 4, 9, 100)]
    assert all(part.shape == (9, 32) for part in rows)
    for part in rows[1:]:
        np.testing.assert_allclose(part, rows[0], rtol=1e-4, atol=1e-5)


@pytest.fixture
def many(index):
    """1,100 images: five batches of the training images, the last of them short, and two of the test images."""
    splits = ["train"] * 700 + ["test"] * 300 + ["train"] * 100
    return dataclasses.replace(
        index,
        ids=[f"id{number}" for number in range(1100)],
        paths=["images.npy"] * 1100,
        offsets=[number % 9 for number in range(1100)],
        labels=[[number % 3] for number in range(1100)],
        split=splits,
        sizes=[0] * 1100,
        digests=[""] * 1100,
    )


@pytest.mark.parametrize("batches", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("every", [256, 512, 10**6])
def test_an_extraction_that_is_told_to_stop_goes_on_where_it_was(many, forward, tmp_path, monkeypatch, batches, every):
    """After any of its six batches; with and without what was saved on the way."""
    monkeypatch.setattr(features, "SAVED_ROWS", every)
    write_features(tmp_path / "whole.h5", model(forward), many)
    resume, seen = RowsCheckpoint(tmp_path / "resume", "set"), []

    def counting(pixels):
        seen.append(len(pixels))
        return forward(pixels)

    told = iter([*[False] * (batches - 1), True])
    where = ["256 of 800 train", "512 of 800 train", "768 of 800 train", "800 of 800 train", "256 of 300 test"]
    where.append("300 of 300 test")
    with pytest.raises(Stopped, match=f"^{where[batches - 1]} images of set$"):
        write_features(tmp_path / "f.h5", model(counting), many, resume=resume, stopping=lambda: next(told))
    assert not (tmp_path / "f.h5").exists() and not list(tmp_path.glob(".*part"))
    write_features(tmp_path / "f.h5", model(counting), many, resume=resume)
    assert seen == [256, 256, 256, 32, 256, 44]  # each batch once, in the same composition
    assert (tmp_path / "f.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
    resume.remove()
    assert not list((tmp_path / "resume").iterdir())


def test_an_extraction_that_is_stopped_again_and_again_comes_to_its_end(many, forward, tmp_path):
    """After each batch: also where one split is saved to its end and the other goes on."""
    write_features(tmp_path / "whole.h5", model(forward), many)
    resume, stops = RowsCheckpoint(tmp_path, "set"), 0
    while not (tmp_path / "f.h5").exists():
        told = iter([True])  # and whoever asks again fails
        with contextlib.suppress(Stopped):
            write_features(
                tmp_path / "f.h5", model(forward), many, resume=resume, stopping=lambda told=told: next(told)
            )
            break
        stops += 1
    assert stops == 6
    assert (tmp_path / "f.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_a_killed_extraction_loses_no_more_than_what_was_not_yet_saved(many, forward, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "SAVED_ROWS", 512)
    resume, seen = RowsCheckpoint(tmp_path, "set"), []

    def dying(pixels):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(len(pixels))
        return forward(pixels)

    with pytest.raises(KeyboardInterrupt):
        write_features(tmp_path / "f.h5", model(dying), many, resume=resume)
    write_features(
        tmp_path / "f.h5", model(lambda pixels: seen.append(-len(pixels)) or forward(pixels)), many, resume=resume
    )
    assert seen == [256, 256, 256, -256, -32, -256, -44]  # the third again


def test_more_images_than_one_batch_are_all_stored_in_order(index, tmp_path):
    many = dataclasses.replace(
        index,
        ids=[f"id{number}" for number in range(600)],
        paths=["images.npy"] * 600,
        offsets=[number % 9 for number in range(600)],
        labels=[[0]] * 600,
        split=["train"] * 590 + ["test"] * 10,
        sizes=[0] * 600,
        digests=[""] * 600,
    )
    seen = iter(range(600))

    def numbered(pixels):
        return torch.tensor([[float(next(seen))] * 32 for _ in pixels])

    write_features(tmp_path / "f.h5", model(numbered), many)
    data, _, _ = read_features(tmp_path / "f.h5")
    assert [data[split][0][:, 0].tolist() for split in ("train", "test")] == [[*range(590)], [*range(590, 600)]]


def test_several_labels_an_image_become_a_matrix(index, forward, tmp_path):
    tags = dataclasses.replace(index, multilabel=True, labels=[[0, 2], [], *[[1]] * 7])
    write_features(tmp_path / "f.h5", model(forward), tags)
    data, _, _ = read_features(tmp_path / "f.h5")
    assert data["train"][1].is_floating_point() and data["train"][1][0].tolist() == [1, 0, 1]
    assert data["test"][1][0].tolist() == [0, 0, 0]


def test_a_set_without_labels_cannot_be_probed(index, forward, tmp_path):
    with pytest.raises(BadInput, match="data set set: has no labels to probe"):
        write_features(tmp_path / "f.h5", model(forward), dataclasses.replace(index, classes=[]))
    assert not (tmp_path / "f.h5").exists()


def test_a_set_without_test_images_is_refused(index, forward, tmp_path):
    with pytest.raises(BadInput, match="data set set: has no test images"):
        write_features(tmp_path / "f.h5", model(forward), dataclasses.replace(index, split=["train"] * 9))
    assert [path.name for path in tmp_path.iterdir()] == ["images.npy"]


def test_a_feature_that_is_no_number_is_refused_and_leaves_no_file(index, tmp_path):
    def broken(pixels):
        out = torch.zeros(len(pixels), 32)
        out[-1, 3] = float("inf")
        return out

    with pytest.raises(BadInput, match="a feature is no number"):
        write_features(tmp_path / "f.h5", model(broken), index)
    assert [path.name for path in tmp_path.iterdir()] == ["images.npy"]


def test_a_truncated_missing_or_other_file_is_refused_by_name(index, forward, tmp_path):
    path = tmp_path / "f.h5"
    write_features(path, model(forward), index)
    whole = path.read_bytes()
    for content in (b"", b"no HDF5", whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(content)
        with pytest.raises(BadInput, match=f"{path}: is no whole file of features"):
            read_features(path)
    path.unlink()
    with pytest.raises(BadInput, match=rf"{path}: cannot be read \(No such file or directory\); restore it"):
        read_features(path)
    with h5py.File(path, "w") as file:
        file.create_group("train")
    with pytest.raises(BadInput, match=f"{path}: is no whole file of features"):
        read_features(path)


# The job


def test_of_a_job_that_is_stopped_between_two_data_sets_nothing_is_forgotten(
    many, tiny_teacher, tiny_architecture, tmp_path, monkeypatch
):
    """Its outputs are deleted by whoever started it: both sets have to come from what it saved."""
    indexes = []
    for name in ("one", "two"):
        write_index(dataclasses.replace(many, name=name), tmp_path / f"{name}.parquet")
        indexes.append(str(tmp_path / f"{name}.parquet"))
    vit.save_weights(tiny_teacher, tmp_path / "student.safetensors", {})
    statistics = {name: {"mean": MEAN, "std": STD} for name in ("one", "two")}
    recipe = FeatureRecipe(architecture=tiny_architecture, statistics=statistics, revision=1).canonical()

    def run(where, resume):
        paths = [str(tmp_path / where / f"{name}.h5") for name in ("one", "two")]
        (tmp_path / where).mkdir(exist_ok=True)
        arguments = {"student": str(tmp_path / "student.safetensors"), "indexes": indexes, "features": paths}
        job.main(**arguments, resume=resume and str(tmp_path / resume), recipe=recipe, threads=1)
        return [(tmp_path / where / f"{name}.h5").read_bytes() for name in ("one", "two")]

    whole = run("whole", None)
    monkeypatch.setattr(features, "SAVED_ROWS", 256)
    real, seen = features.extract, []

    def ended(*arguments):
        """SIGTERM in the first batch of the second set."""
        for part in real(*arguments):
            seen.append(len(part))
            if len(seen) == 7:
                signal.raise_signal(signal.SIGTERM)
            yield part

    monkeypatch.setattr(features, "extract", ended)
    with pytest.raises(Stopped, match="256 of 800 train images of two"):
        run("stopped", "resume")
    assert run("again", "resume") == whole
    # 44 and 32: the ends of the first set's splits, too short to be saved on the way.
    assert seen[7:] == [32, 44, 256, 256, 32, 256, 44]
    assert not list((tmp_path / "resume").iterdir())
