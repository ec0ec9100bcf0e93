"""Rule prepare: the index of a data set."""

from wecolora import runtime
from wecolora.datasets import prepare_bundled, prepare_folder
from wecolora.recipes import PrepareRecipe


def main(*, index, recipe):
    wanted = PrepareRecipe.model_validate_json(recipe)
    data = wanted.data
    if data.source == "bundled":
        prepare_bundled(wanted.name, data.bundled, data.train, data.test, data.seed, index)
    elif data.source == "folder":
        prepare_folder(wanted.name, data.root, index)


if __name__ == "__main__":
    with runtime.job(snakemake.log[0], snakemake.params.recipe):
        main(index=snakemake.output.index, recipe=snakemake.params.recipe)
