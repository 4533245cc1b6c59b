"""A training step against peers: one thread, interleaved step by step, medians of paired ratios."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from longctx.experiments.record import provenance
from longctx.training.checkpoints import write_atomically

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from contestants import BATCHES, CONTESTANTS  # noqa: E402

BASELINE = "minimal loop"


class Contestant:
    """A contestant's process; it works only while it is asked to."""

    def __init__(self, name: str, length: int) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "contestants.py"), name, str(length)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        if self._read() != "ready":
            raise RuntimeError(f"{name} did not start")

    def step(self) -> tuple[float, float]:
        """Seconds and loss of one training step."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        seconds, loss = self._read().split()
        return float(seconds), float(loss)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"{self.name} ended early")
        return line


def measure(length: int, names: list[str], rounds: int, warm_up: int = 3) -> list[dict[str, Any]]:
    """Rows for one context length: seconds a step, tokens/s, and the ratio to the baseline."""
    runners = [Contestant(name, length) for name in names]
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in track(
        range(warm_up + rounds), f"L = {length}", console=Console(stderr=True), transient=True
    ):
        for runner in runners:
            seconds, _ = runner.step()
            if number >= warm_up:
                times[runner.name].append(seconds)
    for runner in runners:
        runner.close()
    rows = []
    for name in names:
        ratios = [t / base for t, base in zip(times[name], times[BASELINE], strict=True)]
        quartiles = statistics.quantiles(ratios, n=4)
        rows.append(
            {
                "contestant": name,
                "length": length,
                "seconds": round(statistics.median(times[name]), 4),
                "tokens_per_second": round(BATCHES[length] * length / statistics.median(times[name])),
                "ratio": round(statistics.median(ratios), 3),
                "ratio_quartiles": [round(quartiles[0], 3), round(quartiles[2], 3)],
            }
        )
    return rows


def main(argv: list[str] | None = None) -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(prog="longctx bench training", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="timed steps of each contestant")
    parser.add_argument("--lengths", type=int, nargs="+", default=sorted(BATCHES), choices=sorted(BATCHES))
    parser.add_argument(
        "--only", nargs="+", choices=sorted(CONTESTANTS), help="contestants besides the baseline"
    )
    parser.add_argument("--json", action="store_true", help="print rows as JSON")
    parser.add_argument("--out", type=Path, help="a file to write, as results/benchmarks/training.json is")
    options = parser.parse_args(argv)
    started = datetime.now(UTC)
    names = [n for n in CONTESTANTS if n == BASELINE or not options.only or n in options.only]
    rows = [row for length in options.lengths for row in measure(length, names, options.rounds)]
    if options.out:
        where = provenance(started, threads=1).model_dump(mode="json")
        content = {"provenance": where, "rounds": options.rounds, "rows": rows}
        write_atomically(options.out, (json.dumps(content, indent=1) + "\n").encode())
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    table = Table(title=f"A training step of 4,096 tokens, one thread, relative to the {BASELINE}")
    for column in ("contestant", "L", "ms", "tokens/s", "ratio", "quartiles"):
        table.add_column(column, justify="left" if column == "contestant" else "right")
    for row in rows:
        low, high = row["ratio_quartiles"]
        table.add_row(
            row["contestant"],
            str(row["length"]),
            f"{1000 * row['seconds']:.0f}",
            f"{row['tokens_per_second']:,}",
            f"{row['ratio']:.2f}",
            f"{low:.2f}–{high:.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
