"""The computation study's counts as its own table and the report print them."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from wecolora.config.methods import METHODS


def printed_counts(counts: pd.DataFrame, teachers: Mapping[str, str]) -> pd.DataFrame:
    """Return the computation study's counts (wecolora/results/computation.py) for a reader.

    They are in millions and thousand millions, and a teacher is named by its label in ``teachers``.
    """
    trained = counts["trained"] > 0
    online = trained & counts["method"].map(lambda name: METHODS[name].online)

    def millions(column: str) -> pd.Series[str]:
        return (counts[column] / 1e6).map("{:.2f}".format)

    def thousand_millions(column: str) -> pd.Series[str]:
        return (counts[column] / 1e9).map("{:.4g}".format)

    def kilobytes(column: str) -> pd.Series[str]:
        return (counts[column] / 1e3).map("{:.1f}".format)

    views = (counts["cache_bytes_per_image"] // counts["cache_bytes_per_view"]).iloc[0]
    return pd.DataFrame(
        {
            "Teacher": counts["teacher"].map(teachers),
            "Model": [METHODS[name].label for name in counts["method"]],
            "r": counts["r"].map(lambda r: str(r) if r > 1 else ""),
            "k": ["" if pd.isna(k) else str(k) for k in counts["k"]],
            "Blocks": counts["blocks"].map(str),
            "Parameters (M)": millions("parameters"),
            "trained (M)": millions("trained").where(trained, ""),
            "GMACs": thousand_millions("macs"),
            "with attention": thousand_millions("macs_with_attention"),
            "GMACs in training": thousand_millions("training_macs").where(trained, ""),
            "the teacher's": thousand_millions("teacher_macs").where(online, ""),
            "KB a cached view": kilobytes("cache_bytes_per_view"),
            f"KB an image ({views} views)": kilobytes("cache_bytes_per_image"),
        }
    )
