"""Every check of a config that takes more than one key, made before anything runs. No torch.

A check yields a sentence for each fault that it finds; the first is what the user is told.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from wecolora.config.artifacts import Artifact, Runs
from wecolora.config.campaign import Config
from wecolora.config.datasets import Dataset
from wecolora.config.kinds import AXES, KINDS
from wecolora.config.methods import METHODS, Layers, components
from wecolora.config.teachers import Teacher, head_classes
from wecolora.config.training import Optimisation, ProbeSettings

# What `snakemake NAME` already means (rules/); a test compares.
RULES = {kind for kind, entry in KINDS.items() if entry.files} | {
    "all",
    "cache_teacher",
    "caches",
    "choose_blocks",
    "collect",
    "compare_teacher",
    "distill",
    "fetch_teacher",
    "prepare",
    "pretrain_all",
    "pretrain_teacher",
    "report",
    "resolved_config",
    "subset",
}


def first_fault(config: Config) -> str | None:
    """Return what is wrong with a config, in a sentence; None: nothing."""
    for check in CHECKS:
        for fault in check(config):
            return fault
    for name, artifact in config.artifacts.items():
        for check_artifact in ARTIFACT_CHECKS:
            for fault in check_artifact(config, f"artifacts.{name}", artifact):
                return fault
        for check_runs in RUNS_CHECKS:
            for fault in check_runs(config, f"artifacts.{name}", artifact, artifact.runs) if artifact.runs else ():
                return fault
    return None


# Of the campaign


def names_are_known(config: Config) -> Iterator[str]:
    """Check that what one key names stands below another."""
    for key in ("lr_of", "layers_of"):
        for method in getattr(config.distill, key):
            yield from _unknown(f"distill.{key}", method, METHODS, "method")
    named = {"corpus.dataset": config.corpus.dataset, **{f"probe_of.{name}": name for name in config.probe_of}}
    for key, name in named.items():
        yield from _unknown(key, name, config.datasets, "data set")


def warmup_is_part_of_training(config: Config) -> Iterator[str]:
    """Check that a warm-up takes no more epochs than there are."""
    schedules: dict[str, Optimisation | ProbeSettings] = {"distill": config.distill, "probe": config.probe}
    schedules |= {f"probe_of.{name}": config.probe_for(name) for name in config.probe_of}
    for key, settings in schedules.items():
        if settings.warmup_epochs > settings.epochs:
            yield f"{key}.warmup_epochs: {settings.warmup_epochs:g} is more than {key}.epochs, {settings.epochs}"


def pretraining_is_of_a_teacher(config: Config) -> Iterator[str]:
    """Check that the config has each demo teacher that is trained, and the data set that it is trained on."""
    for name, training in config.pretraining.items():
        yield from _unknown("pretraining", name, config.teachers, "teacher")
        yield from _unknown(f"pretraining.{name}.dataset", training.dataset, config.datasets, "data set")


def targets_are_artifacts(config: Config) -> Iterator[str]:
    """Check that the chosen artifacts are there."""
    for target in config.targets:
        yield from _unknown("targets", target, config.artifacts, "artifact")


def roles_are_taken_once(config: Config) -> Iterator[str]:
    """Check that teachers and data sets can be read, and that at most one is, or stands for, each of the paper's."""
    entries: Mapping[str, Dataset | Teacher]
    for key, entries in (("teachers", config.teachers), ("datasets", config.datasets)):
        roles: list[str] = []
        for name, entry in entries.items():
            if not _as_seen(entry.label):
                yield f"{key}.{name}.label: needs a text that can be seen"
            if entry.paper and entry.stands_for:
                yield f"{key}.{name}: `paper` says that it is the paper's, so leave out `stands_for`"
            role = entry.paper or entry.stands_for
            if role in roles:
                yield f"{key}.{name}: another is, or stands for, the paper's {role} already"
            roles += [role] if role else []


def tables_are_taken_once(config: Config) -> Iterator[str]:
    """Check that at most one table regenerates each of the paper's."""
    tables: list[int] = []
    for name, artifact in config.artifacts.items():
        if artifact.paper_table in tables:
            yield f"artifacts.{name}.paper_table: another is the paper's Table {artifact.paper_table}"
        tables += [artifact.paper_table] if artifact.paper_table else []


def names_are_no_rules(config: Config) -> Iterator[str]:
    """Check that no artifact has the name of a rule, so that `snakemake NAME` has one meaning."""
    stages = ("features", "probe")
    jobs = {f"{stage}_{data.job or name}" for name, data in config.datasets.items() for stage in stages}
    for name in config.artifacts:
        if name in RULES | jobs:
            yield f"artifacts.{name}: is the name of a rule; choose another"


def own_methods_can_be_told_apart(config: Config) -> Iterator[str]:
    """Check that a user's own method has a label that can be seen, and that no other method has."""
    for name, method in config.methods.items():
        if not _as_seen(method.label):
            yield f"methods.{name}.label: needs a text that can be seen"
    yield from _alike("methods", [method.label for method in METHODS.values()])


CHECKS: list[Callable[[Config], Iterator[str]]] = [
    own_methods_can_be_told_apart,
    names_are_known,
    warmup_is_part_of_training,
    pretraining_is_of_a_teacher,
    targets_are_artifacts,
    roles_are_taken_once,
    tables_are_taken_once,
    names_are_no_rules,
]


# Of an artifact


def datasets_are_known(config: Config, where: str, artifact: Artifact) -> Iterator[str]:
    """Check that the config has an artifact's data sets."""
    for dataset in artifact.datasets:
        yield from _unknown(f"{where}.datasets", dataset, config.datasets, "data set")


def classes_can_be_coloured(config: Config, where: str, artifact: Artifact) -> Iterator[str]:
    """Check that each image has one class where classes are shown.

    Without this check, that would come out after all students are trained.
    """
    kind = KINDS[artifact.kind]
    for name in artifact.datasets:
        if kind.shows_classes and config.datasets[name].several_labels:
            yield (
                f"{where}.datasets: {name} has several labels an image, and classes are what {kind.called} colours; "
                "take a data set with one label an image"
            )


def columns_can_be_told_apart(config: Config, where: str, artifact: Artifact) -> Iterator[str]:
    """Check that no two columns look alike."""
    yield from _alike(f"{where}.rows", artifact.rows)
    yield from _alike(f"{where}.datasets", [config.datasets[name].label for name in artifact.datasets])


ARTIFACT_CHECKS: list[Callable[[Config, str, Artifact], Iterator[str]]] = [
    datasets_are_known,
    classes_can_be_coloured,
    columns_can_be_told_apart,
]


# Of an artifact's runs


def runs_can_be_told_apart(config: Config, where: str, artifact: Artifact, runs: Runs) -> Iterator[str]:
    """Check that an axis with several values is one that the artifact shows."""
    for axis in AXES:
        values = list(dict.fromkeys(getattr(runs, axis)))
        if len(values) > 1 and axis not in artifact.cells():
            by = f"`x: {artifact.x}`" if artifact.x else f"`rows: {', '.join(artifact.rows)}`"
            by = KINDS[artifact.kind].called or by
            yield f"{where}.runs.{axis}: {values} cannot be told apart by {by}; give one value"


def methods_have_their_axes(config: Config, where: str, artifact: Artifact, runs: Runs) -> Iterator[str]:
    """Check that a method is known, and that it has a rank if it needs one and the axis that a figure is drawn over."""
    for method in runs.method:
        yield from _unknown(f"{where}.runs.method", method, METHODS, "method")
        if "k" in METHODS[method].axes and not runs.k:
            yield f"{where}.runs.k: method {method} needs a rank"
        if artifact.x and artifact.x not in METHODS[method].axes:
            missing = f"{'rank' if artifact.x == 'k' else artifact.x} to draw over (x: {artifact.x})"
            having = ", ".join(name for name in METHODS if artifact.x in METHODS[name].axes)
            yield f"{where}.runs.method: {method} has no {missing}; these have: {having}"


def ticks_tell_methods_apart(config: Config, where: str, artifact: Artifact, runs: Runs) -> Iterator[str]:
    """Check that no two methods have the same components, if the components are all that is printed of them."""
    ticks = [components(method) for method in dict.fromkeys(runs.method)]
    if "components" in artifact.rows and len(set(ticks)) < len(ticks):
        yield f"{where}.rows: `components` cannot tell {', '.join(runs.method)} apart; use `method`"


def teachers_are_known(config: Config, where: str, artifact: Artifact, runs: Runs) -> Iterator[str]:
    """Check that the config has an artifact's teachers, and that no two look alike."""
    for teacher in runs.teacher:
        yield from _unknown(f"{where}.runs.teacher", teacher, config.teachers, "teacher")
    yield from _alike(f"{where}.runs.teacher", [config.teachers[name].label for name in dict.fromkeys(runs.teacher)])


def class_tokens_are_there(config: Config, where: str, artifact: Artifact, runs: Runs) -> Iterator[str]:
    """Check that a teacher has a class token, if that is what is shown of it."""
    for teacher in runs.teacher:
        if KINDS[artifact.kind].shows_class_token and not config.teachers[teacher].architecture.class_token:
            yield f"{where}.runs.teacher: a rollout shows the class token's, and {teacher} has none"


def methods_fit_their_teachers(config: Config, where: str, artifact: Artifact, runs: Runs) -> Iterator[str]:
    """Check that a method can learn from each of the teachers, and from the corpus."""
    for teacher in runs.teacher:
        for method in runs.method:
            if why := _unfit(config, method, teacher):
                yield f"{where}.runs.method: {method} {why}"


def depths_fit(config: Config, where: str, artifact: Artifact, runs: Runs) -> Iterator[str]:
    """Check that a teacher has enough blocks for each r and for the blocks that are listed, and that r has a learning
    rate."""
    trained = any(METHODS[method].trains != "nothing" for method in runs.method)
    for teacher in runs.teacher:
        depth = config.teachers[teacher].architecture.depth
        for r in runs.r:
            if r > depth:
                yield f"{where}.runs.r: {r} is more than the {depth} blocks of {teacher}; r must lie in 1..{depth}"
            for key, listed in _layers(config, runs).items():
                if isinstance(listed, str) or (len(listed) == depth // r and all(0 <= one < depth for one in listed)):
                    continue
                yield (
                    f"{key}: {listed} is no student of {teacher} for r = {r} in {where}; name "
                    f"{depth // r} blocks from 0 to {depth - 1}, or give a rule"
                )
            if trained and r not in config.distill.lr:
                yield f"{where}.runs.r: distill.lr has no learning rate for r = {r}; it has {sorted(config.distill.lr)}"


def listed_blocks_ascend(config: Config, where: str, artifact: Artifact, runs: Runs) -> Iterator[str]:
    """Check that the blocks that are listed for a calibrated method ascend: each stands for those up to the next."""
    for method in runs.method:
        listed = config.layers(method)
        if METHODS[method].calibration and not isinstance(listed, str) and sorted(set(listed)) != listed:
            yield f"distill.layers: {listed} do not ascend, which {method} in {where} needs; sort them, each once"


def ranks_fit(config: Config, where: str, artifact: Artifact, runs: Runs) -> Iterator[str]:
    """Check that a rank is no more than the smaller side of an adapted matrix."""
    for teacher in runs.teacher:
        shape = config.teachers[teacher].architecture
        most = min(shape.embed_dim, int(shape.embed_dim * shape.mlp_ratio))
        for k in runs.k:
            if k > most:
                yield f"{where}.runs.k: {k} is more than min(d1, d2) = {most} of {teacher}; k must lie in 1..{most}"


RUNS_CHECKS: list[Callable[[Config, str, Artifact, Runs], Iterator[str]]] = [
    runs_can_be_told_apart,
    methods_have_their_axes,
    ticks_tell_methods_apart,
    teachers_are_known,
    class_tokens_are_there,
    methods_fit_their_teachers,
    depths_fit,
    listed_blocks_ascend,
    ranks_fit,
]


def _layers(config: Config, runs: Runs) -> dict[str, Layers | list[int]]:
    """Return the blocks that an artifact's methods copy, by the key of the config that says so."""
    given = config.distill.layers_of
    return {
        f"distill.layers_of.{method}" if method in given else "distill.layers": config.layers(method)
        for method in runs.method
    }


def _unfit(config: Config, name: str, teacher: str) -> str | None:
    """Return why a method cannot learn from a teacher, or from the corpus; None: it can."""
    method, shape = METHODS[name], config.teachers[teacher].architecture
    if "class_token" in method.needs and (shape.global_pool != "token" or not shape.class_token):
        return f"needs a class token, and {teacher} pools patches"
    if method.start == "random" and shape.global_pool == "map":
        return f"starts at random and never trains the pooling of {teacher}; give that `global_pool: avg`"
    if "plain_attention" in method.needs and shape.scale_attn_norm:
        return f"shares plain attention, and that of {teacher} has a norm (scale_attn_norm)"
    if "head" in method.needs and head_classes(config.teachers[teacher]) == 0:
        return f"learns from the teacher's logits, and {teacher} has no head; take deit, or weights with a head"
    if not method.reads_labels:
        return None
    corpus = config.datasets[config.corpus.dataset]
    if not corpus.labelled:
        return f"learns from labels, and the corpus, {config.corpus.dataset}, has none (labels: null)"
    if corpus.several_labels:
        return f"learns from one label an image, and the corpus, {config.corpus.dataset}, has several"
    return None


def _unknown(key: str, name: str, allowed: Mapping[str, Any], what: str) -> Iterator[str]:
    if name not in allowed:
        close = difflib.get_close_matches(name, allowed, n=1)
        hint = f"; did you mean {close[0]}" if close else ""
        yield f"{key}: {name!r} is no known {what}{hint}; known are {', '.join(allowed)}"


def _alike(key: str, texts: Iterable[str]) -> Iterator[str]:
    printed = [_as_seen(text) for text in texts]
    for text in printed:
        if printed.count(text) > 1:
            yield f"{key}: two would be printed as {text!r}; name each once and give each its own label"


def _as_seen(text: str) -> str:
    """Return a text without what no eye tells apart: spelling of accents, white space, characters without width."""
    visible = "".join(sign for sign in unicodedata.normalize("NFC", text) if unicodedata.category(sign) != "Cf")
    return " ".join(visible.split())
