"""Rule prepare: the index of a data set, and the report on its images."""

from wecolora.config.recipes import PrepareRecipe
from wecolora.core import job
from wecolora.core.progress import Progress
from wecolora.data.prepare import prepare


def main(*, index, report, recipe, threads):
    wanted = PrepareRecipe.model_validate_json(recipe)
    found = prepare(wanted.name, wanted.data, index, threads, Progress, wanted.probed)
    job.write_json(report, found)


if __name__ == "__main__":
    with job.running(snakemake.log[0], snakemake.params.recipe):
        main(
            index=snakemake.output.index,
            report=snakemake.output.report,
            recipe=snakemake.params.recipe,
            threads=snakemake.threads,
        )
