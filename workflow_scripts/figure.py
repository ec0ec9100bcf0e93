"""Rule figure: one of the paper's figures."""

from wecolora.config.recipes import ArtifactRecipe
from wecolora.core import job
from wecolora.results.figures import write_figure
from wecolora.results.scores import read_scores


def main(*, scores, csv, png, pdf, recipe):
    write_figure(read_scores(scores), ArtifactRecipe.model_validate_json(recipe), csv, png, pdf)


if __name__ == "__main__":
    with job.running(snakemake.log[0], snakemake.params.recipe):
        main(
            scores=snakemake.input.scores,
            csv=snakemake.output.csv,
            png=snakemake.output.png,
            pdf=snakemake.output.pdf,
            recipe=snakemake.params.recipe,
        )
