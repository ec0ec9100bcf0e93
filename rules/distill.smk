"""One run, one job: a student from its teacher, merged."""


rule distill:
    message:
        "Distilling {wildcards.run} from {wildcards.teacher}."
    input:
        index=campaign.corpus,
        subset=campaign.subset,
        weights=campaign.weights,
        # Whatever makes their contents others stands in the recipe or above; a shard that was lost, and is recorded
        # again for another run, is the same.
        shards=ancient(campaign.shards),
    output:
        student=f"{RUN}/student.safetensors",
        about=f"{RUN}/student.json",
        circumstances=f"{RUN}/circumstances.json",
    log:
        f"{LOGS}/distill/{{teacher}}/{{run}}.log",
    params:
        recipe=campaign.distill_recipe,
    resources:
        gpu=1,
    script:
        "../workflow_scripts/distill.py"
