"""The command `wecolora`."""

from __future__ import annotations

import pytest
import yaml

from wecolora.cli import main


@pytest.fixture
def config(small_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(small_config))
    return tmp_path / "config.yaml"


def test_plan_of_the_whole_config_and_of_a_target(config, capsys):
    assert main(["plan"]) == 0
    assert "small: 12 runs" in capsys.readouterr().out
    assert main(["plan", str(config), "table1", "--tflops", "100"]) == 0
    out = capsys.readouterr().out
    assert "small: 8 runs" in out and "100 TFLOP/s (as given)" in out


def test_plan_names_the_roots_that_are_not_there(config, small_config, tmp_path, capsys):
    assert main(["plan"]) == 0
    assert "do not exist" not in capsys.readouterr().out
    images = {"label": "more", "source": "resisc45", "root": str(tmp_path / "nowhere")}
    config.write_text(yaml.safe_dump({**small_config, "datasets": {**small_config["datasets"], "more": images}}))
    assert main(["plan"]) == 0
    assert f"These roots of data sets do not exist here: {tmp_path}/nowhere." in capsys.readouterr().out


def test_a_rate_is_measured(config, capsys, monkeypatch):
    monkeypatch.setattr("wecolora.campaign.plan.SECONDS", 0.01)
    assert main(["plan", "--measure"]) == 0
    assert "measured here, The one on cpu" in capsys.readouterr().out.replace("\n", "")


@pytest.mark.parametrize(
    ("text", "said"), [("[1, 2]", "holds no keys"), ("a: [", "cannot be read"), ("name: x", "title: Field required")]
)
def test_a_bad_config_is_one_message_and_status_1(config, capsys, text, said):
    config.write_text(text)
    assert main(["plan"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("ERROR: ") and said in err and "Traceback" not in err


@pytest.mark.parametrize("rate", ["0", "-3", "nan"])
def test_a_rate_that_is_none_is_refused(config, capsys, rate):
    assert main(["plan", "--tflops", rate]) == 1
    assert "give a number above 0" in capsys.readouterr().err


def test_a_target_that_is_none_is_named(config, capsys):
    assert main(["plan", "config.yaml", "tabel1"]) == 1
    assert "did you mean table1" in capsys.readouterr().err


def test_status(config, capsys):
    assert main(["status"]) == 0
    out = capsys.readouterr().out
    assert "table1" in out and "0 of " in out


def test_brackets_in_what_users_type_are_no_markup(config, small_config, tmp_path, capsys):
    root = str(tmp_path / "data[/x] [red]")
    small_config["datasets"]["own"] = {"label": "own", "source": "folder", "root": root}
    small_config["teachers"]["one"]["label"] = "ViT [red]a"
    config.write_text(yaml.safe_dump(small_config))
    assert main(["plan", str(config), "--measure"]) == 0
    shown = capsys.readouterr().out
    assert root in shown and "measured here, ViT [red]a on cpu" in shown


def test_a_key_that_a_config_gives_twice_is_named(config, capsys):
    lines = config.read_text().count("\n")
    config.write_text(config.read_text() + "name: again\n")
    assert main(["plan", str(config)]) == 1
    assert f"line {lines + 1}, column 1 gives the key 'name' again" in capsys.readouterr().err


def test_an_anchor_that_holds_itself_ends(config, capsys):
    config.write_text("a: &a {b: *a}\n")
    assert main(["plan", str(config)]) == 1
