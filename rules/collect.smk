"""The targets that users name: all scores, the resolved config, all caches, each artifact by its name, the demo's teachers."""


rule collect:
    message:
        "Collecting every score."
    input:
        scores=campaign.all_scores(),
    output:
        scores=paths.scores,
    log:
        paths.log("collect"),
    script:
        "../workflow_scripts/collect.py"


rule resolved_config:
    message:
        "Writing the config with its defaults."
    output:
        config=paths.config,
    log:
        paths.log("resolved_config"),
    params:
        # A function, because Snakemake would take braces in a plain text for wildcards.
        config=lambda wildcards: campaign.resolved(),
    script:
        "../workflow_scripts/resolved_config.py"


# On request: the teachers' caches alone, for example on the cheapest nodes, or after some of them were lost.
rule caches:
    input:
        {shard for run in campaign.trained() for shard in campaign.shards(run)},


for artifact in campaign.config.artifacts:

    rule:
        name:
            artifact
        input:
            campaign.files_of(artifact),


rule pretrain_all:
    input:
        expand(paths.card, teacher=list(campaign.config.pretraining)),
