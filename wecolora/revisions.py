"""The revision of each stage: a number among its params. Raise it when a change to the stage's code changes its
results; then, and only then, the stage and what follows rerun. A test watches the code (tests/unit/test_revisions.py).
"""

REVISIONS = {
    "pretrain_teacher": 1,
    "compare_teacher": 1,
    "prepare": 2,
    "subset": 1,
    "cache_teacher": 1,
    "distill": 1,
    "features": 1,
    "probe": 2,
    "table": 1,
    "figure": 1,
    "computation": 1,
}

# The modules whose code decides a stage's numbers.
MODULES = {
    "pretrain_teacher": ["pretrain", "optim", "vit"],
    "compare_teacher": ["probe", "optim", "vit", "images"],
    "prepare": ["datasets", "bundled", "images"],
    "subset": ["subset"],
    "cache_teacher": ["cache", "views", "vit", "images", "subset"],
    "distill": ["distill", "health", "lora", "methods", "optim", "sources", "subset", "weight_copy", "vit"],
    "features": ["features", "vit", "images"],
    "probe": ["probe", "health", "optim"],
    "table": ["methods", "scores", "tables"],
    "figure": ["methods", "scores", "figures"],
    "computation": ["computation", "lora", "methods", "vit"],
}
