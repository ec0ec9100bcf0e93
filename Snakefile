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


# With a limit of jobs a second, which Snakemake has by default (100/1s), each pass of its scheduler while jobs wait starts
# a timer for one more, and so does each job that ends, for ever: there are as many passes a second as jobs have ended.
# `cores` and `jobs` of the profile say how many jobs there are at once.
onstart:
    workflow.scheduler.job_rate_limiter = None


# What killed jobs left of files that they were writing.
onsuccess:
    remove_leftovers(RESULTS)
