"""Rules features_*: a student's features of the data sets of one job."""

from functools import partial

from wecolora.config.layout import RESUME
from wecolora.config.recipes import FeatureRecipe
from wecolora.core import files, hardware, job
from wecolora.core.checkpoint import RowsCheckpoint
from wecolora.core.progress import Progress
from wecolora.data.images import read_index
from wecolora.evaluation.features import Extractor, write_features
from wecolora.models import vit


def main(*, student, indexes, features, resume, recipe, threads):
    wanted = FeatureRecipe.model_validate_json(recipe)
    device = hardware.device(threads)
    architecture = wanted.architecture
    model = vit.load_student(architecture.model_dump(), student).to(device)
    sha256 = files.sha256(student)

    def forward(pixels, statistics):
        inputs = vit.normalise(pixels.to(device, non_blocking=True), statistics.mean, statistics.std)
        return vit.pooled(model, inputs)

    kind = hardware.environment(device)["device"]
    kept = []
    with job.stop_deferred() as stopping:
        for source, path in zip(indexes, features, strict=True):
            index = read_index(source)
            statistics = wanted.statistics[index.name]
            alone = wanted.model_copy(update={"statistics": {index.name: statistics}}).canonical()
            kept.append(RowsCheckpoint(resume, job.fingerprint(alone, sha256, files.sha256(source), kind)))
            write_features(
                path,
                Extractor(
                    partial(forward, statistics=statistics),
                    architecture.img_size,
                    architecture.embed_dim,
                    sha256,
                    device,
                ),
                index,
                workers=threads - 1,
                progress=Progress,
                resume=kept[-1],
                stopping=stopping,
            )
            job.log.info("wrote %s", path)
    # Not before all files are there: if a job ends early, only these rows stay.
    for rows in kept:
        rows.remove()


if __name__ == "__main__":
    with job.running(snakemake.log[0], snakemake.params.recipe):
        main(
            student=snakemake.input.student,
            indexes=snakemake.input.indexes,
            features=snakemake.output.features,
            resume=RESUME,
            recipe=snakemake.params.recipe,
            threads=snakemake.threads,
        )
