"""Recipes: nested in the code and flat in the files; each built in one place; and what a new key of `distill` costs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from wecolora.campaign.revisions import REVISIONS
from wecolora.config.reading import parse
from wecolora.config.recipes import CacheRecipe, CorpusViews, DistillRecipe, Student, TeacherInput
from wecolora.config.runs import RunSpec

REPOSITORY = Path(__file__).parents[3]
# Spelt out by hand: caches, students and scores of earlier campaigns hold these keys, in this order.
KEYS = [
    "method",
    "teacher",
    "architecture",
    "mean",
    "std",
    "corpus",
    "corpus_seed",
    "views",
    "cache_revision",
    "r",
    "k",
    "alpha",
    "seed",
    "epochs",
    "warmup_epochs",
    "batch",
    "accumulate",
    "leftover",
    "lr",
    "weight_decay",
    "layers",
    "loss_point",
    "online",
    "revision",
]
RUN = RunSpec.parse("one", "wecolora_r3_k4_a10_s2")


def test_in_files_a_recipe_is_flat_with_the_keys_that_it_always_had(small_config):
    recipe = DistillRecipe.of(parse(small_config), REVISIONS, RUN)
    values = json.loads(recipe.canonical())
    assert list(values) == KEYS
    assert (values["r"], values["k"], values["alpha"], values["seed"]) == (3, 4, 10, 2)
    assert values["epochs"] == 2 and values["views"] == 10 and values["corpus"] == "shapes"


def test_a_recipe_reads_back_what_it_wrote(small_config):
    recipe = DistillRecipe.of(parse(small_config), REVISIONS, RUN)
    again = DistillRecipe.model_validate_json(recipe.canonical())
    assert again == recipe and again.canonical() == recipe.canonical()
    assert again.student == Student(r=3, k=4, alpha=10, seed=2)
    assert again.images == CorpusViews(corpus="shapes", corpus_seed=0, views=10)
    assert again.optimisation.epochs == 2 and again.input.architecture.depth == recipe.input.architecture.depth


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"momentum": 0.9}, "momentum"),  # neither the recipe's own nor a part's
        ({"epochs": None}, "epochs"),
        ({"r": "three"}, "r"),
    ],
)
def test_a_wrong_value_among_the_keys_is_refused_by_its_name(small_config, change, said):
    values = json.loads(DistillRecipe.of(parse(small_config), REVISIONS, RUN).canonical())
    with pytest.raises(ValidationError, match=said):
        DistillRecipe(**{**values, **change})


def test_a_key_that_is_missing_in_a_part_is_refused(small_config):
    values = json.loads(DistillRecipe.of(parse(small_config), REVISIONS, RUN).canonical())
    del values["corpus_seed"]
    with pytest.raises(ValidationError, match="corpus_seed"):
        DistillRecipe(**values)


def test_a_part_stands_in_each_recipe_that_has_it_as_the_same_keys(small_config):
    config = parse(small_config)
    run, shard = DistillRecipe.of(config, REVISIONS, RUN), CacheRecipe.of(config, REVISIONS, "one", 0)
    assert run.input == shard.input == TeacherInput.of(config, "one")
    flat = [json.loads(recipe.canonical()) for recipe in (run, shard)]
    assert all(flat[0][key] == flat[1][key] for key in TeacherInput.model_fields)


@pytest.mark.parametrize("shard", [0, 3])
def test_a_run_asks_for_the_cache_that_the_shards_say_they_are(small_config, shard):
    config = parse(small_config)
    assert (
        DistillRecipe.of(config, REVISIONS, RUN).cache()
        == CacheRecipe.of(config, REVISIONS, "one", shard).of_all_shards()
    )


# What a new key of `distill` costs: one line, here added to a copy of the package, and its use in training.

LINE = '    clip: float = Field(default=0.5, gt=0, description="Largest norm of an update\'s gradient.")\n'
ASKED = """
import json, sys
from wecolora.campaign.selection import Campaign
from wecolora.config.runs import RunSpec
from wecolora.config.reading import parse
from wecolora.config.campaign import Config
from wecolora.config.recipes import DistillRecipe
from wecolora.core.errors import BadInput

values = json.load(sys.stdin)
found, run = {}, RunSpec.parse("one", "wecolora_r2_k4_a10_s0")
for name, given in {"left out": {}, "given": {"clip": 0.25}, "wrong": {"clip": -1}}.items():
    try:
        campaign = Campaign({**values, "distill": given})
    except BadInput as error:
        found[name] = str(error)
        continue
    recipes = {
        "distill": campaign.distill_recipe(run), "features": campaign.feature_recipe(run, ["shapes"]),
        "probe": campaign.probe_recipe(run, ["shapes"]), "cache": campaign.cache_recipe("one", 0),
        "table": campaign.artifact_recipe("table1"), "resolved": campaign.resolved(),
    }
    found[name] = {**recipes, "read": DistillRecipe.model_validate_json(recipes["distill"]).optimisation.clip}
found["schema"] = "clip" in json.dumps(Config.model_json_schema())
print(json.dumps(found))
"""


@pytest.fixture
def with_a_key(tmp_path, small_config):
    """What a package with one line more says of a campaign with and without the new key."""
    shutil.copytree(REPOSITORY / "wecolora", tmp_path / "wecolora", ignore=shutil.ignore_patterns("__pycache__"))
    module = tmp_path / "wecolora" / "config" / "training.py"
    before, head, after = module.read_text(encoding="utf-8").partition("    accumulate: Positive")
    assert head
    module.write_text(before + LINE + head + after, encoding="utf-8")
    shown = subprocess.run(
        [sys.executable, "-c", ASKED],
        input=json.dumps(small_config),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout)


def test_a_new_key_of_distill_is_one_field(with_a_key):
    """The config takes it, checks it, documents and resolves it, and every run's recipe carries it to the job."""
    assert with_a_key["schema"]
    assert with_a_key["wrong"] == "config: distill.clip: Input should be greater than 0, not -1."
    assert (with_a_key["left out"]["read"], with_a_key["given"]["read"]) == (0.5, 0.25)
    assert json.loads(with_a_key["given"]["resolved"])["distill"]["clip"] == 0.25


def test_a_change_of_it_makes_runs_again_and_nothing_that_they_come_from(with_a_key):
    changed = {name for name in with_a_key["given"] if with_a_key["given"][name] != with_a_key["left out"][name]}
    assert changed == {"distill", "resolved", "read"}
