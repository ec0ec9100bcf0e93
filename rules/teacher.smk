"""The teachers: their weights, the caches that all runs of a teacher learn from, and, on request, the demo's."""


rule fetch_teacher:
    message:
        "Fetching {wildcards.teacher}."
    input:
        source=of("teacher", campaign.sources.get),
    output:
        weights=paths.fetched,
        about=paths.fetched_about,
    log:
        paths.log("fetch_teacher"),
    benchmark:
        paths.benchmark("fetch_teacher")
    wildcard_constraints:
        teacher=campaign.timm_teachers(),
    localrule: True  # compute nodes may have no internet
    params:
        recipe=of("teacher", campaign.fetch_recipe),
    script:
        "../workflow_scripts/fetch_teacher.py"


rule cache_teacher:
    message:
        "Caching {wildcards.teacher} on the corpus, shard {wildcards.shard}."
    input:
        index=campaign.corpus,
        subset=campaign.subset,
        weights=of("teacher", campaign.weights),
    output:
        cache=paths.cache,
    log:
        paths.log("cache_teacher"),
    benchmark:
        paths.benchmark("cache_teacher")
    params:
        recipe=lambda wildcards: campaign.cache_recipe(wildcards.teacher, int(wildcards.shard)),
    resources:
        gpu=1,
    script:
        "../workflow_scripts/cache_teacher.py"


rule pretrain_teacher:
    message:
        "Training the demo teacher {wildcards.teacher}."
    input:
        index=lambda wildcards: campaign.index(campaign.config.pretraining[wildcards.teacher].dataset),
    output:
        weights=paths.pretrained,
        about=paths.pretrained_about,
    log:
        paths.log("pretrain_teacher"),
    benchmark:
        paths.benchmark("pretrain_teacher")
    params:
        recipe=of("teacher", campaign.pretrain_recipe),
    script:
        "../workflow_scripts/pretrain_teacher.py"


rule compare_teacher:
    message:
        "Probing {wildcards.teacher}, an untrained model of its shape, and raw pixels."
    input:
        weights=paths.pretrained,
        about=paths.pretrained_about,
        indexes=expand(paths.index, dataset=campaign.config.compared()),
    output:
        card=paths.card,
    log:
        paths.log("compare_teacher"),
    params:
        recipe=of("teacher", campaign.compare_recipe),
    script:
        "../workflow_scripts/compare_teacher.py"
