"""The places of all that a campaign makes: every path below results/ once, as the pattern that its rule uses.

No torch.
"""

from __future__ import annotations

from wecolora.config.kinds import KINDS, KindName

RESULTS = "results"
RESUME = f"{RESULTS}/.resume"  # of all campaigns: what survives a killed job
# Beside one another in a run's folder, where the report finds them.
ABOUT = "student.json"
PROVENANCE = "circumstances.json"
PROBE_PROVENANCE = "circumstances_{job}.json"
BENCHMARKS = "benchmarks"
# How the jobs of a rule name their logs and benchmarks; those of an artifact's rule go by the artifact, and others have
# one job.
LOGS: dict[str, str] = {
    "prepare": "{dataset}",
    "subset": "{dataset}",
    "fetch_teacher": "{teacher}",
    "pretrain_teacher": "{teacher}",
    "compare_teacher": "{teacher}",
    "cache_teacher": "{teacher}_{shard}",
    "choose_blocks": "{teacher}_{layers}_a{alpha}",
    "distill": "{teacher}/{run}",
    "features": "{teacher}/{run}/{job}",
    "probe": "{teacher}/{run}/{job}",
    **{kind: "{artifact}" for kind in KINDS},
}


class Layout:
    """The paths of one campaign: patterns with the names teacher, run (a slug), dataset, shard, layers, alpha, job and
    artifact in braces, which Snakemake takes for wildcards and ``str.format`` fills in."""

    def __init__(self, campaign: str) -> None:
        self.root = root = f"{RESULTS}/{campaign}"
        data, teacher = f"{root}/data/{{dataset}}", f"{root}/teachers/{{teacher}}"
        run = f"{root}/runs/{{teacher}}/{{run}}"
        self.index = f"{data}/index.parquet"
        self.images_report = f"{data}/report.json"
        self.subset = f"{data}/subset.parquet"
        self.fetched = f"{teacher}/weights.safetensors"
        self.fetched_about = f"{teacher}/weights.json"
        self.pretrained = f"{teacher}.safetensors"
        self.pretrained_about = f"{teacher}.json"
        self.card = f"{teacher}.card.json"
        self.cache = f"{teacher}/cache/{{shard}}.h5"
        self.blocks = f"{teacher}/blocks/{{layers}}_a{{alpha}}.json"
        self.student = f"{run}/student.safetensors"
        self.about = f"{run}/{ABOUT}"
        self.provenance = f"{run}/{PROVENANCE}"
        self.features = f"{run}/features/{{dataset}}.h5"
        self.score = f"{run}/scores/{{dataset}}.json"
        self.probe_provenance = f"{run}/scores/{PROBE_PROVENANCE}"
        self.scores = f"{root}/scores.csv"
        self.config = f"{root}/config.yaml"
        self.report = f"{root}/report.html"

    def artifact(self, kind: KindName) -> dict[str, str]:
        """Return the patterns of the files of an artifact of a kind, by the name of the output."""
        return {name: f"{self.root}/{pattern}" for name, pattern in KINDS[kind].files.items()}

    def log(self, rule: str) -> str:
        """Return the pattern of the log of a rule's jobs."""
        return f"{self.root}/logs/{_job(rule)}.log"

    def benchmark(self, rule: str) -> str:
        """Return the pattern of the file in which Snakemake notes the time and the memory of a rule's job."""
        return f"{self.root}/{BENCHMARKS}/{_job(rule)}.tsv"


def _job(rule: str) -> str:
    return f"{rule}/{LOGS[rule]}" if rule in LOGS else rule
