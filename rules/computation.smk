"""The computation study, which needs shapes, but neither weights nor images."""


rule computation:
    message:
        "Counting and timing the models of {wildcards.artifact}."
    output:
        csv=shown(f"{ROOT}/computation/{{artifact}}.csv", "Computation"),
        markdown=f"{ROOT}/computation/{{artifact}}.md",
        speed=f"{ROOT}/computation/{{artifact}}_speed.csv",
    log:
        f"{LOGS}/computation/{{artifact}}.log",
    params:
        recipe=campaign.computation_recipe,
        caption=campaign.caption,
    # All threads that there are, so that no other job slows what it times.
    threads: 256
    resources:
        gpu=1,
    script:
        "../workflow_scripts/computation.py"
