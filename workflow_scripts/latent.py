"""Rule latent: t-SNE of the features of two or more students."""

from wecolora.config.methods import METHODS
from wecolora.config.recipes import ArtifactRecipe
from wecolora.core import job
from wecolora.evaluation.features import read_features
from wecolora.results.tsne import write_tsne


def main(*, features, csv, png, pdf, recipe):
    wanted = ArtifactRecipe.model_validate_json(recipe)
    read = [read_features(path, *wanted.datasets) for path in features]
    labels = [METHODS[name].label for name in wanted.methods]
    shown = {label: data["test"][0].numpy() for label, (data, _, _) in zip(labels, read, strict=True)}
    data, classes, _ = read[0]
    write_tsne(shown, data["test"][1].numpy(), classes, wanted, csv, png, pdf)


if __name__ == "__main__":
    with job.running(snakemake.log[0], snakemake.params.recipe):
        main(
            features=snakemake.input.features,
            csv=snakemake.output.csv,
            png=snakemake.output.png,
            pdf=snakemake.output.pdf,
            recipe=snakemake.params.recipe,
        )
