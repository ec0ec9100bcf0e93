"""The computation study, which needs shapes, but neither weights nor images."""


rule computation:
    message:
        "Counting and timing the models of {wildcards.artifact}."
    output:
        csv=shown(paths.artifact("computation")["csv"], "Computation"),
        markdown=paths.artifact("computation")["markdown"],
        speed=paths.artifact("computation")["speed"],
    log:
        paths.log("computation"),
    params:
        recipe=of("artifact", campaign.computation_recipe),
        caption=of("artifact", campaign.caption),
    # All threads that there are, so that no other job slows what it times.
    threads: 256
    resources:
        gpu=1,
    script:
        "../workflow_scripts/computation.py"
