"""The paper's tables."""


rule table:
    message:
        "Making {wildcards.artifact}."
    input:
        scores=campaign.scores,
    output:
        multiext(f"{ROOT}/tables/{{artifact}}", csv=".csv", markdown=".md", latex=".tex"),
    log:
        f"{LOGS}/table/{{artifact}}.log",
    params:
        recipe=campaign.artifact_recipe,
    script:
        "../workflow_scripts/table.py"
