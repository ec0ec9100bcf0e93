"""The computation study: it needs shapes, and neither weights nor images."""


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
    # Alone on the machine: another job beside it would slow what it times.
    threads: workflow.cores or 1
    resources:
        gpu=1,
    script:
        "../workflow_scripts/computation.py"
