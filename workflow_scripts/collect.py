"""Rule collect: every score of the campaign in one tidy CSV."""

from wecolora.core import job
from wecolora.core.files import atomic_write
from wecolora.results.scores import read_scores


def main(*, scores, table):
    with atomic_write(table) as temporary:
        read_scores(scores).to_csv(temporary, index=False, float_format="%.6g")


if __name__ == "__main__":
    with job.running(snakemake.log[0]):
        main(scores=snakemake.input.scores, table=snakemake.output.scores)
