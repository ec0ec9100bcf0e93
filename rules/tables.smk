"""The paper's tables, and the verdicts on what the paper says in words."""


rule table:
    message:
        "Making {wildcards.artifact}."
    input:
        scores=campaign.scores,
    output:
        csv=shown(f"{ROOT}/tables/{{artifact}}.csv", "Tables"),
        markdown=f"{ROOT}/tables/{{artifact}}.md",
        latex=f"{ROOT}/tables/{{artifact}}.tex",
    log:
        f"{LOGS}/table/{{artifact}}.log",
    params:
        recipe=campaign.artifact_recipe,
        caption=campaign.caption,
    script:
        "../workflow_scripts/table.py"


rule claims:
    message:
        "Checking what the paper says on the scores."
    input:
        scores=campaign.scores,
    output:
        csv=shown(f"{ROOT}/claims/{{artifact}}.csv", "Verdicts"),
        comparisons=f"{ROOT}/claims/{{artifact}}_comparisons.csv",
        markdown=f"{ROOT}/claims/{{artifact}}.md",
    log:
        f"{LOGS}/claims/{{artifact}}.log",
    wildcard_constraints:
        artifact=campaign.names_of("claims"),
    params:
        recipe=campaign.claims_recipe,
        caption=campaign.caption,
    script:
        "../workflow_scripts/claims.py"
