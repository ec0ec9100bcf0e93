"""Rule table: one of the paper's tables."""

from wecolora.config.recipes import ArtifactRecipe
from wecolora.core import job
from wecolora.results.scores import read_scores
from wecolora.results.tables import write_table


def main(*, scores, csv, markdown, latex, recipe):
    write_table(read_scores(scores), ArtifactRecipe.model_validate_json(recipe), csv, markdown, latex)


if __name__ == "__main__":
    with job.running(snakemake.log[0], snakemake.params.recipe):
        main(
            scores=snakemake.input.scores,
            csv=snakemake.output.csv,
            markdown=snakemake.output.markdown,
            latex=snakemake.output.latex,
            recipe=snakemake.params.recipe,
        )
