"""The runs: each is one job, which distils a student from its teacher and merges its adapters."""


rule distill:
    message:
        "Distilling {wildcards.run} from {wildcards.teacher}."
    input:
        index=campaign.corpus,
        subset=campaign.subset,
        weights=of("teacher", campaign.weights),
        shards=of_run(campaign.shards),
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
