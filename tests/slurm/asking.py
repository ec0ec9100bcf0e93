"""Snakemake as it is, except that it asks after its jobs every second: the plugin waits ten seconds longer after each
question that found nothing finished, which is right for a cluster and most of the time that a test takes."""

import sys

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor

Executor.next_seconds_between_status_checks = property(lambda self: 1, lambda self, seconds: None)

if __name__ == "__main__":
    sys.exit(main())
