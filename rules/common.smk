"""The checked config, as `campaign`; the names that a path may hold."""

import sys

from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config

sys.path.insert(0, workflow.basedir)

from wecolora.config import refuse_repeated_keys, typed
from wecolora.errors import BadInput
from wecolora.files import in_utf8, remove_leftovers
from wecolora.workflow import Campaign, refuse_unquotable

try:
    in_utf8()
    refuse_unquotable(sys.executable)
    # Not Snakemake's own `config`, in which a key of the command line may stand twice, or alone, by the profile.
    values = {}
    for path in workflow.configfiles:
        refuse_repeated_keys(path)
        update_config(values, load_configfile(path))
    update_config(values, typed(workflow.config_settings.config))
    campaign = Campaign(values)
except BadInput as error:
    raise WorkflowError(str(error)) from None

ROOT = campaign.root
RUN = f"{ROOT}/runs/{{teacher}}/{{run}}"
LOGS = campaign.logs


def shown(path, category):
    """An artifact's file, marked for `snakemake --report`, with the artifact's caption."""
    return report(path, category=category, caption="caption.rst", labels={"artifact": "{artifact}"})


def kept(features):
    """Features, which the config may want deleted when their probes are done."""
    return features if campaign.config.keep_features else temp(features)


wildcard_constraints:
    teacher="[a-z0-9_]+",
    run="[a-z0-9_.]+",
    dataset="[a-z0-9_]+",
    artifact="[a-z0-9_]+",
    shard=r"\d+",


# On a cluster these are made where Snakemake runs: seconds each, too little for a job.
localrules:
    subset,
    table,
    figure,
    claims,
    collect,
    resolved_config,
    report,
