"""The command `wecolora export`: what it prints, and what it refuses before anything is written."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import timm
import torch
import yaml
from PIL import Image

from wecolora.cli import main
from wecolora.commands.export import FORMS
from wecolora.core.files import sha256
from wecolora.models.forms import WRITERS

LOADED = "student.json of its run beside the weights"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "deep" / "out"


def refused(capsys, out, *arguments):
    """What the command says of bad input; nothing is left of the folder, nor beside it."""
    before = sorted(out.parent.rglob("*")) if out.parent.is_dir() else []
    assert main(["export", *map(str, arguments)]) == 1
    assert (sorted(out.parent.rglob("*")) if out.parent.is_dir() else []) == before
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1 and shown.err.startswith("ERROR: ")
    return shown.err


def test_the_forms_are_those_of_the_library():
    assert set(FORMS) == set(WRITERS)


@pytest.mark.parametrize("name", [".", "student.safetensors"])
def test_a_run_is_exported_by_its_folder_or_its_file(name, student_folder, out, capsys):
    assert main(["export", str(student_folder() / name), str(out), "--to", "hf"]) == 0
    assert {path.name for path in out.iterdir()} == {"model.safetensors", "config.json", "README.md"}
    shown = capsys.readouterr().out
    assert (
        "2 blocks, 0.0" in shown
        and "hf: model.safetensors and config.json, timm's vit_" in shown
        and "0.0e+00" in shown
    )
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert timm.create_model(f"local-dir:{out}", pretrained=True).num_features == 32


def test_an_empty_folder_is_filled(student_folder, out):
    out.mkdir(parents=True)
    assert main(["export", str(student_folder()), str(out), "--to", "hf", "--to", "hf"]) == 0
    assert len(list(out.iterdir())) == 3


def test_the_card_says_where_the_student_comes_from(student_folder, out):
    folder = student_folder()
    scores = folder / "scores"
    scores.mkdir()
    score = {"run": {"dataset": "marks"}, "metric": "top-1", "last": 87.654, "n_test": 30}
    own = sha256(folder / "student.safetensors")
    (scores / "marks.json").write_text(json.dumps({**score, "student_sha256": own}))
    (scores / "old.json").write_text(json.dumps({**score, "run": {"dataset": "old"}, "student_sha256": "ab"}))
    (scores / "circumstances_marks.json").write_text("{}")
    assert main(["export", str(folder), str(out), "--to", "hf"]) == 0
    _, front, text = (out / "README.md").read_text().split("---\n", 2)
    about = yaml.safe_load(front)
    assert about["license"] is None and about["library_name"] == "timm" and "wecolora" in about["tags"]
    for part in (
        "A student of tiny",
        "WeCoLoRA (`wecolora`)",
        "abab",
        "| 36, 100% of `pictures` |",
        "0.250",
        "the loss did",
    ):
        assert part in text
    assert "| `marks` | top-1 | 87.65 | 30 |" in text and "old" not in text
    assert '"weight_decay": 0.05' in text and "local-dir:" in text


def test_what_the_card_says_of_loading_runs(student_folder, out):
    """Each block of code, as it stands there."""
    assert main(["export", str(student_folder()), str(out), "--to", "hf", "onnx", "torch"]) == 0
    blocks = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 3
    picture = Image.effect_mandelbrot((30, 20), (-2, -1, 1, 1), 9).convert("RGB")
    for block in blocks:
        names = {"image": picture, "images": torch.zeros(3, 3, 16, 16)}
        if "onnxruntime" in block:
            names["images"] = names["images"].numpy()
        exec(block.replace("FOLDER", str(out)), names)
        assert names["features"].shape in ((1, 32), (3, 32))


def test_a_student_without_scores_has_none_in_its_card(student_folder, out):
    assert main(["export", str(student_folder()), str(out), "--to", "hf"]) == 0
    assert "Scores" not in (out / "README.md").read_text()


def test_several_forms_go_into_one_folder(student_folder, out, capsys):
    assert main(["export", str(student_folder()), str(out), "--to", "hf", "onnx", "--to", "torch"]) == 0
    found = {path.name for path in out.iterdir()}
    assert found == {"model.safetensors", "config.json", "model.onnx", "model.pt2", "README.md"}
    shown = capsys.readouterr()
    assert shown.err == "" and "onnx: model.onnx, opset 18" in shown.out and "torch: model.pt2" in shown.out
    assert "Neither model.onnx nor model.pt2 resizes, crops or normalises" in shown.out
    card = (out / "README.md").read_text()
    assert all(part in card for part in ("local-dir:", "onnxruntime", "model.pt2", "mean (0.5, 0.4, 0.6)"))


def test_a_student_of_minivit_has_programs(student_folder, out, capsys):
    folder = student_folder("transformed", method="minivit")
    assert "no model of timm has them" in refused(capsys, out, folder, out, "--to", "onnx", "hf")
    assert main(["export", str(folder), str(out), "--to", "torch"]) == 0
    assert "library_name" not in (out / "README.md").read_text()


# Bad input


def test_onnx_that_is_not_installed_is_told_before_anything_runs(student_folder, out, capsys, monkeypatch):
    monkeypatch.setattr("wecolora.models.forms.ONNX_PACKAGES", ("onnx", "no_such_runtime"))
    found = refused(capsys, out, student_folder(), out, "--to", "hf", "onnx")
    assert "--to onnx needs no_such_runtime; run `pip install onnx no_such_runtime`" in found


def test_a_folder_that_holds_something_is_refused(student_folder, out, capsys):
    out.mkdir(parents=True)
    (out / ".git").mkdir()
    assert "holds something already" in refused(capsys, out, student_folder(), out, "--to", "hf")
    (out / ".git").rmdir()
    out.rmdir()
    out.write_text("")
    for path in (out, out / "below"):
        assert f"{out}: is no folder" in refused(capsys, out, student_folder(), path, "--to", "hf")


def test_what_is_no_student_is_refused(student_folder, out, tmp_path, capsys):
    nowhere = tmp_path / "nowhere"
    assert "there is no such student" in refused(capsys, out, nowhere, out, "--to", "hf")
    assert "there is no such student" in refused(capsys, out, tmp_path, out, "--to", "hf")
    folder = student_folder()
    (folder / "student.safetensors").write_bytes(b"version https://git-lfs")
    assert "Git LFS pointer" in refused(capsys, out, folder, out, "--to", "hf")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda record: record.pop("recipe"), "'recipe'"),
        (lambda record: record["recipe"].pop("teacher"), "'teacher'"),
        (lambda record: record["recipe"].pop("mean"), "'mean'"),
        (lambda record: record["recipe"]["architecture"].update(num_heads=5), "num_heads 5 must divide"),
    ],
)
def test_a_record_that_is_none_is_refused(spoil, said, student_folder, out, capsys):
    folder = student_folder()
    record = json.loads((folder / "student.json").read_text())
    spoil(record)
    (folder / "student.json").write_text(json.dumps(record))
    found = refused(capsys, out, folder, out, "--to", "hf")
    assert "is no record of a student" in found and said in found and LOADED in found


def test_a_student_without_a_record_is_refused(student_folder, out, capsys, tmp_path):
    shutil.copy(student_folder() / "student.safetensors", tmp_path / "mine.safetensors")
    found = refused(capsys, out, tmp_path / "mine.safetensors", out, "--to", "hf")
    assert "mine.json: is missing" in found and LOADED in found


def test_a_student_of_another_shape_than_its_record_is_refused(student_folder, out, capsys):
    folder = student_folder()
    record = json.loads((folder / "student.json").read_text())
    record["recipe"]["architecture"]["embed_dim"] = 64
    (folder / "student.json").write_text(json.dumps(record))
    assert "does not fit" in refused(capsys, out, folder, out, "--to", "hf")


def test_a_full_disk_is_told_before_anything_runs(student_folder, out, capsys, monkeypatch):
    usage = shutil.disk_usage(out.parent.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    assert "its disk has 1,000 left" in refused(capsys, out, student_folder(), out, "--to", "hf")


@pytest.mark.parametrize("arguments", [["a"], ["a", "b"], ["a", "b", "--to", "jax"]])
def test_wrong_usage_is_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["export", *arguments])
    assert ended.value.code == 2
