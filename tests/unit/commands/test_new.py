"""`wecolora new`: configs to edit, which are right as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from wecolora.campaign.selection import Campaign
from wecolora.cli import main
from wecolora.commands.new import STARTS
from wecolora.config.reading import read_config


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("source", STARTS)
def test_a_new_config_has_its_name_and_is_right(source, capsys):
    assert main(["new", "mine", "--from", source]) == 0
    campaign = Campaign(read_config("mine.yaml"))
    assert campaign.config.name == "mine" and campaign.trained()
    assert "wecolora run mine.yaml" in capsys.readouterr().out
    campaign.refuse_lost_weights()
    assert all(Path(teacher.weights).is_file() for teacher in campaign.config.teachers.values() if teacher.weights)
    text = Path("mine.yaml").read_text(encoding="utf-8")
    (name,) = [line for line in text.splitlines() if line.startswith("name:")]
    assert "NAME" not in text and name.startswith("name: mine ") and len(text.splitlines()) > 40


def test_own_images_are_what_it_starts_from():
    main(["new", "mine"])
    config = read_config("mine.yaml")
    assert config["datasets"]["pictures"]["source"] == "folder" and "# CHANGE" in Path("mine.yaml").read_text(
        encoding="utf-8"
    )


def test_the_comment_behind_the_name_stays_in_its_column():
    main(["new", "try_it", "--from", "demo"])
    lines = Path("try_it.yaml").read_text(encoding="utf-8").splitlines()
    (name,) = [line for line in lines if line.startswith("name:")]
    (protocol,) = [line for line in lines if line.startswith("protocol:")]
    assert name.index("#") == protocol.index("#")


def test_what_is_there_is_never_replaced(capsys):
    Path("mine.yaml").write_text("mine", encoding="utf-8")
    assert main(["new", "mine"]) == 1
    assert (
        "mine.yaml: is there already" in capsys.readouterr().err
        and Path("mine.yaml").read_text(encoding="utf-8") == "mine"
    )


@pytest.mark.parametrize("name", ["Mine", "a b", "_a", "a" * 25, "../a", "a.yaml"])
def test_a_name_that_is_none_is_refused(name, capsys):
    assert main(["new", name]) == 1
    assert "is no name of a campaign" in capsys.readouterr().err and not list(Path().iterdir())
