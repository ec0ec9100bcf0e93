"""The runs: each is one job, which distils a student from its teacher and merges its adapters."""


rule choose_blocks:
    message:
        "Choosing the blocks of {wildcards.teacher} that students copy, by {wildcards.layers}, alpha {wildcards.alpha}."
    input:
        index=campaign.corpus,
        subset=campaign.subset,
        weights=of("teacher", campaign.weights),
        shards=lambda wildcards: campaign.shards_of(wildcards.teacher, float(wildcards.alpha)),
    output:
        blocks=paths.blocks,
    log:
        paths.log("choose_blocks"),
    benchmark:
        paths.benchmark("choose_blocks")
    params:
        recipe=lambda wildcards: campaign.blocks_recipe(wildcards.teacher, wildcards.layers, float(wildcards.alpha)),
    resources:
        gpu=1,
    script:
        "../workflow_scripts/choose_blocks.py"


rule distill:
    message:
        "Distilling {wildcards.run} from {wildcards.teacher}."
    input:
        index=campaign.corpus,
        subset=campaign.subset,
        weights=of("teacher", campaign.weights),
        shards=of_run(campaign.shards),
        blocks=of_run(campaign.blocks),
    output:
        student=paths.student,
        about=paths.about,
        provenance=paths.provenance,
    log:
        paths.log("distill"),
    benchmark:
        paths.benchmark("distill")
    params:
        recipe=of_run(campaign.distill_recipe),
    resources:
        gpu=1,
    script:
        "../workflow_scripts/distill.py"
