"""Rule resolved_config: the config with its defaults made explicit."""

from wecolora import runtime
from wecolora.files import atomic_write


def main(*, config, path):
    with atomic_write(path) as temporary:
        temporary.write_text(config + "\n")


if __name__ == "__main__":
    with runtime.job(snakemake.log[0]):
        main(config=snakemake.params.config, path=snakemake.output.config)
