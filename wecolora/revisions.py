"""The revision of each stage: a number among its params. Raise it when a change to the stage's code changes its
results; then, and only then, the stage and what follows rerun. A test watches the code (tests/unit/test_revisions.py).
"""

REVISIONS = {
    "fetch_teacher": 1,
    "pretrain_teacher": 2,
    "compare_teacher": 1,
    "prepare": 2,
    "subset": 1,
    "cache_teacher": 1,
    "distill": 2,
    "features": 1,
    "probe": 3,
    "table": 2,
    "figure": 1,
    "latent": 1,
    "rollout": 1,
    "claims": 1,
    "report": 1,
    "computation": 3,
}

# The modules whose code decides a stage's numbers.
MODULES = {
    "fetch_teacher": ["attention", "fetch", "timm_models", "vit"],
    "pretrain_teacher": ["attention", "pretrain", "optim", "vit"],
    "compare_teacher": ["attention", "probe", "optim", "vit", "images"],
    "prepare": ["datasets", "bundled", "images"],
    "subset": ["subset"],
    "cache_teacher": ["attention", "cache", "views", "vit", "images", "subset"],
    "distill": [
        "attention",
        "deit",
        "distill",
        "dmae",
        "health",
        "lora",
        "methods",
        "minivit",
        "objectives",
        "optim",
        "sources",
        "subset",
        "weight_copy",
        "vit",
    ],
    "features": ["attention", "features", "vit", "images"],
    "probe": ["probe", "health", "optim"],
    "table": ["methods", "published", "scores", "tables"],
    "figure": ["methods", "scores", "figures"],
    "latent": ["figures", "latent", "methods", "scores"],
    "rollout": ["attention", "figures", "images", "methods", "rollout", "scores", "vit"],
    "claims": ["claims", "grid", "methods", "published", "scores"],
    "report": ["claims", "figures", "grid", "health", "methods", "published", "report", "scores", "tables"],
    "computation": ["attention", "computation", "lora", "methods", "vit"],
}
