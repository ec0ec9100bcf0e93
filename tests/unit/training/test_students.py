"""The objective of a run, by its method's name: the library's, and those in a user's own file."""

from __future__ import annotations

import hashlib
import pickle
import sys

import pytest
import torch

from wecolora.config.methods import METHODS, use_own
from wecolora.config.own_methods import OwnMethod
from wecolora.core.errors import BadInput
from wecolora.training.deit import DeiT
from wecolora.training.dmae import DMAE
from wecolora.training.minivit import MiniViT
from wecolora.training.objectives import Objective, TokenObjective
from wecolora.training.students import objective_class, start

PLAIN = """
from wecolora.training.objectives import TokenObjective

class Mine(TokenObjective):
    pass
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Makes ``mine`` a method of this text, as a recipe makes it known to its job."""
    monkeypatch.chdir(tmp_path)

    def known(text, name="Mine", **changes):
        (tmp_path / "mine.py").write_text(text)
        values = {"implementation": f"mine.py:{name}", "label": "Mine", "start": "copy", "trains": "all", **changes}
        use_own({"mine": OwnMethod(**values).entry(hashlib.sha256(text.encode()).hexdigest())})

    yield known
    use_own({})


def refusal():
    with pytest.raises(BadInput) as caught:
        objective_class(METHODS["mine"])
    return str(caught.value)


@pytest.mark.parametrize(
    ("method", "kind"),
    [("wecolora_kl", TokenObjective), ("deit_soft", DeiT), ("minivit_depth", MiniViT), ("dmae", DMAE)],
)
def test_a_method_of_the_library_has_the_class_that_its_entry_names(method, kind):
    assert objective_class(METHODS[method]) is kind


def test_every_entry_names_an_objective():
    assert all(issubclass(objective_class(method), Objective) for method in METHODS.values())


@pytest.mark.parametrize("trains", ["all", "enhanced"])
def test_ones_own_objective_starts_as_the_librarys_of_the_same_entry(own, tiny_teacher, distill_recipe, trains):
    own(PLAIN, trains=trains, needs=["tokens", "loss_point"])
    theirs = start(tiny_teacher, distill_recipe(method={"all": "weco_kd", "enhanced": "wecolora"}[trains]))
    mine = start(tiny_teacher, distill_recipe(method="mine"))
    assert type(mine).__name__ == "Mine" and isinstance(mine, TokenObjective)
    wanted = theirs.state_dict()
    assert mine.state_dict().keys() == wanted.keys()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in mine.state_dict().items())


def test_numbers_that_its_file_draws_when_it_is_read_change_no_student(own, tiny_teacher, distill_recipe):
    own(PLAIN, start="random")
    wanted = start(tiny_teacher, distill_recipe(method="mine")).state_dict()
    own(PLAIN + "import torch\ntorch.manual_seed(5)\ntorch.randn(3)\n", start="random")
    found = start(tiny_teacher, distill_recipe(method="mine")).state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in found.items())


def test_another_text_is_another_class(own):
    own(PLAIN)
    before = objective_class(METHODS["mine"])
    assert objective_class(METHODS["mine"]) is before
    own(PLAIN.replace("pass", "mark = 1"))
    assert objective_class(METHODS["mine"]).mark == 1 and not hasattr(before, "mark")


def test_a_file_may_hold_what_python_looks_up_in_its_module(own):
    own(
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom typing import ClassVar\n"
        "@dataclass\nclass Settings:\n    kinds: ClassVar[int] = 3\n    weight: float = 2.0\n" + PLAIN
    )
    module = sys.modules[objective_class(METHODS["mine"]).__module__]
    assert module.__file__ == "mine.py"
    assert pickle.loads(pickle.dumps(module.Settings())) == module.Settings()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\nimport nothing_of_that_name\n" + PLAIN, "line 2: ModuleNotFoundError: No module named"),
        (PLAIN + "def f():\n    return 1 / 0\nf()\n", "line 7: ZeroDivisionError: division by zero"),
        (PLAIN + "raise SystemExit(0)\n", "line 6: SystemExit: 0"),
        ("class Mine(:", "SyntaxError"),
    ],
)
def test_a_file_that_cannot_be_imported_is_refused_with_its_line(own, text, words):
    own(text)
    assert f"mine.py: cannot be imported ({words}" in refusal() and refusal().endswith("; correct it.")


@pytest.mark.parametrize(
    ("text", "name"), [("class Mine:\n    pass\n", "Mine"), ("Mine = 3\n", "Mine"), (PLAIN, "Yours")]
)
def test_a_class_that_is_no_objective_is_refused(own, text, name):
    own(text, name)
    assert refusal() == (
        f"mine.py: {name} is no Objective; let it be a subclass of wecolora.training.objectives.Objective."
    )


def test_a_file_that_changed_since_the_campaign_was_read_is_refused(own, tmp_path):
    own(PLAIN + "# one\n")
    (tmp_path / "mine.py").write_text(PLAIN + "# other\n")
    assert refusal() == "mine.py: has changed since the campaign was read; start snakemake again."
    (tmp_path / "mine.py").unlink()
    assert refusal() == "mine.py: cannot be read (No such file or directory); put the method's file back."


def test_a_teacher_without_the_head_that_it_needs_is_refused(own, tiny_teacher, headed_teacher, distill_recipe):
    own(PLAIN, needs=["tokens", "head"])
    start(headed_teacher, distill_recipe(method="mine"))
    with pytest.raises(BadInput, match=r"teacher tiny: its weights have no head\.weight, and mine learns from its"):
        start(tiny_teacher, distill_recipe(method="mine"))
