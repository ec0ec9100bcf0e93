"""`snakemake --lint`, less the one finding that stays: `make lint` runs this.

Jobs run in the environment that `make setup` pins (requirements.lock), which also runs Snakemake itself: torch, timm
and their CUDA libraries once, not once a rule. So no rule names a conda environment or a container of its own.
"""

from __future__ import annotations

import re
import subprocess
import sys

STAYS = "Specify a conda environment or container for each rule."

run = subprocess.run([sys.executable, "-m", "snakemake", "--lint"], text=True, capture_output=True, check=False)
output = run.stdout + run.stderr
found = re.findall(r"^    \* (.*):$", output, re.MULTILINE)
if any(finding != STAYS for finding in found) or (run.returncode and not found):
    sys.exit(output)
print(f"snakemake --lint: {len(found)} times '{STAYS}', explained in tests/lint_workflow.py; nothing else.")
