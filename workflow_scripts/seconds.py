"""Rule seconds: score over the time of the distillation."""

from wecolora.config.recipes import ArtifactRecipe
from wecolora.core import job
from wecolora.results.scores import read_scores
from wecolora.results.seconds import read_seconds, write_seconds


def main(*, scores, circumstances, csv, png, pdf, recipe):
    wanted = ArtifactRecipe.model_validate_json(recipe)
    write_seconds(read_scores(scores), read_seconds(circumstances), wanted, csv, png, pdf)


if __name__ == "__main__":
    with job.running(snakemake.log[0], snakemake.params.recipe):
        main(
            scores=snakemake.input.scores,
            circumstances=snakemake.input.circumstances,
            csv=snakemake.output.csv,
            png=snakemake.output.png,
            pdf=snakemake.output.pdf,
            recipe=snakemake.params.recipe,
        )
