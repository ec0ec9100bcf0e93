"""The targets that users name: all scores, the resolved config, all caches, each artifact by its name, the demo's teachers."""

from types import SimpleNamespace


rule collect:
    message:
        "Collecting every score."
    input:
        scores=campaign.all_scores(),
    output:
        scores=f"{ROOT}/scores.csv",
    log:
        f"{LOGS}/collect.log",
    script:
        "../workflow_scripts/collect.py"


rule resolved_config:
    message:
        "Writing the config with its defaults."
    output:
        config=f"{ROOT}/config.yaml",
    log:
        f"{LOGS}/resolved_config.log",
    params:
        # A function, because Snakemake would take braces in a plain text for wildcards.
        config=lambda wildcards: campaign.resolved(),
    script:
        "../workflow_scripts/resolved_config.py"


# On request: the teachers' caches alone, for example on the cheapest nodes, or after some of them were lost.
rule caches:
    input:
        {
            shard
            for run in campaign.trained()
            if run.alpha
            for shard in campaign.shards(SimpleNamespace(teacher=run.teacher, run=run.slug()))
        },


for artifact in campaign.config.artifacts:

    rule:
        name:
            artifact
        input:
            campaign.files_of(artifact),


rule pretrain_all:
    input:
        expand(f"{ROOT}/teachers/{{teacher}}.card.json", teacher=list(campaign.config.pretraining)),
