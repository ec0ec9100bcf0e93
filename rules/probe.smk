"""A student's features of each data set, and the linear probe on them. Data sets of one job share its start-up."""

from functools import partial

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
            student=campaign.student,
            indexes=expand(f"{ROOT}/data/{{dataset}}/index.parquet", dataset=datasets),
        output:
            features=kept(expand(f"{RUN}/features/{{dataset}}.h5", dataset=datasets, allow_missing=True)),
        log:
            f"{LOGS}/features/{{teacher}}/{{run}}/{job}.log",
        group:
            "{teacher}_{run}"
        params:
            recipe=partial(campaign.feature_recipe, datasets=datasets),
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
            about=campaign.about,
            features=expand(f"{RUN}/features/{{dataset}}.h5", dataset=datasets, allow_missing=True),
        output:
            scores=expand(f"{RUN}/scores/{{dataset}}.json", dataset=datasets, allow_missing=True),
            provenance=f"{RUN}/scores/circumstances_{job}.json",
        log:
            f"{LOGS}/probe/{{teacher}}/{{run}}/{job}.log",
        group:
            "{teacher}_{run}"
        params:
            recipe=partial(campaign.probe_recipe, datasets=datasets),
        resources:
            gpu=1,
            turn=1,
        script:
            "../workflow_scripts/probe.py"
