"""The jobs of a campaign that its runs need, with the files that each leaves: what `plan` counts and `status` looks at.

Tables, figures and the pages after them take seconds and are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from wecolora.campaign.selection import Campaign
from wecolora.config.methods import METHODS
from wecolora.config.runs import RunSpec

Evaluation = tuple[RunSpec, str]  # a run and a data set


@dataclass(frozen=True)
class Job:
    """A job of a rule; ``run``, ``datasets`` and ``teacher`` where it is about them. ``serves``: what is made of its
    files, after which they may be deleted."""

    rule: str
    log: str
    files: tuple[str, ...]
    run: RunSpec | None = None
    datasets: tuple[str, ...] = ()
    teacher: str = ""
    serves: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        """Whether its files are there, or all that is made of them; Snakemake alone knows whether they are up to
        date."""
        return there(self.files) or (bool(self.serves) and there(self.serves))


def there(files: Iterable[str]) -> bool:
    """Whether all of these files exist."""
    return all(Path(path).exists() for path in files)


def jobs(campaign: Campaign) -> list[Job]:
    """Of the chosen artifacts, each once, in the order of the stages."""
    scores, features = evaluations(campaign)
    runs = campaign.trained()
    trained = [run for run in runs if METHODS[run.method].axes]
    corpus = campaign.config.corpus.dataset
    shown = [artifact.datasets[0] for artifact in campaign.config.chosen().values() if artifact.kind == "rollout"]
    read = [dataset for _, _, together in _together(campaign, features) for dataset in together]
    images = dict.fromkeys([*[corpus] * bool(trained), *shown, *read])
    found = [
        Job("prepare", f"{campaign.logs}/prepare/{name}.log", (campaign.index(name),), None, (name,)) for name in images
    ]
    if trained:
        found.append(Job("subset", f"{campaign.logs}/subset/{corpus}.log", (campaign.subset,)))
    for teacher in dict.fromkeys(run.teacher for run in runs):
        if campaign.config.teachers[teacher].timm is not None:
            weights = campaign.weights(SimpleNamespace(teacher=teacher))
            found.append(
                Job("fetch_teacher", f"{campaign.logs}/fetch_teacher/{teacher}.log", (weights,), teacher=teacher)
            )
    served: dict[tuple[str, str], list[str]] = {}
    for run in trained:
        for shard in campaign.shards(_wildcards(run)):
            served.setdefault((run.teacher, shard), []).append(campaign.student(_wildcards(run)))
    for (teacher, shard), students in served.items():
        log = f"{campaign.logs}/cache_teacher/{teacher}_{Path(shard).stem}.log"
        found.append(Job("cache_teacher", log, (shard,), teacher=teacher, serves=tuple(students)))
    for run in trained:
        log = f"{campaign.logs}/distill/{run.teacher}/{run.slug()}.log"
        found.append(Job("distill", log, (campaign.student(_wildcards(run)),), run))
    probed = {(run, name) for run, name, _ in _together(campaign, scores)}
    for rule, wanted, path in (("features", features, campaign.features), ("probe", scores, campaign.score)):
        for run, name, datasets in _together(campaign, wanted):
            log = f"{campaign.logs}/{rule}/{run.teacher}/{run.slug()}/{name}.log"
            files = tuple(path(run, dataset) for dataset in datasets)
            serves: tuple[str, ...] = ()
            if rule == "features" and (run, name) in probed:
                serves = tuple(campaign.score(run, dataset) for dataset in datasets)
            found.append(Job(rule, log, files, run, datasets, serves=serves))
    return found


def evaluations(campaign: Campaign) -> tuple[list[Evaluation], list[Evaluation]]:
    """The (run, data set) pairs that the chosen artifacts need a score of, and those that they need features of."""
    config = campaign.config
    scores: dict[Evaluation, None] = {}
    drawn: dict[Evaluation, None] = {}
    for name in config.chosen():
        for artifact in config.scored() if config.artifacts[name].kind == "claims" else [name]:
            entry = config.artifacts[artifact]
            if entry.kind in ("table", "figure"):
                pairs = ((run, dataset) for run in config.runs_of(artifact) for dataset in entry.datasets)
                scores.update(dict.fromkeys(pairs))
            elif entry.kind == "latent":
                drawn.update(dict.fromkeys((run, entry.datasets[0]) for run in campaign.drawn_runs(artifact)))
    return list(scores), list({**scores, **drawn})


def _together(campaign: Campaign, wanted: list[Evaluation]) -> list[tuple[RunSpec, str, tuple[str, ...]]]:
    """(run, name of the job, all data sets that it takes on) of the jobs that give these."""
    together = campaign.probe_jobs()
    names = {dataset: name for name, datasets in together.items() for dataset in datasets}
    pairs = dict.fromkeys((run, names[dataset]) for run, dataset in wanted)
    return [(run, name, tuple(together[name])) for run, name in pairs]


def _wildcards(run: RunSpec) -> SimpleNamespace:
    return SimpleNamespace(teacher=run.teacher, run=run.slug())
