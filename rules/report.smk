"""The campaign as one page."""


rule report:
    message:
        "Writing the report."
    input:
        artifacts=campaign.artifact_files(),
        scores=campaign.all_scores(),
        students=campaign.told(),
        indexes=campaign.report_indexes(),
        config=paths.config,
    output:
        html=report(paths.report, category="The whole campaign on one page"),
    log:
        paths.log("report"),
    params:
        recipe=lambda wildcards: campaign.report_recipe(),
    script:
        "../workflow_scripts/report.py"
