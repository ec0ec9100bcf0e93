"""Rule resolved_config: the config with its defaults made explicit."""

from wecolora.core import job
from wecolora.core.files import write_text


def main(*, config, path):
    write_text(path, config + "\n")


if __name__ == "__main__":
    with job.running(snakemake.log[0]):
        main(config=snakemake.params.config, path=snakemake.output.config)
