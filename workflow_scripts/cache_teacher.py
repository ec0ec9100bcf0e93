"""Rule cache_teacher: one shard of a teacher's cache."""

from wecolora.config.recipes import CacheRecipe
from wecolora.core import files, hardware, job
from wecolora.core.progress import Progress
from wecolora.data.images import read_index
from wecolora.data.subset import prefix_length, read_subset
from wecolora.models import vit
from wecolora.training.cache import Recording, write_shard


def main(*, index, subset, weights, cache, recipe, threads):
    wanted = CacheRecipe.model_validate_json(recipe)
    images = read_index(index)
    positions, _, share = read_subset(subset, images)
    rows = slice(prefix_length(share, wanted.low), prefix_length(share, wanted.high))
    write_shard(
        cache,
        images,
        positions[rows],
        vit.load(wanted.input.architecture.model_dump(), weights),
        files.sha256(weights),
        wanted,
        Recording(
            device=hardware.device(threads),
            workers=threads - 1,
            progress=Progress(rows.stop - rows.start, "images"),
        ),
    )


if __name__ == "__main__":
    with job.running(snakemake.log[0], snakemake.params.recipe):
        main(
            index=snakemake.input.index,
            subset=snakemake.input.subset,
            weights=snakemake.input.weights,
            cache=snakemake.output.cache,
            recipe=snakemake.params.recipe,
            threads=snakemake.threads,
        )
