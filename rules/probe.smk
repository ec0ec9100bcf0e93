"""A student's features of each data set, and the linear probe on them. Data sets of one job share its start-up."""

# On a cluster the jobs of a run share one submission, as far as the profile says (group-components). Within it they
# take turns, so that one GPU serves them all and each may use all of the memory. Snakemake alone would start all at once.
if workflow.remote_exec or (workflow.nodes and workflow.group_settings.group_components):
    workflow.register_resource("turn", 1)


resource_scopes:
    turn="local",


for job, datasets in campaign.probe_jobs().items():

    rule:
        name:
            f"features_{job}"
        message:
            f"Extracting features of {', '.join(datasets)} with {{wildcards.run}} from {{wildcards.teacher}}."
        input:
            student=of_run(campaign.student),
            indexes=expand(paths.index, dataset=datasets),
        output:
            features=kept(expand(paths.features, dataset=datasets, allow_missing=True)),
        log:
            paths.log("features").replace("{job}", job),
        benchmark:
            paths.benchmark("features").replace("{job}", job)
        group:
            "{teacher}_{run}"
        params:
            recipe=of_run(campaign.feature_recipe, datasets=datasets),
        resources:
            gpu=1,
            turn=1,
        script:
            "../workflow_scripts/features.py"

    rule:
        name:
            f"probe_{job}"
        message:
            f"Probing {{wildcards.run}} from {{wildcards.teacher}} on {', '.join(datasets)}."
        input:
            about=of_run(campaign.about),
            features=expand(paths.features, dataset=datasets, allow_missing=True),
        output:
            scores=expand(paths.score, dataset=datasets, allow_missing=True),
            provenance=paths.probe_provenance.replace("{job}", job),
        log:
            paths.log("probe").replace("{job}", job),
        benchmark:
            paths.benchmark("probe").replace("{job}", job)
        group:
            "{teacher}_{run}"
        params:
            recipe=of_run(campaign.probe_recipe, datasets=datasets),
        resources:
            gpu=1,
            turn=1,
        script:
            "../workflow_scripts/probe.py"
