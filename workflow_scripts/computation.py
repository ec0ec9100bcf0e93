"""Rule computation: the computation study."""

from wecolora.config.recipes import ComputationRecipe
from wecolora.core import hardware, job
from wecolora.results.computation import write_counts, write_speed


def main(*, csv, markdown, speed, recipe, threads):
    wanted = ComputationRecipe.model_validate_json(recipe)
    write_counts(wanted, csv, markdown)
    write_speed(wanted, speed, hardware.device(threads), job.log.info)


if __name__ == "__main__":
    with job.running(snakemake.log[0], snakemake.params.recipe):
        main(
            csv=snakemake.output.csv,
            markdown=snakemake.output.markdown,
            speed=snakemake.output.speed,
            recipe=snakemake.params.recipe,
            threads=snakemake.threads,
        )
