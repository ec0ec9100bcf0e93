"""Rule rollout: where two or more students attend."""

import torch

from wecolora.config.methods import METHODS
from wecolora.config.recipes import ArtifactRecipe, FeatureRecipe
from wecolora.core import hardware, job
from wecolora.data.images import read_index
from wecolora.models import vit
from wecolora.results.rollout import attentions, examples, rollout, write_rollout


def main(*, students, index, csv, png, pdf, recipe, sight, threads):
    wanted, seen = ArtifactRecipe.model_validate_json(recipe), FeatureRecipe.model_validate_json(sight)
    hardware.device(threads)
    data = read_index(index)
    pixels, names = examples(data, wanted.images, seen.architecture.img_size)
    if len(names) < wanted.images:
        job.log.warning("WARNING: %s: only %d labelled test images, not %d", data.name, len(names), wanted.images)
    statistics = seen.statistics[data.name]
    images = vit.normalise(torch.from_numpy(pixels), statistics.mean, statistics.std)
    maps = {}
    for name, path in zip(wanted.methods, students, strict=True):
        model = vit.load_student(seen.architecture.model_dump(), path)
        attended = rollout(attentions(model, images), prefix=model.num_prefix_tokens)
        maps[METHODS[name].label] = attended.numpy()
    write_rollout(pixels, names, maps, wanted, csv, png, pdf)


if __name__ == "__main__":
    with job.running(snakemake.log[0], snakemake.params.recipe):
        main(
            students=snakemake.input.students,
            index=snakemake.input.index,
            csv=snakemake.output.csv,
            png=snakemake.output.png,
            pdf=snakemake.output.pdf,
            recipe=snakemake.params.recipe,
            sight=snakemake.params.sight,
            threads=snakemake.threads,
        )
