"""The images: an index of each data set, and the order in which subsets take the images of the corpus."""


rule prepare:
    message:
        "Indexing the images of {wildcards.dataset}."
    output:
        index=paths.index,
        report=paths.images_report,
    log:
        paths.log("prepare"),
    benchmark:
        paths.benchmark("prepare")
    params:
        recipe=of("dataset", campaign.prepare_recipe),
    # Each thread reads and checks some 1500 images a second. A large data set needs more: --set-threads prepare=16.
    threads: 1
    script:
        "../workflow_scripts/prepare.py"


rule subset:
    message:
        "Ordering {wildcards.dataset} into nested, class-balanced subsets."
    input:
        index=paths.index,
    output:
        subset=paths.subset,
    log:
        paths.log("subset"),
    params:
        recipe=lambda wildcards: campaign.subset_recipe(),
    script:
        "../workflow_scripts/subset.py"
