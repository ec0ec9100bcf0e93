"""Everything at once, and the targets that users name: each artifact by its own name."""


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
        # By a function: in a plain text Snakemake would take braces for wildcards.
        config=lambda wildcards: campaign.resolved(),
    script:
        "../workflow_scripts/resolved_config.py"


# On request: the teachers' caches alone, say on the nodes that have them cheapest, or what was lost of them.
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
