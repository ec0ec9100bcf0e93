"""The revision of each stage: a number among its params. Raise it when a change to the stage's code changes its
results; then, and only then, the stage and what follows rerun. A test watches the code (tests/unit/test_revisions.py).
"""

REVISIONS = {
    "fetch_teacher": 1,
    "pretrain_teacher": 2,
    "compare_teacher": 1,
    "prepare": 4,
    "subset": 1,
    "cache_teacher": 2,
    "distill": 2,
    "features": 3,
    "probe": 3,
    "table": 3,
    "figure": 1,
    "latent": 1,
    "rollout": 3,
    "claims": 1,
    "report": 2,
    "computation": 4,
}

# Of a student in training: how it starts, what trains and what its loss compares.
STUDENTS = [
    "attention",
    "deit",
    "dmae",
    "health",
    "lora",
    "methods",
    "minivit",
    "objectives",
    "optim",
    "parallel",
    "students",
    "vit",
    "weight_copy",
]
# The modules whose code decides a stage's numbers.
MODULES = {
    "fetch_teacher": ["attention", "fetch", "timm_models", "vit"],
    "pretrain_teacher": ["attention", "pretrain", "optim", "vit"],
    "compare_teacher": ["attention", "probe", "optim", "vit", "images"],
    "prepare": [
        "bundled",
        "datasets",
        "datasets.bundled",
        "datasets.checking",
        "datasets.chestxray14",
        "datasets.cifar100",
        "datasets.folder",
        "datasets.imagenet",
        "datasets.inat2019",
        "datasets.listing",
        "datasets.resisc45",
        "datasets.table",
        "datasets.tars",
        "images",
    ],
    "subset": ["subset"],
    "cache_teacher": ["attention", "cache", "decoder", "hardware", "views", "vit", "images", "subset"],
    "distill": [*STUDENTS, "decoder", "distill", "hardware", "sources", "subset"],
    "features": ["attention", "decoder", "features", "hardware", "vit", "images"],
    "probe": ["probe", "hardware", "health", "optim"],
    "table": ["methods", "published", "scores", "tables"],
    "figure": ["methods", "scores", "figures"],
    "latent": ["figures", "latent", "methods", "scores"],
    "rollout": ["attention", "figures", "images", "methods", "rollout", "scores", "vit"],
    "claims": ["claims", "grid", "methods", "published", "scores"],
    "report": ["claims", "figures", "grid", "health", "methods", "published", "report", "runtime", "scores", "tables"],
    "computation": [*STUDENTS, "computation"],
}
