"""The campaign as one page."""


rule report:
    message:
        "Writing the report."
    input:
        artifacts=campaign.artifact_files(),
        scores=campaign.all_scores(),
        students=campaign.told(),
        indexes=campaign.report_indexes(),
        config=f"{ROOT}/config.yaml",
    output:
        html=report(f"{ROOT}/report.html", category="The whole campaign on one page"),
    log:
        f"{LOGS}/report.log",
    params:
        recipe=campaign.report_recipe,
    script:
        "../workflow_scripts/report.py"
