"""The checked config, as `campaign`; the paths, as `paths`; and how a job asks the campaign by its wildcards."""

import sys

from snakemake.utils import update_config

sys.path.insert(0, workflow.basedir)

from wecolora.campaign.selection import Campaign, refuse_unquotable
from wecolora.config.layout import RESULTS
from wecolora.config.reading import read_config, typed
from wecolora.config.runs import RunSpec
from wecolora.core.errors import BadInput
from wecolora.core.files import in_utf8, remove_leftovers

try:
    in_utf8()
    refuse_unquotable(sys.executable)
    # Not Snakemake's own `config`: it hides that a file gives a key twice, and may hold the profile's values alone.
    values = {}
    for path in workflow.configfiles:
        update_config(values, read_config(path))
    update_config(values, typed(workflow.config_settings.config))
    campaign = Campaign(values)
    campaign.refuse_lost_weights()
except BadInput as error:
    raise WorkflowError(str(error)) from None

paths = campaign.layout


def of(name, ask):
    """What a job asks the campaign by one of its wildcards, as a function of these."""
    return lambda wildcards: ask(getattr(wildcards, name))


def of_run(ask, **known):
    """What a job asks the campaign by its run, likewise."""
    return lambda wildcards: ask(RunSpec.parse(wildcards.teacher, wildcards.run), **known)


def shown(path, category):
    """Mark an artifact's file for `snakemake --report`, with the artifact's caption."""
    return report(path, category=category, caption="caption.rst", labels={"artifact": "{artifact}"})


def kept(features):
    """Mark features as temporary if the config wants them deleted when their probes are done."""
    return features if campaign.config.keep_features else temp(features)


wildcard_constraints:
    teacher="[a-z0-9_]+",
    run="[a-z0-9_.]+",
    dataset="[a-z0-9_]+",
    artifact="[a-z0-9_]+",
    shard=r"\d+",
    layers="[a-z_]+",
    alpha=r"[\d.]+",


# On a cluster these run where Snakemake runs. Each takes seconds, which is too little for a job.
localrules:
    subset,
    table,
    figure,
    seconds,
    claims,
    collect,
    resolved_config,
    report,
