"""Rules features_*: a student's features of the data sets of one job."""

from wecolora import runtime, vit
from wecolora.features import write_features
from wecolora.images import read_index
from wecolora.recipes import FeatureRecipe


def main(*, student, indexes, features, recipe, threads):
    wanted = FeatureRecipe.model_validate_json(recipe)
    device = runtime.device(threads)
    architecture = wanted.architecture
    model = vit.load_student(architecture.model_dump(), student).to(device)
    sha256 = vit.sha256(student)

    def forward(pixels):
        return vit.pooled(model, vit.normalise(pixels.to(device), wanted.mean, wanted.std))

    for index, path in zip(indexes, features, strict=True):
        write_features(path, forward, read_index(index), architecture.img_size, architecture.embed_dim, sha256)
        runtime.log.info("wrote %s", path)


if __name__ == "__main__":
    with runtime.job(snakemake.log[0], snakemake.params.recipe):
        main(
            student=snakemake.input.student,
            indexes=snakemake.input.indexes,
            features=snakemake.output.features,
            recipe=snakemake.params.recipe,
            threads=snakemake.threads,
        )
