"""Rule subset: the nested, class-balanced order of the corpus."""

from wecolora.config.recipes import SubsetRecipe
from wecolora.core import job
from wecolora.data.images import read_index
from wecolora.data.subset import write_subset


def main(*, index, subset, recipe):
    wanted = SubsetRecipe.model_validate_json(recipe)
    write_subset(read_index(index), wanted.seed, wanted.strategy, subset)


if __name__ == "__main__":
    with job.running(snakemake.log[0], snakemake.params.recipe):
        main(index=snakemake.input.index, subset=snakemake.output.subset, recipe=snakemake.params.recipe)
