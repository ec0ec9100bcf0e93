"""The paper's tables, and the verdicts on what the paper says in words."""


rule table:
    message:
        "Making {wildcards.artifact}."
    input:
        scores=of("artifact", campaign.scores_of),
    output:
        csv=shown(paths.artifact("table")["csv"], "Tables"),
        markdown=paths.artifact("table")["markdown"],
        latex=paths.artifact("table")["latex"],
    log:
        paths.log("table"),
    params:
        recipe=of("artifact", campaign.artifact_recipe),
        caption=of("artifact", campaign.caption),
    script:
        "../workflow_scripts/table.py"


rule claims:
    message:
        "Checking what the paper says on the scores."
    input:
        scores=of("artifact", campaign.scores_of),
    output:
        csv=shown(paths.artifact("claims")["csv"], "Verdicts"),
        comparisons=paths.artifact("claims")["comparisons"],
        markdown=paths.artifact("claims")["markdown"],
    log:
        paths.log("claims"),
    wildcard_constraints:
        artifact=campaign.names_of("claims"),
    params:
        recipe=of("artifact", campaign.claims_recipe),
        caption=of("artifact", campaign.caption),
    script:
        "../workflow_scripts/claims.py"
