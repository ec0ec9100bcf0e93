"""Rule distill: one run."""

import time

from wecolora.config.layout import RESUME
from wecolora.config.recipes import DistillRecipe
from wecolora.core import files, hardware, job, process_group
from wecolora.core.checkpoint import Checkpoint
from wecolora.core.files import read_json
from wecolora.core.progress import Progress
from wecolora.models import vit
from wecolora.training.batches import open_batches
from wecolora.training.fit import JobContext, fit, with_blocks


def main(*, index, subset, weights, shards, blocks, student, provenance, resume, recipe, threads, group):
    started = time.time()
    wanted = DistillRecipe.model_validate_json(recipe)
    threads = max(1, threads // group.size)
    device = hardware.device(threads)
    teacher = vit.load(wanted.input.architecture.model_dump(), weights, head=True)
    sha256 = files.sha256(weights)
    batches, ids = open_batches(index, subset, shards, wanted, (teacher, sha256), device, threads - 1)
    known = [recipe, sha256, files.sha256(index), *ids]
    asked, chosen = wanted.model_dump(mode="json"), {}
    if blocks:
        wanted = with_blocks(wanted, read_json(blocks[0], ("kept",), "choose the blocks again"))
        chosen = {"blocks": wanted.layers}
        known.append(str(wanted.layers))
    state = Checkpoint(resume, job.fingerprint(*known))
    with job.stop_deferred() as stopping:
        context = JobContext(device, group, threads - 1, state, job.log.info, Progress, stopping)
        model, history = fit(teacher, batches, wanted, context)
    if group.rank > 0:
        return
    facts = {
        "recipe": asked,
        **chosen,
        "teacher_sha256": sha256,
        "images": batches.images,
        "history": history,
        "environment": hardware.environment(device, group.size),
    }
    vit.save_weights(model, student, facts)
    happened = job.provenance(started - state.spent)  # earlier attempts took time as well
    happened["images_per_second"] = round(batches.images * wanted.optimisation.epochs / happened["seconds"], 1)
    job.write_json(provenance, happened)
    state.remove()


if __name__ == "__main__":
    process_group.launch(process_group.gpus(snakemake.resources), snakemake.log[0])
    with job.running(snakemake.log[0], snakemake.params.recipe), process_group.joined() as group:
        main(
            index=snakemake.input.index,
            subset=snakemake.input.subset,
            weights=snakemake.input.weights,
            shards=snakemake.input.shards,
            blocks=snakemake.input.blocks,
            student=snakemake.output.student,
            provenance=snakemake.output.provenance,
            resume=RESUME,
            recipe=snakemake.params.recipe,
            threads=snakemake.threads,
            group=group,
        )
