"""Rule pretrain_teacher: train one of the demo's teachers."""

import torch

from wecolora.config.recipes import PretrainRecipe
from wecolora.core import hardware, job
from wecolora.data.images import read_index
from wecolora.models.vit import save_weights
from wecolora.training.pretrain import pretrain


def main(*, index, weights, recipe, threads):
    hardware.device(threads)  # it trains on the CPU, so that anyone can repeat it
    wanted = PretrainRecipe.model_validate_json(recipe)
    data = read_index(index)
    rows = data.rows("train")
    pixels = torch.from_numpy(data.pixels(rows, wanted.input.architecture.img_size))
    supervised = wanted.training.objective == "supervised"
    labels = torch.tensor(data.single_labels(rows) if supervised else [0] * len(rows))
    model = pretrain(pixels, labels, wanted, job.log.info)
    about = {
        "recipe": wanted.model_dump(mode="json"),
        "pixels_digest": data.pixels_digest,  # the digest of the training images, as their index says
        "environment": hardware.environment("cpu"),
    }
    save_weights(model, weights, about, dtype=torch.float16)


if __name__ == "__main__":
    with job.running(snakemake.log[0], snakemake.params.recipe):
        main(
            index=snakemake.input.index,
            weights=snakemake.output.weights,
            recipe=snakemake.params.recipe,
            threads=snakemake.threads,
        )
