"""A campaign from images and a teacher: what is chosen, what is refused, and how it grows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from wecolora.campaign import from_images
from wecolora.campaign.from_images import Wish, refuse_wrong_weights, wanted, write
from wecolora.campaign.selection import Campaign
from wecolora.config.reading import read_config
from wecolora.core.errors import BadInput
from wecolora.models import vit

SHAPE = {"img_size": 16, "patch_size": 8, "embed_dim": 64, "depth": 4, "num_heads": 1}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """An empty folder with a teacher, and 40 images of two classes."""
    monkeypatch.chdir(tmp_path)
    vit.save_weights(vit.build(SHAPE), tmp_path / "vit.safetensors", {})
    rng = np.random.default_rng(0)
    for number in range(40):
        folder = tmp_path / "photos" / ("cats" if number % 2 else "dogs")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    return tmp_path


def wish(**changes):
    return Wish(**{"images": "photos", "teacher": "vit.safetensors", **changes})


def refusal(**changes):
    with pytest.raises(BadInput) as error:
        wanted(wish(**changes))
    return str(error.value)


def test_the_config_is_one_that_everything_else_takes():
    found = wanted(wish())
    write(found)
    assert found.config == Path("photos.yaml")
    campaign = Campaign(read_config("photos.yaml"))
    assert [run.slug() for run in campaign.trained()] == ["wecolora_r2_k64_a100_s0"]
    assert campaign.config.teachers["teacher"].architecture.model_dump(include=set(SHAPE)) == SHAPE
    assert campaign.config.artifacts["wecolora_r2_k64"].kind == "students"


def test_nothing_is_written_before_write():
    wanted(wish())
    assert not Path("photos.yaml").exists()


def test_the_same_wish_changes_no_byte_and_another_rank_adds_a_run():
    write(wanted(wish()))
    before = Path("photos.yaml").read_bytes()
    write(wanted(wish()))
    assert Path("photos.yaml").read_bytes() == before
    old = Campaign(read_config("photos.yaml"))
    found = wanted(wish(k=8, r=3))
    write(found)
    new = Campaign(read_config("photos.yaml"))
    assert [run.slug() for run in new.trained()] == ["wecolora_r2_k64_a100_s0", "wecolora_r3_k8_a100_s0"]
    (run,) = old.trained()
    assert new.distill_recipe(run) == old.distill_recipe(run)
    assert new.cache_recipe("teacher", 0) == old.cache_recipe("teacher", 0)
    assert found.artifact == "wecolora_r3_k8" and [run.r for run in found.campaign.trained()] == [3]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": 5}, "distill.epochs is 10 there, and 5 now"),
        ({"seed": 1}, "seeds is [0] there, and [1] now"),
        ({"lr": 0.5}, "distill.lr.2 is 0.001 there, and 0.5 now"),
        ({"labels": True}, "datasets.images.test_share is not given there, and 0.2 now"),
    ],
)
def test_a_name_that_other_settings_have_is_refused(changes, said):
    write(wanted(wish()))
    assert said in refusal(**changes) and "give another --name" in refusal(**changes)


def test_an_edited_config_that_says_the_same_is_taken_as_it_is():
    write(wanted(wish()))
    text = Path("photos.yaml").read_text(encoding="utf-8").replace("title: Students from photos", "title: My own title")
    Path("photos.yaml").write_text(text, encoding="utf-8")
    write(wanted(wish(k=8)))
    assert read_config("photos.yaml")["title"] == "My own title"


# What is chosen for the user


@pytest.mark.parametrize(("images", "batch"), [(2, 2), (20, 2), (40, 5), (100, 12), (512, 64), (100_000, 64)])
def test_batches_are_small_where_images_are_few(images, batch):
    architecture = from_images.describe("vit.safetensors").architecture
    chosen: list[str] = []
    found = from_images._settings(wish(), images, architecture, chosen)
    assert found["distill"]["batch"] == batch <= images
    assert (batch < 64) == any("Batches are of" in line for line in chosen)


def test_a_cache_that_is_too_large_is_none(monkeypatch):
    monkeypatch.setattr(from_images, "MOST_CACHED", 1e4)
    found = wanted(wish())
    assert found.values["distill"]["teacher"] == "online"
    assert any("The teacher runs in every step" in line for line in found.chosen)


@pytest.mark.parametrize(("r", "lr"), [(2, 1e-3), (3, 1e-4), (4, 1e-4)])
def test_the_learning_rate_is_the_papers_and_for_other_r_its_smaller_one(r, lr):
    assert wanted(wish(r=r)).values["distill"]["lr"] == {r: lr}


def test_a_method_without_rank_has_none():
    found = wanted(wish(method="weco_kd"))
    assert found.artifact == "weco_kd_r2" and "k" not in found.values["artifacts"]["weco_kd_r2"]["runs"]


def test_a_model_of_timms_is_named(monkeypatch):
    monkeypatch.setattr(from_images, "refuse_wrong_weights", lambda campaign: None)  # which has them downloaded
    found = wanted(wish(teacher="vit_base_patch16_224.mae"))
    assert found.values["teachers"]["teacher"] == {
        "label": "vit_base_patch16_224.mae",
        "timm": "vit_base_patch16_224.mae",
    }
    assert found.campaign.config.teachers["teacher"].architecture.depth == 12


def test_what_was_chosen_of_a_file_is_told():
    told = " ".join(wanted(wish()).chosen)
    assert "Its architecture, from its shapes: img_size 16, patch_size 8, embed_dim 64" in told
    assert "mean 0.5 and std 0.5" in told


# Images


def test_labels_are_the_class_folders_and_a_fifth_of_each_is_for_the_test():
    found = wanted(wish(labels=True))
    assert found.values["datasets"]["images"]["test_share"] == 0.2
    entry = found.values["artifacts"]["wecolora_r2_k64"]
    assert entry["kind"] == "table" and entry["runs"]["method"] == ["wecolora", "teacher"]
    assert found.values["probe"] == from_images.PROBE_OF_FEW


def test_folders_that_are_split_already_keep_their_split(place):
    (place / "photos").rename(place / "train")
    (place / "both").mkdir()
    (place / "train").rename(place / "both" / "train")
    for name in ("cats", "dogs"):
        (place / "both" / "test" / name).mkdir(parents=True)
        Image.new("RGB", (20, 20)).save(place / "both" / "test" / name / "one.png")
    found = wanted(wish(images="both", labels=True))
    assert "test_share" not in found.values["datasets"]["images"]


def test_a_table_beside_the_images_and_the_results_is_taken(place):
    """The current folder will hold the results, which no root of images may do: the entry's root is the images' own."""
    rows = [f"{path.relative_to(place)},{path.parent.name}" for path in sorted(place.glob("photos/*/*"))]
    (place / "list.csv").write_text("\n".join(["file,kind", *rows]) + "\n")
    found = wanted(wish(images="list.csv", paths="file", labels="kind"))
    entry = found.values["datasets"]["images"]
    assert (entry["root"], entry["labels"], entry["test_share"]) == (str(place / "photos"), "label", 0.2)
    listed = from_images._listed(entry)
    assert listed.classes == ["cats", "dogs"]
    assert {one.path for one in listed.entries} == {
        str(path.relative_to(place / "photos")) for path in place.glob("photos/*/*")
    }
    unlabelled = wanted(wish(images="list.csv", paths="file", name="other")).values["datasets"]["images"]
    assert unlabelled["labels"] is None and "test_share" not in unlabelled


def test_a_refusal_leaves_the_table_of_an_earlier_call_as_it_was(place):
    paths = sorted(str(path) for path in place.glob("photos/*/*"))
    (place / "list.txt").write_text("\n".join(paths))
    wanted(wish(images="list.txt"))
    before = (place / "list.images.csv").read_bytes()
    (place / "list.txt").write_text("\n".join(paths[:20]))
    refusal(images="list.txt", r=9)
    assert (place / "list.images.csv").read_bytes() == before


def test_a_text_file_lists_paths_from_its_folder(place):
    (place / "lists").mkdir()
    paths = sorted(place.glob("photos/*/*"))[:10]
    lines = [f"../{path.relative_to(place)}" for path in paths[:9]] + [str(paths[9]), "", ""]
    (place / "lists" / "ten.txt").write_text("\n".join(lines))
    found = wanted(wish(images="lists/ten.txt"))
    listed = from_images._listed(found.values["datasets"]["images"])
    root = Path(found.values["datasets"]["images"]["root"])
    assert {root / entry.path for entry in listed.entries} == set(paths)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": "nowhere"}, "nowhere: is not there; give a folder"),
        ({"images": "vit.safetensors"}, "is no folder, and no .csv"),
        ({"images": "empty"}, "no image files"),
        ({"images": "one", "name": "one"}, "one: 1 image to learn from"),
        ({"images": "none.txt"}, "lists no paths"),
        ({"labels": "kind"}, "a folder has no columns"),
        ({"images": "none.txt", "labels": True}, "lists paths alone"),
        ({"images": "rows.csv", "labels": True}, "name its column of labels"),
        ({"images": "rows.csv"}, "1 images that are no files"),
        ({"images": "rows.csv", "paths": "file"}, "file"),
        ({"batch": 64}, "--batch 64: 40 images do not fill one; lower it."),
        ({"teacher": "vit_bas_patch16_224.mae"}, "did you mean vit_base_patch16_224.mae"),
        ({"teacher": "resnet50"}, "convolutions"),
        ({"teacher": "gone.safetensors"}, "gone.safetensors"),
        ({"weights": "vit.safetensors"}, "is a file already"),
        ({"heads": 3}, "must divide"),
        ({"r": 5}, "more than the 4 blocks"),
        ({"method": "wecolara"}, "'wecolara' is no known method"),
        ({"method": "deit_hard"}, "has no head"),
        ({"images": "...", "name": None}, "..."),
        ({"name": "Not A Name"}, "name"),
    ],
    ids=str,
)
def test_what_makes_no_student_is_one_sentence_and_leaves_nothing(place, changes, said):
    (place / "empty").mkdir()
    (place / "one").mkdir()
    Image.new("RGB", (20, 20)).save(place / "one" / "one.png")
    (place / "none.txt").write_text("\n \n")
    (place / "rows.csv").write_text("path\na.png\n")
    before = sorted(place.rglob("*"))
    sentence = refusal(**changes)
    assert said in sentence and "\n" not in sentence
    assert sorted(place.rglob("*")) == before


def test_weights_of_another_shape_are_refused_before_anything_runs(place):
    write(wanted(wish()))
    values = yaml.safe_load(Path("photos.yaml").read_text(encoding="utf-8"))
    values["teachers"]["teacher"]["architecture"]["depth"] = 3
    with pytest.raises(BadInput, match="does not fit the architecture"):
        refuse_wrong_weights(Campaign(values))


def test_the_file_reads_well():
    write(wanted(wish()))
    text = Path("photos.yaml").read_text(encoding="utf-8")
    assert text.startswith("# Written by `wecolora distill`") and "      r: [2]\n" in text and "&id" not in text
