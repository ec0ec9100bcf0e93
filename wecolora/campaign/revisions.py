"""The revision of each stage: a number among its params. Raise it when a change to the stage's code changes its
results; then, and only then, the stage and what follows rerun. A test watches the code
(tests/unit/campaign/test_revisions.py).
"""

REVISIONS = {
    "fetch_teacher": 1,
    "pretrain_teacher": 2,
    "compare_teacher": 1,
    "prepare": 5,
    "subset": 1,
    "cache_teacher": 2,
    "choose_blocks": 1,
    "distill": 2,
    "features": 3,
    "probe": 3,
    "table": 4,
    "figure": 2,
    "seconds": 1,
    "latent": 2,
    "rollout": 4,
    "claims": 2,
    "report": 6,
    "computation": 5,
}
