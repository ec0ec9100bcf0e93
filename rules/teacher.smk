"""The teachers: their weights, the caches that all runs of a teacher learn from, and, on request, the demo's."""


rule fetch_teacher:
    message:
        "Fetching {wildcards.teacher}."
    input:
        source=campaign.source,
    output:
        weights=f"{ROOT}/teachers/{{teacher}}/weights.safetensors",
        about=f"{ROOT}/teachers/{{teacher}}/weights.json",
    log:
        f"{LOGS}/fetch_teacher/{{teacher}}.log",
    wildcard_constraints:
        teacher=campaign.timm_teachers(),
    localrule: True  # compute nodes may have no internet
    params:
        recipe=campaign.fetch_recipe,
    script:
        "../workflow_scripts/fetch_teacher.py"


rule cache_teacher:
    message:
        "Caching {wildcards.teacher} on the corpus, shard {wildcards.shard}."
    input:
        index=campaign.corpus,
        subset=campaign.subset,
        weights=campaign.weights,
    output:
        cache=f"{ROOT}/teachers/{{teacher}}/cache/{{shard}}.h5",
    log:
        f"{LOGS}/cache_teacher/{{teacher}}_{{shard}}.log",
    params:
        recipe=campaign.cache_recipe,
    resources:
        gpu=1,
    script:
        "../workflow_scripts/cache_teacher.py"


rule pretrain_teacher:
    message:
        "Training the demo teacher {wildcards.teacher}."
    input:
        index=campaign.pretrain_index,
    output:
        weights=f"{ROOT}/teachers/{{teacher}}.safetensors",
        about=f"{ROOT}/teachers/{{teacher}}.json",
    log:
        f"{LOGS}/pretrain_teacher/{{teacher}}.log",
    params:
        recipe=campaign.pretrain_recipe,
    script:
        "../workflow_scripts/pretrain_teacher.py"


rule compare_teacher:
    message:
        "Probing {wildcards.teacher}, an untrained model of its shape, and raw pixels."
    input:
        weights=f"{ROOT}/teachers/{{teacher}}.safetensors",
        about=f"{ROOT}/teachers/{{teacher}}.json",
        indexes=expand(f"{ROOT}/data/{{dataset}}/index.parquet", dataset=campaign.compare_datasets()),
    output:
        card=f"{ROOT}/teachers/{{teacher}}.card.json",
    log:
        f"{LOGS}/compare_teacher/{{teacher}}.log",
    params:
        recipe=campaign.compare_recipe,
    script:
        "../workflow_scripts/compare_teacher.py"
