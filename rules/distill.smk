"""The runs: each is one job, which distils a student from its teacher and merges its adapters."""


rule distill:
    message:
        "Distilling {wildcards.run} from {wildcards.teacher}."
    input:
        index=campaign.corpus,
        subset=campaign.subset,
        weights=campaign.weights,
        shards=campaign.shards,
    output:
        student=f"{RUN}/student.safetensors",
        about=f"{RUN}/student.json",
        provenance=f"{RUN}/circumstances.json",
    log:
        f"{LOGS}/distill/{{teacher}}/{{run}}.log",
    params:
        recipe=campaign.distill_recipe,
    resources:
        gpu=1,
    script:
        "../workflow_scripts/distill.py"
