"""docs/python.md, as a reader types it."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
from PIL import Image

from tests.workflow.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "python.md").read_text(encoding="utf-8")


def test_the_pages_session_runs_as_it_stands(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(24):
        for place in ("photos", f"labelled/{'train' if number % 3 else 'test'}/{'a' if number % 2 else 'b'}"):
            (tmp_path / place).mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (40, 44, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / place / f"{number}.png")
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    shown = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert re.search(r"^6 \(0\.5, 0\.5, 0\.5\)$", shown.stdout, re.MULTILINE), shown.stdout
    assert re.search(r"^[+-]\d+\.\d points$", shown.stdout, re.MULTILINE)
