"""The paper's figures."""


rule figure:
    message:
        "Drawing {wildcards.artifact}."
    input:
        scores=campaign.scores,
    output:
        multiext(f"{ROOT}/figures/{{artifact}}", csv=".csv", png=".png", pdf=".pdf"),
    log:
        f"{LOGS}/figure/{{artifact}}.log",
    params:
        recipe=campaign.artifact_recipe,
    script:
        "../workflow_scripts/figure.py"
