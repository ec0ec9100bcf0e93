"""The images: an index of each data set, and the order in which subsets take the images of the corpus."""


rule prepare:
    message:
        "Indexing the images of {wildcards.dataset}."
    output:
        index=f"{ROOT}/data/{{dataset}}/index.parquet",
        report=f"{ROOT}/data/{{dataset}}/report.json",
    log:
        f"{LOGS}/prepare/{{dataset}}.log",
    params:
        recipe=campaign.prepare_recipe,
    # Each thread reads and checks some 1500 images a second. A large data set needs more: --set-threads prepare=16.
    threads: 1
    script:
        "../workflow_scripts/prepare.py"


rule subset:
    message:
        "Ordering {wildcards.dataset} into nested, class-balanced subsets."
    input:
        index=f"{ROOT}/data/{{dataset}}/index.parquet",
    output:
        subset=f"{ROOT}/data/{{dataset}}/subset.parquet",
    log:
        f"{LOGS}/subset/{{dataset}}.log",
    params:
        recipe=campaign.subset_recipe,
    script:
        "../workflow_scripts/subset.py"
