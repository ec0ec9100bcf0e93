"""Run the benchmarks: made-up images, random weights, in a temporary folder that is removed. Nothing is downloaded."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import calibration, decode, probes, reads, steps
from benchmarks.common import Setting
from wecolora.core import hardware

WIDTH = 100
BENCHMARKS = {"steps": steps, "reads": reads, "probes": probes, "decode": decode, "calibration": calibration}


def main() -> None:
    """Parse the arguments, run the benchmarks that they name, and print a table for each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which to run: {', '.join(BENCHMARKS)}; all if none")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that they run, measures nothing")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"{', '.join(unknown)}: no such benchmark; choose from {', '.join(BENCHMARKS)}.")
    device = hardware.device(torch.get_num_threads())
    machine = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    console, started = Console(width=WIDTH), time.perf_counter()
    console.print(f"ViT-B/16 at 224 px on {machine}; load average {os.getloadavg()[0]:.1f} before the start.")
    for benchmark in [BENCHMARKS[name] for name in arguments.names or BENCHMARKS]:
        with tempfile.TemporaryDirectory(prefix="wecolora-bench-") as folder, console.status(benchmark.TITLE):
            rows = benchmark.run(Setting(Path(folder), device, arguments.quick))
        table = Table("variant", "median", "ratio", "aim", title=benchmark.TITLE, title_justify="left", width=WIDTH)
        for row in rows:
            mark = "" if row.met is None else ", [green]met[/]" if row.met else ", [red]missed[/]"
            table.add_row(row.what, row.measured, row.ratio, row.aim + mark)
        console.print(table)
    console.print(f"{time.perf_counter() - started:.0f} s in all.")


if __name__ == "__main__":
    main()
