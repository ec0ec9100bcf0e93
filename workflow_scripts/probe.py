"""Rules probe_*: the linear probes of one job, with a score file for each."""

import dataclasses
import time
from typing import Any

from wecolora.campaign.revisions import REVISIONS
from wecolora.config.recipes import ProbeJob
from wecolora.config.runs import RunSpec
from wecolora.core import hardware, job
from wecolora.core.files import read_json
from wecolora.evaluation.features import read_features
from wecolora.evaluation.probe import largest_class, train_probe
from wecolora.training.diagnostics import probe_warnings

STAGES = ("prepare", "subset", "cache_teacher", "distill", "features", "probe")


def main(*, about, features, scores, provenance, recipe, teacher, run, threads):
    started = time.time()
    wanted = ProbeJob.model_validate_json(recipe)
    device = hardware.device(threads)
    # A teacher that is probed as it is has no distillation.
    student: dict[str, Any] = {"recipe": None, "history": [], "teacher_sha256": None, "environment": None}
    if about:
        student = read_json(about[0], student, "distil the student again")
    warnings = sorted({warning.split(":")[0] for epoch in student["history"] for warning in epoch["signs"]})
    # Which blocks were copied stands in the recipe, which a score holds as well.
    named = [field.name for field in dataclasses.fields(RunSpec) if field.name != "layers"]
    values = student["recipe"] if about else dataclasses.asdict(RunSpec(teacher, run))
    axes = {axis: values[axis] for axis in named}
    for (dataset, probe), path, score in zip(wanted.recipes.items(), features, scores, strict=True):
        data, classes, sha256 = read_features(path, dataset)
        job.log.info("%s: %d images to train on, %d to test", dataset, len(data["train"][1]), len(data["test"][1]))
        result = train_probe(data["train"], data["test"], len(classes), probe, device, job.log.debug)
        found = probe_warnings(
            student["history"], result.train_loss, result.metric, result.last, largest_class(data["test"][1])
        )
        for warning in found:
            job.log.warning("WARNING: %s", warning)
        job.log.info(
            "%s: %s %.2f (best %.2f in epoch %d)",
            dataset,
            result.metric,
            result.last,
            result.best,
            result.best_epoch,
        )
        if result.metric == "mean AUC" and None in result.per_class:
            job.log.warning(
                "WARNING: %s: the mean AUC leaves out %d of %d classes, which no test image has, or every one",
                dataset,
                result.per_class.count(None),
                len(classes),
            )
        job.write_json(
            score,
            {
                "run": {**axes, "dataset": dataset, "slug": run},
                **vars(result),
                "signs": [*warnings, *found],
                "classes": classes,
                "recipe": {"distill": student["recipe"], "probe": probe.model_dump(mode="json")},
                "student_sha256": sha256,
                "teacher_sha256": student["teacher_sha256"] or sha256,
                "revisions": {stage: REVISIONS[stage] for stage in STAGES},
                "environment": hardware.environment(device),
                "student_environment": student["environment"],
            },
        )
    job.write_json(provenance, job.provenance(started))


if __name__ == "__main__":
    with job.running(snakemake.log[0], snakemake.params.recipe):
        main(
            about=snakemake.input.about,
            features=snakemake.input.features,
            scores=snakemake.output.scores,
            provenance=snakemake.output.provenance,
            recipe=snakemake.params.recipe,
            teacher=snakemake.wildcards.teacher,
            run=snakemake.wildcards.run,
            threads=snakemake.threads,
        )
