"""Rule claims: verdicts on what the paper says in words."""

from wecolora.config.recipes import ClaimsRecipe
from wecolora.core import job
from wecolora.results.claims import write_claims
from wecolora.results.scores import read_scores


def main(*, scores, csv, comparisons, markdown, recipe):
    write_claims(read_scores(scores), ClaimsRecipe.model_validate_json(recipe), csv, comparisons, markdown)


if __name__ == "__main__":
    with job.running(snakemake.log[0], snakemake.params.recipe):
        main(
            scores=snakemake.input.scores,
            csv=snakemake.output.csv,
            comparisons=snakemake.output.comparisons,
            markdown=snakemake.output.markdown,
            recipe=snakemake.params.recipe,
        )
