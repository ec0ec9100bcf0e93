"""The jobs of a campaign that its runs need, with the files that each leaves: what `plan` counts and `status` looks at.

Tables, figures and the pages after them take seconds and are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wecolora.campaign.selection import Campaign
from wecolora.config.kinds import KINDS
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
        """Tell whether the job is done: its files are there, or all that is made of them.

        Snakemake alone knows whether they are up to date.
        """
        return there(self.files) or (bool(self.serves) and there(self.serves))


def there(files: Iterable[str]) -> bool:
    """Tell whether all of these files exist."""
    return all(Path(path).exists() for path in files)


def jobs(campaign: Campaign) -> list[Job]:
    """Return the jobs that the chosen artifacts need, each once, in the order of the stages."""
    trained = [run for run in campaign.trained() if METHODS[run.method].axes]
    return [
        *_image_jobs(campaign, trained),
        *_teacher_jobs(campaign, trained),
        *_choice_jobs(campaign, trained),
        *(Job("distill", _log(campaign, "distill", run), (campaign.student(run),), run) for run in trained),
        *_evaluation_jobs(campaign),
    ]


def _image_jobs(campaign: Campaign, trained: list[RunSpec]) -> Iterator[Job]:
    """Yield the jobs that index the data sets, and the one that orders the corpus."""
    corpus = campaign.config.corpus.dataset
    shown = [
        artifact.datasets[0]
        for artifact in campaign.config.chosen().values()
        if KINDS[artifact.kind].takes == "weights" and artifact.datasets
    ]
    read = [dataset for _, _, together in _together(campaign, evaluations(campaign)[1]) for dataset in together]
    for name in dict.fromkeys([*[corpus] * bool(trained), *shown, *read]):
        log = campaign.layout.log("prepare").format(dataset=name)
        yield Job("prepare", log, (campaign.index(name),), None, (name,))
    if trained:
        yield Job("subset", campaign.layout.log("subset").format(dataset=corpus), (campaign.subset,))


def _teacher_jobs(campaign: Campaign, trained: list[RunSpec]) -> Iterator[Job]:
    """Yield the jobs that fetch the teachers, and those that record what students learn from."""
    for teacher in dict.fromkeys(run.teacher for run in campaign.trained()):
        if campaign.config.teachers[teacher].timm is not None:
            log = campaign.layout.log("fetch_teacher").format(teacher=teacher)
            yield Job("fetch_teacher", log, (campaign.weights(teacher),), teacher=teacher)
    served: dict[tuple[str, str], list[str]] = {}
    for run in trained:
        for shard in campaign.shards(run):
            served.setdefault((run.teacher, shard), []).append(campaign.student(run))
    for (teacher, shard), students in served.items():
        log = campaign.layout.log("cache_teacher").format(teacher=teacher, shard=Path(shard).stem)
        yield Job("cache_teacher", log, (shard,), teacher=teacher, serves=tuple(students))


def _choice_jobs(campaign: Campaign, trained: list[RunSpec]) -> Iterator[Job]:
    """Yield the jobs that choose the blocks of students, each once."""
    wanted = {path: run for run in trained for path in campaign.blocks(run)}
    for path, run in wanted.items():
        names = {"teacher": run.teacher, "layers": campaign.layers(run), "alpha": run.share}
        yield Job("choose_blocks", campaign.layout.log("choose_blocks").format(**names), (path,), run)


def _evaluation_jobs(campaign: Campaign) -> Iterator[Job]:
    """Yield the jobs that extract features, and then those that probe them."""
    scores, features = evaluations(campaign)
    probed = {(run, name) for run, name, _ in _together(campaign, scores)}
    for run, name, datasets in _together(campaign, features):
        scored = datasets if (run, name) in probed else ()
        yield Job(
            "features",
            _log(campaign, "features", run, name),
            tuple(campaign.features(run, dataset) for dataset in datasets),
            run,
            datasets,
            serves=tuple(campaign.score(run, dataset) for dataset in scored),
        )
    for run, name, datasets in _together(campaign, scores):
        files = tuple(campaign.score(run, dataset) for dataset in datasets)
        yield Job("probe", _log(campaign, "probe", run, name), files, run, datasets)


def evaluations(campaign: Campaign) -> tuple[list[Evaluation], list[Evaluation]]:
    """Return the (run, data set) pairs that the chosen artifacts need a score of, and those that they need features
    of."""
    config = campaign.config
    scores: dict[Evaluation, None] = {}
    drawn: dict[Evaluation, None] = {}
    for name in config.chosen():
        of_all = KINDS[config.artifacts[name].kind].runs == "of_the_scored"
        for artifact in config.scored() if of_all else [name]:
            entry = config.artifacts[artifact]
            pairs = dict.fromkeys((run, dataset) for run in config.runs_of(artifact) for dataset in entry.datasets)
            if KINDS[entry.kind].takes == "scores":
                scores.update(pairs)
            elif KINDS[entry.kind].takes == "features":
                drawn.update(pairs)
    return list(scores), list({**scores, **drawn})


def _together(campaign: Campaign, wanted: list[Evaluation]) -> list[tuple[RunSpec, str, tuple[str, ...]]]:
    """Return (run, name of the job, all data sets that it takes on) of the jobs that give these."""
    together = campaign.probe_jobs()
    names = {dataset: name for name, datasets in together.items() for dataset in datasets}
    pairs = dict.fromkeys((run, names[dataset]) for run, dataset in wanted)
    return [(run, name, tuple(together[name])) for run, name in pairs]


def _log(campaign: Campaign, rule: str, run: RunSpec, job: str = "") -> str:
    return campaign.layout.log(rule).format(teacher=run.teacher, run=run.slug(), job=job)
