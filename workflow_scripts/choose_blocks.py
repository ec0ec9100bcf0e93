"""Rule choose_blocks: the blocks that students of a teacher copy, where the images choose them."""

from wecolora.config.layout import RESUME
from wecolora.config.recipes import BlocksRecipe
from wecolora.core import files, hardware, job
from wecolora.core.checkpoint import Checkpoint
from wecolora.core.progress import Progress
from wecolora.models import vit
from wecolora.training.batches import open_batches
from wecolora.training.choose_blocks import choose_blocks
from wecolora.training.fit import JobContext


def main(*, index, subset, weights, shards, blocks, resume, recipe, threads):
    wanted = BlocksRecipe.model_validate_json(recipe).calibrated
    device = hardware.device(threads)
    teacher = vit.load(wanted.input.architecture.model_dump(), weights, head=True)
    sha256 = files.sha256(weights)
    batches, ids = open_batches(index, subset, shards, wanted, (teacher, sha256), device, threads - 1)
    state = Checkpoint(resume, job.fingerprint(recipe, sha256, files.sha256(index), *ids))
    with job.stop_deferred() as stopping:
        context = JobContext(device=device, checkpoint=state, log=job.log.info, progress=Progress, stopping=stopping)
        choice = choose_blocks(teacher, batches, wanted, context)
    facts = {"recipe": wanted.model_dump(mode="json"), "teacher_sha256": sha256, "images": batches.images}
    job.write_json(blocks, {**facts, **choice, "environment": hardware.environment(device)})
    state.remove()


if __name__ == "__main__":
    with job.running(snakemake.log[0], snakemake.params.recipe):
        main(
            index=snakemake.input.index,
            subset=snakemake.input.subset,
            weights=snakemake.input.weights,
            shards=snakemake.input.shards,
            blocks=snakemake.output.blocks,
            resume=RESUME,
            recipe=snakemake.params.recipe,
            threads=snakemake.threads,
        )
