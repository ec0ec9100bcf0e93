"""WeCoLoRA Bench: every table and figure of the paper from one config. `snakemake` makes all of them."""

from snakemake.utils import min_version

min_version("9.0")


# A config file that is named replaces this one; Snakemake itself would merge the two.
if not workflow.overwrite_configfiles:

    configfile: "config.yaml"


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/teacher.smk"
include: "rules/distill.smk"
include: "rules/probe.smk"
include: "rules/tables.smk"
include: "rules/figures.smk"
include: "rules/computation.smk"
include: "rules/collect.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        campaign.targets(),


# What killed jobs left of files that they were writing.
onsuccess:
    remove_leftovers(RESULTS)
