"""Rule compare_teacher: the linear probes of a demo teacher, of an untrained model of its shape, and of raw pixels."""

import json
from pathlib import Path

import torch

from wecolora.config.recipes import CompareRecipe
from wecolora.core import files, hardware, job
from wecolora.data.images import read_index
from wecolora.evaluation.probe import targets, train_probe
from wecolora.models import vit


def main(*, weights, about, indexes, card, recipe, threads):
    wanted = CompareRecipe.model_validate_json(recipe)
    hardware.device(threads)
    architecture = wanted.input.architecture.model_dump()
    torch.manual_seed(0)
    models = {"trained": vit.load(architecture, weights), "untrained": vit.build(architecture).eval()}

    def through(model):
        def forward(pixels):
            with torch.no_grad():
                parts = (vit.normalise(part, wanted.input.mean, wanted.input.std) for part in pixels.split(500))
                return torch.cat([vit.pooled(model, part) for part in parts])

        return forward

    sources = {name: through(model) for name, model in models.items()}
    sources["pixels"] = lambda pixels: pixels.flatten(1) / 255
    scores: dict[str, dict[str, float]] = {name: {} for name in sources}
    for (dataset, probe), path in zip(wanted.probes.recipes.items(), indexes, strict=True):
        index = read_index(path)
        parts = {split: index.rows(split) for split in ("train", "test")}
        pixels = {
            split: torch.from_numpy(index.pixels(rows, architecture["img_size"])) for split, rows in parts.items()
        }
        labels = {
            split: targets([index.labels[row] for row in rows], len(index.classes), index.multilabel)
            for split, rows in parts.items()
        }
        for name, forward in sources.items():
            data = {split: (forward(pixels[split]), labels[split]) for split in parts}
            result = train_probe(data["train"], data["test"], len(index.classes), probe)
            scores[name][dataset] = round(result.last, 2)
            job.log.info("%s, %s: %s %.1f", dataset, name, result.metric, result.last)
    facts = json.loads(Path(about).read_text(encoding="utf-8"))
    job.write_json(card, {**facts, "weights_sha256": files.sha256(weights), "scores": scores})


if __name__ == "__main__":
    with job.running(snakemake.log[0], snakemake.params.recipe):
        main(
            weights=snakemake.input.weights,
            about=snakemake.input.about,
            indexes=snakemake.input.indexes,
            card=snakemake.output.card,
            recipe=snakemake.params.recipe,
            threads=snakemake.threads,
        )
