"""Protocols: what each decides, what wins over it, and that no two share a result."""

from __future__ import annotations

import copy
import json

import pytest

from wecolora.campaign.selection import Campaign
from wecolora.config.protocol import PROTOCOLS, with_protocol
from wecolora.config.reading import parse
from wecolora.config.runs import RunSpec

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # of ImageNet
OWN = [0.5, 0.5, 0.5]  # the default, as of the supervised teacher
POINTS = {
    # (paper, authors_code); None: no tokens are compared
    "scratch_kd_r2_a1_s0": ("after_norm", "after_norm"),
    "top_kd_r2_a1_s0": ("after_norm", "after_norm"),
    "weco_kd_r2_a1_s0": ("after_norm", "after_norm"),
    "weco_dora_r2_k4_a1_s0": ("after_norm", "after_norm"),
    "weco_lora_qv_r2_k4_a1_s0": ("after_norm", "before_norm"),
    "wecolora_r2_k4_a1_s0": ("after_norm", "before_norm"),
    "wecolora_kl_r2_k4_a1_s0": ("after_norm", "before_norm"),
    "wecolora_blocks_r2_k4_a1_s0": ("after_norm", "before_norm"),
    "dmae_r2_a1_s0": (None, None),
    "deit_r2_a1_s0": (None, None),
    "minivit_r2_a1_s0": (None, None),
}


@pytest.fixture
def config(small_config):
    training = {"objective": "supervised", "dataset": "marks", "augmentation": "weak", "epochs": 1}
    small_config["distill"] |= {"batch": 128, "accumulate": 8}
    runs = small_config["artifacts"]["table1"]["runs"]
    sight = {"title": "T", "caption": "C", "runs": {**runs, "r": [2], "alpha": [1]}, "datasets": ["shapes"]}
    small_config["artifacts"]["figure3"] = {**sight, "kind": "rollout", "images": 2}
    return {**small_config, "pretraining": {"one": training}}


def jobs(config):
    """The recipes that a protocol decides, of a shard, students, features and a demo teacher."""
    campaign = Campaign(config)
    run = RunSpec.parse("one", "wecolora_r2_k4_a1_s0")
    found = {
        "cache": campaign.cache_recipe("one", 0),
        "features": campaign.feature_recipe(run, ["shapes"]),
        "rollout": campaign.sight_recipe("figure3"),
        "pretrain": campaign.pretrain_recipe("one"),
        "compare": campaign.compare_recipe("one"),
    }
    found |= {run: campaign.distill_recipe(RunSpec.parse("one", run)) for run in POINTS}
    values = {name: json.loads(recipe) for name, recipe in found.items()}
    for name in ("features", "rollout"):
        values[name] |= values[name]["statistics"]["shapes"]
    return values


def both(config):
    return [jobs({**config, "protocol": name}) for name in ("paper", "authors_code")]


def test_the_paper_is_the_default(config):
    assert jobs(config) == both(config)[0]
    assert parse({**config, "protocol": "paper"}) == parse(config)


def test_each_protocol_decides_the_students(config):
    for number, found in enumerate(both(config)):
        for run, points in POINTS.items():
            student = found[run]
            assert student["loss_point"] == points[number], run
            assert student["layers"] == ("paper", "authors_code")[number]
            assert student["leftover"] == ("use", "drop")[number]
            # The authors' README: a base of 1e-3 with 128 x 8 images an update gives 4e-3.
            assert student["lr"] == pytest.approx((1e-3, 4e-3)[number])
            assert [student["mean"], student["std"]] == ([OWN, OWN], [MEAN, STD])[number]


def test_the_learning_rate_is_scaled_by_the_images_of_an_update(config):
    config["distill"] |= {"batch": 10, "accumulate": 3, "lr": {2: 1e-3, 3: 1e-4}}
    campaign = Campaign({**config, "protocol": "authors_code"})
    for run, base in {"weco_kd_r2_a1_s0": 1e-3, "weco_kd_r3_a1_s0": 1e-4}.items():
        recipe = json.loads(campaign.distill_recipe(RunSpec.parse("one", run)))
        assert recipe["lr"] == pytest.approx(base * 10 * 3 / 256)


def test_pixels_are_normalised_alike_in_all_that_teacher_and_students_see(config):
    for found, (mean, std) in zip(both(config), [(OWN, OWN), (MEAN, STD)], strict=True):
        for name in ("cache", "features", "rollout", *POINTS):
            assert (found[name]["mean"], found[name]["std"]) == (mean, std), name


def test_a_demo_teacher_is_trained_with_its_own_statistics(config):
    paper, code = both(config)
    for name in ("pretrain", "compare"):
        assert code[name] == paper[name] and (code[name]["mean"], code[name]["std"]) == (OWN, OWN)


def test_the_protocols_share_no_cache_student_or_feature(config):
    paper, code = both(config)
    assert {name for name in paper if paper[name] == code[name]} == {"pretrain", "compare"}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("layers", value) for value in ("paper", "authors_code", [1, 3])),
        *(("loss_point", value) for value in ("before_norm", "after_norm", "authors_code")),
        *(("lr_scaling", value) for value in ("none", "linear_256")),
        *(("leftover", value) for value in ("use", "drop")),
    ],
)
def test_a_key_that_is_given_wins(config, protocol, key, value):
    for artifact in config["artifacts"].values():
        artifact["runs"] = {**artifact["runs"], "r": [2]}  # a list of blocks fits one ratio
    found = parse({**config, "protocol": protocol, "distill": {**config["distill"], key: value}}).distill
    assert getattr(found, key) == value
    for other, chosen in PROTOCOLS[protocol]["distill"].items():
        if other != key:
            assert getattr(found, other) == chosen  # and it alone


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("value", "mean"), [("teacher", OWN), ("imagenet", MEAN)])
def test_a_normalisation_that_is_given_wins(config, protocol, value, mean):
    found = jobs({**config, "protocol": protocol, "normalisation": value})
    assert {tuple(found[name]["mean"]) for name in ("cache", "features", *POINTS)} == {tuple(mean)}
    assert found["weco_kd_r2_a1_s0"]["leftover"] == PROTOCOLS[protocol]["distill"]["leftover"]


def test_a_config_that_gives_every_key_of_the_code_is_the_code(config):
    distill = {**config["distill"], **PROTOCOLS["authors_code"]["distill"]}
    assert jobs({**config, "normalisation": "imagenet", "distill": distill}) == both(config)[1]


def test_a_named_loss_point_is_not_renamed_by_the_protocol(config):
    """The same name is the same student: under the code's protocol, WeCoLoRA's own point is before the norm."""
    runs = {"teacher": ["one"], "method": ["wecolora"], "r": [2], "k": [4], "alpha": [1]}
    table = {**config["artifacts"]["table1"], "rows": ["loss_point"]}
    table["runs"] = {**runs, "loss_point": ["before_norm", "after_norm"]}
    config["artifacts"] = {"table1": table}
    for protocol, own in {"paper": "after_norm", "authors_code": "before_norm"}.items():
        campaign = Campaign({**config, "protocol": protocol})
        found = {}
        for run in campaign.config.runs():
            recipe = json.loads(campaign.distill_recipe(run))
            found[run.slug()] = recipe["loss_point"]
        (other,) = {"before_norm", "after_norm"} - {own}
        assert found == {"wecolora_r2_k4_a1_s0": own, f"wecolora_r2_k4_a1_s0_{other}": other}


def test_the_resolved_config_says_what_the_protocol_chose(config):
    for protocol, choices in PROTOCOLS.items():
        resolved = json.loads(Campaign({**config, "protocol": protocol}).resolved())
        assert resolved["normalisation"] == choices["normalisation"]
        assert choices["distill"].items() <= resolved["distill"].items()
        assert jobs(resolved) == jobs({**config, "protocol": protocol})


def test_what_is_given_is_left_as_it_was(config):
    values = {**config, "protocol": "authors_code"}
    before = copy.deepcopy(values)
    with_protocol(values)
    parse(values)
    assert values == before


@pytest.mark.parametrize("values", [{"protocol": []}, {"protocol": "ours"}, {"distill": None}, {"distill": [1]}])
def test_what_is_no_config_is_left_to_be_refused(values):
    assert with_protocol(values) == values


def datasets(config, protocol, **given):
    entries = {
        "scenes": {"label": "Scenes", "source": "resisc45", "root": "scenes", **given},
        "chests": {"label": "Chests", "source": "chestxray14", "root": "chests"},
    }
    return parse({**config, "protocol": protocol, "datasets": {**config["datasets"], **entries}}).datasets


def test_splits_classes_and_statistics_of_the_data_sets(config):
    """Section 4.1: 80% of RESISC45 are the test set, and 14 diseases; the code: 90%, 15 outputs, its own statistics."""
    paper, code = (datasets(config, protocol) for protocol in ("paper", "authors_code"))
    assert (paper["scenes"].train_share, paper["chests"].classes) == (0.2, 14)
    assert (code["scenes"].train_share, code["chests"].classes) == (0.1, 15)
    assert paper["scenes"].mean is paper["chests"].std is None
    assert code["scenes"].mean == (0.3684, 0.3813, 0.3439) and code["scenes"].std == (0.1999, 0.1814, 0.1808)
    assert code["chests"].mean == (0.5057,) * 3 and code["chests"].std == (0.2507,) * 3
    assert paper["shapes"] == code["shapes"]


def test_a_data_set_keeps_what_its_entry_says(config):
    given = {"train_share": 0.5, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    scenes = datasets(config, "authors_code", **given)["scenes"]
    assert {key: getattr(scenes, key) for key in given} == given
