"""The computation study: it needs shapes, and neither weights nor images."""


rule computation:
    message:
        "Counting and timing the models of {wildcards.artifact}."
    output:
        csv=f"{ROOT}/computation/{{artifact}}.csv",
        markdown=f"{ROOT}/computation/{{artifact}}.md",
        speed=f"{ROOT}/computation/{{artifact}}_speed.csv",
    log:
        f"{LOGS}/computation/{{artifact}}.log",
    params:
        recipe=campaign.computation_recipe,
    resources:
        gpu=1,
    script:
        "../workflow_scripts/computation.py"
