"""Rule fetch_teacher: the weights of a teacher from timm."""

import timm

from wecolora.config.recipes import FetchRecipe
from wecolora.core import files, hardware, job
from wecolora.models import vit
from wecolora.models.fetch import download, fetched


def main(*, source, weights, recipe, threads):
    wanted = FetchRecipe.model_validate_json(recipe)
    hardware.device(threads)
    path = source[0] if source else download(wanted.timm)
    sha256 = files.sha256(path)
    job.log.info("%s: from %s, sha256 %s", wanted.timm, path, sha256)
    model = fetched(wanted, path)
    about = {
        "recipe": wanted.model_dump(mode="json"),
        "source": str(path) if source else "hub",
        "source_sha256": sha256,
        "classes": model.num_classes,
        "timm": timm.__version__,
    }
    vit.save_weights(model, weights, about)


if __name__ == "__main__":
    with job.running(snakemake.log[0], snakemake.params.recipe):
        main(
            source=snakemake.input.source,
            weights=snakemake.output.weights,
            recipe=snakemake.params.recipe,
            threads=snakemake.threads,
        )
