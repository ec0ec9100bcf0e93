"""How the computation study's counts are printed."""

from __future__ import annotations

import pandas as pd

from wecolora.results.counts import printed_counts


def test_counts_are_printed_in_millions_and_thousand_millions():
    """ViT-B's by recipes.md: 85.8 M parameters, 16.87 GMACs without attention's products; a student's made up."""
    counts = {
        "teacher": ["mae", "mae"],
        "method": ["teacher", "dmae"],
        "r": [1, 2],
        "k": pd.array([None, 16], dtype="Int64"),
        "blocks": [12, 6],
        "parameters": [85_798_656, 43_271_424],
        "macs": [16_866_000_000, 8_491_000_000],
        "macs_with_attention": [17_564_000_000, 8_840_000_000],
        "trained": [0, 1_234_000],
        "training_macs": [0, 9_000_000_000],
        "teacher_macs": [0, 4_216_500_000],
        "cache_bytes_per_view": [453_120, 453_120],
        "cache_bytes_per_image": [4_531_200, 4_531_200],
    }
    printed = printed_counts(pd.DataFrame(counts), {"mae": "ViT-B (MAE)"})
    assert list(printed) == [
        *("Teacher", "Model", "r", "k", "Blocks", "Parameters (M)", "trained (M)"),
        *("GMACs", "with attention", "GMACs in training", "the teacher's"),
        *("KB a cached view", "KB an image (10 views)"),
    ]
    assert printed.to_numpy().tolist() == [
        ["ViT-B (MAE)", "Teacher", "", "", "12", "85.80", "", "16.87", "17.56", "", "", "453.1", "4531.2"],
        ["ViT-B (MAE)", "DMAE", "2", "16", "6", "43.27", "1.23", "8.491", "8.84", "9", "4.216", "453.1", "4531.2"],
    ]
