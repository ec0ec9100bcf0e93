"""Rule report: the campaign as one HTML page."""

from wecolora.config.recipes import ReportRecipe
from wecolora.core import job
from wecolora.results.report import write_report


def main(*, scores, students, indexes, config, html, recipe):
    write_report(ReportRecipe.model_validate_json(recipe), scores, students, indexes, config, html, job.log)


if __name__ == "__main__":
    with job.running(snakemake.log[0], snakemake.params.recipe):
        main(
            scores=snakemake.input.scores,
            students=snakemake.input.students,
            indexes=snakemake.input.indexes,
            config=snakemake.input.config,
            html=snakemake.output.html,
            recipe=snakemake.params.recipe,
        )
