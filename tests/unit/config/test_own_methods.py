"""Methods of a user's own: how they become known and are forgotten, and what of them travels to which job."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wecolora.campaign.selection import Campaign
from wecolora.config.methods import LIBRARY, METHODS, use_own
from wecolora.config.own_methods import OwnMethod
from wecolora.config.reading import parse
from wecolora.config.recipes import ArtifactRecipe, ComputationRecipe, DistillRecipe, ReportRecipe
from wecolora.config.runs import RunSpec
from wecolora.core.errors import BadInput

MINE = {"implementation": "mine.py:Mine", "label": "Mine", "start": "copy", "trains": "all"}
TEXT = "class Mine:\n    pass\n"
STUDY = {"kind": "computation", "title": "Study", "caption": "Counts."}


@pytest.fixture(autouse=True)
def forgotten():
    yield
    use_own({})


@pytest.fixture
def own_config(small_config, tmp_path, monkeypatch):
    """The small config with a method ``mine`` in its table and in a computation study, and its file beside it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(TEXT)
    small_config["methods"] = {"mine": dict(MINE)}
    table = small_config["artifacts"]["table1"]
    table["runs"] = {**table["runs"], "method": ["weco_kd", "mine"]}
    runs = {"teacher": ["one"], "method": ["mine", "wecolora"], "r": [2], "k": [4], "alpha": [1]}
    small_config["artifacts"]["study"] = {**STUDY, "runs": runs}
    return small_config


def recipes(config):
    """Those of the jobs that follow from ``mine``, and of two that do not."""
    campaign = Campaign(config)
    runs = {slug: RunSpec.parse("one", slug) for slug in ("mine_r2_a1_s0", "weco_kd_r2_a1_s0", "mine_r3_a10_s0")}
    return {
        **{slug: campaign.distill_recipe(run) for slug, run in runs.items()},
        "probe": campaign.probe_recipe(runs["mine_r2_a1_s0"], ["marks"]),
        "table": campaign.artifact_recipe("table1"),
        "figure": campaign.artifact_recipe("figure5"),
        "study": campaign.computation_recipe("study"),
        "report": campaign.report_recipe(),
    }


def changed(before, after):
    return {name for name in before if before[name] != after[name]}


# Which methods there are


def test_a_configs_own_methods_are_those_of_the_last_config(own_config, small_config, tmp_path):
    parse(own_config)
    assert METHODS.keys() == LIBRARY | {"mine"} and METHODS["mine"].label == "Mine"
    other = {**own_config, "methods": {"mine": {**MINE, "label": "Other", "trains": "qv"}, "yours": dict(MINE)}}
    other["artifacts"] = {}
    parse(other)
    assert METHODS.keys() == LIBRARY | {"mine", "yours"}
    assert METHODS["mine"].label == "Other" and "k" in METHODS["mine"].axes
    parse({**other, "methods": {}})
    assert METHODS.keys() == LIBRARY


def test_an_entry_needs_the_last_tokens_unless_it_says_otherwise(own_config):
    parse(own_config)
    assert METHODS["mine"].reads_tokens and not METHODS["mine"].online and not METHODS["mine"].reads_labels
    own_config["methods"]["mine"]["needs"] = ["teacher", "labels"]
    own_config["corpus"]["dataset"] = "marks"
    parse(own_config)
    assert METHODS["mine"].online and METHODS["mine"].reads_labels and not METHODS["mine"].reads_tokens


def test_its_needs_decide_the_axes_of_its_runs(own_config):
    own_config["methods"]["mine"] |= {"trains": "enhanced", "needs": ["tokens", "loss_point"]}
    parse(own_config)
    run = RunSpec("one", "mine", 2, 4, 1, 0, "before_norm")
    assert run.slug() == "mine_r2_k4_a1_s0_before_norm" and RunSpec.parse("one", run.slug()) == run
    own_config["methods"]["mine"] |= {"trains": "all", "needs": ["tokens"]}
    parse(own_config)
    assert RunSpec("one", "mine", 2, 4, 1, 0, "before_norm").slug() == "mine_r2_a1_s0"


@given(st.from_regex(r"[a-z0-9][a-z0-9_]{0,23}", fullmatch=True), st.sampled_from([None, 8]))
def test_a_slug_of_any_name_reads_back(name, k):
    """Also of names that look like part of a slug, such as ``a_r2_a1_s0``."""
    if name in LIBRARY:
        return
    for each in (name, f"{name[:12]}_r2_a1_s0", f"{name[:12]}_k4"):
        trains = "all" if k is None else "qv"
        use_own({each: OwnMethod(**{**MINE, "trains": trains}).entry("")})
        run = RunSpec("one", each, 2, k, 0.5, 3)
        assert RunSpec.parse("one", run.slug()) == run


# What is refused


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"implementation": "no.py:Mine"}, ["methods.mine.implementation", "no.py", "No such file", "from the folder"]),
        ({"implementation": "mine.py:Yours"}, ["mine.py has no class Yours; it has Mine"]),
        ({"implementation": "mine.py"}, ["methods.mine.implementation", "'mine.py'"]),
        ({"implementation": "mine.txt:Mine"}, ["methods.mine.implementation"]),
        ({"trains": "nothing"}, ["methods.mine.trains", "'nothing'"]),
        ({"needs": ["luck"]}, ["methods.mine.needs.0", "'luck'"]),
        ({"label": " \u200b"}, ["methods.mine.label", "can be seen"]),
        ({"label": "WeCo+KD"}, ["methods", "two would be printed as 'WeCo+KD'"]),
        ({"colour": "red"}, ["methods.mine.colour", "'red'"]),
        ({"color": "#ff0000"}, ["methods.mine.color", "unknown key", "implementation"]),
        ({"needs": ["tokens", "class_token"]}, None),
    ],
)
def test_an_entry_that_cannot_be_had_is_refused_by_its_key(own_config, changes, words):
    own_config["methods"]["mine"] |= changes
    if words is None:
        parse(own_config)
        return
    with pytest.raises(BadInput) as caught:
        parse(own_config)
    for word in words:
        assert word in str(caught.value)


def test_a_file_that_is_no_python_is_refused_with_its_line(own_config, tmp_path):
    (tmp_path / "mine.py").write_text(TEXT + "def broken(:\n")
    with pytest.raises(BadInput, match=r"methods\.mine\.implementation: mine\.py is no Python \(line 3: "):
        parse(own_config)
    (tmp_path / "mine.py").write_bytes(b"class Mine: pass\n\0")
    with pytest.raises(BadInput, match=r"mine\.py is no Python"):
        parse(own_config)


def test_none_of_its_code_runs_while_the_config_is_checked(own_config, tmp_path):
    (tmp_path / "mine.py").write_text(f"raise SystemExit('it ran')\n{TEXT}")
    parse(own_config)


@pytest.mark.parametrize("name", ["teacher", "wecolora", "deit"])
def test_a_name_of_the_library_is_refused(own_config, name):
    own_config["methods"] = {name: dict(MINE)}
    own_config["artifacts"] = {}
    with pytest.raises(BadInput, match=rf"methods\.{name}: is a method of the library; choose another name"):
        parse(own_config)


@pytest.mark.parametrize(
    ("needs", "shape", "words"),
    [
        ("class_token", {"global_pool": "avg"}, "needs a class token, and one pools patches"),
        ("plain_attention", {"scale_attn_norm": True}, "shares plain attention, and that of one has a norm"),
    ],
)
def test_a_teacher_without_what_it_needs_is_refused(own_config, needs, shape, words):
    own_config["teachers"]["one"]["architecture"] |= shape
    parse(own_config)
    own_config["methods"]["mine"]["needs"] = ["tokens", needs]
    with pytest.raises(BadInput, match=rf"runs\.method: mine {words}"):
        parse(own_config)


# What travels


def test_without_methods_of_ones_own_nothing_of_them_is_written(small_config):
    campaign = Campaign(small_config)
    assert "own_methods" not in campaign.distill_recipe(RunSpec.parse("one", "weco_kd_r2_a1_s0"))
    assert "own_methods" not in campaign.artifact_recipe("table1")
    assert "own_methods" not in campaign.report_recipe() and '"methods": {}' not in campaign.resolved()


def test_the_other_recipes_of_a_config_with_a_method_are_those_without_it(own_config, small_config):
    with_it = recipes(own_config)
    del own_config["methods"]
    table = own_config["artifacts"]["table1"]
    table["runs"] = {**table["runs"], "method": ["weco_kd", "wecolora"]}
    campaign = Campaign(own_config | {"artifacts": {k: v for k, v in own_config["artifacts"].items() if k != "study"}})
    run = RunSpec.parse("one", "weco_kd_r2_a1_s0")
    assert with_it["weco_kd_r2_a1_s0"] == campaign.distill_recipe(run)
    assert with_it["probe"] == campaign.probe_recipe(run, ["marks"])
    assert with_it["figure"] == campaign.artifact_recipe("figure5")


def test_an_edit_of_the_file_changes_the_recipes_of_the_jobs_that_run_it_alone(own_config, tmp_path):
    before = recipes(own_config)
    assert before == recipes(own_config)
    (tmp_path / "mine.py").write_text(TEXT + "# another comment\n")
    assert changed(before, recipes(own_config)) == {"mine_r2_a1_s0", "mine_r3_a10_s0", "study"}


@pytest.mark.parametrize("words", [{"label": "Ours"}, {"colour": "#112233"}, {"venue": "here"}])
def test_new_words_change_the_recipes_of_what_prints_them_alone(own_config, words):
    before = recipes(own_config)
    own_config["methods"]["mine"] |= words
    assert changed(before, recipes(own_config)) == {"table", "study", "report"}


@pytest.mark.parametrize("change", [{"start": "first"}, {"needs": ["teacher"]}, {"implementation": "mine.py:Other"}])
def test_another_way_of_training_changes_its_runs(own_config, tmp_path, change):
    (tmp_path / "mine.py").write_text(TEXT + "class Other:\n    pass\n")
    before = recipes(own_config)
    own_config["methods"]["mine"] |= change
    found = changed(before, recipes(own_config))
    assert found >= {"mine_r2_a1_s0", "mine_r3_a10_s0"} and not found & {"weco_kd_r2_a1_s0", "probe", "figure"}


def test_needs_in_another_order_are_the_same(own_config):
    own_config["methods"]["mine"]["needs"] = ["tokens", "class_token"]
    before = recipes(own_config)
    own_config["methods"]["mine"]["needs"] = ["class_token", "tokens", "tokens"]
    assert changed(before, recipes(own_config)) == set()


@pytest.mark.parametrize(
    ("job", "kind"),
    [
        ("mine_r2_a1_s0", DistillRecipe),
        ("table", ArtifactRecipe),
        ("study", ComputationRecipe),
        ("report", ReportRecipe),
    ],
)
def test_a_job_knows_the_methods_of_its_recipe(own_config, job, kind):
    """In a process that has read no config."""
    text = recipes(own_config)[job]
    sha256 = hashlib.sha256(TEXT.encode()).hexdigest()
    use_own({})
    read = kind.model_validate_json(text)
    assert METHODS["mine"].start == "copy" and METHODS["mine"].objective == "mine.py:Mine"
    assert METHODS["mine"].label == ("mine" if job == "mine_r2_a1_s0" else "Mine")
    assert METHODS["mine"].sha256 == (sha256 if job in ("mine_r2_a1_s0", "study") else "")
    assert read.canonical() == text and json.loads(text)["own_methods"].keys() == {"mine"}


def test_making_recipes_leaves_the_configs_entries_as_they_are(own_config):
    """What one job is told of a method, without its label, say, is not what the next one is told."""
    parse(own_config)
    entry = METHODS["mine"]
    recipes(own_config)
    assert METHODS["mine"] == entry and entry.sha256 and entry.label == "Mine"
