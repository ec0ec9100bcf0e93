"""Rule distill: one run."""

import time

import torch

from wecolora.config.layout import RESUME
from wecolora.config.methods import METHODS
from wecolora.config.recipes import DistillRecipe
from wecolora.core import files, hardware, job, process_group
from wecolora.core.checkpoint import Checkpoint
from wecolora.core.progress import Progress
from wecolora.data.images import read_index
from wecolora.data.subset import prefix_length, read_subset
from wecolora.models import vit
from wecolora.training.batches import Batches, CachedBatches, OnlineBatches
from wecolora.training.cache import CacheReader
from wecolora.training.fit import JobContext, fit


def main(*, index, subset, weights, shards, student, provenance, resume, recipe, threads, group):
    started = time.time()
    wanted = DistillRecipe.model_validate_json(recipe)
    threads = max(1, threads // group.size)
    device = hardware.device(threads)
    teacher = vit.load(wanted.input.architecture.model_dump(), weights, head=True)
    sha256 = files.sha256(weights)
    method = METHODS[wanted.method]
    # A cache knows its images by their ids, and so does without the index.
    known = read_index(index) if method.reads_labels or not shards else None
    positions, ids, share = read_subset(subset, known)
    images = prefix_length(share, wanted.student.alpha)
    labels = torch.tensor(known.single_labels(positions[:images])) if method.reads_labels and known else None
    batches: Batches
    if known is None or shards:
        reader = CacheReader(shards, wanted.cache(), sha256, ids[:images])
        batches = CachedBatches(reader, images, labels, tokens=method.reads_tokens)
    else:
        running = teacher if method.reads_tokens else None
        batches = OnlineBatches(known, positions[:images], running, wanted, labels, device, threads - 1)
    state = Checkpoint(resume, job.fingerprint(recipe, sha256, files.sha256(index), *ids[:images]))
    with job.stop_deferred() as stopping:
        context = JobContext(device, group, threads - 1, state, job.log.info, Progress, stopping)
        model, history = fit(teacher, batches, wanted, context)
    if group.rank > 0:
        return
    facts = {
        "recipe": wanted.model_dump(mode="json"),
        "teacher_sha256": sha256,
        "images": images,
        "history": history,
        "environment": hardware.environment(device, group.size),
    }
    vit.save_weights(model, student, facts)
    happened = job.provenance(started)
    happened["images_per_second"] = round(images * wanted.optimisation.epochs / happened["seconds"], 1)
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
            student=snakemake.output.student,
            provenance=snakemake.output.provenance,
            resume=RESUME,
            recipe=snakemake.params.recipe,
            threads=snakemake.threads,
            group=group,
        )
