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

from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from contestants import BATCHES, CONTESTANTS, SHAPE  # noqa: E402
from keep import keep  # noqa: E402

#: Every contestant is compared with these, which always take part.
BASELINES = ("minimal loop", "Hugging Face Llama")


class Contestant:
    """A contestant's process; it works only while it is asked to."""

    def __init__(self, name: str, length: int, vocab_size: int) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "contestants.py"), name, str(length), str(vocab_size)],
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


def take_turns(
    names: list[str], length: int, vocab_size: int, rounds: int, warm_up: int = 3
) -> dict[str, list[float]]:
    """Seconds of each contestant's steps; all take one step a round, so that a slow moment falls on all."""
    runners = [Contestant(name, length, vocab_size) for name in names]
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in track(
        range(warm_up + rounds),
        f"L = {length}, vocabulary {vocab_size}",
        console=Console(stderr=True),
        transient=True,
    ):
        for runner in runners:
            seconds, _ = runner.step()
            if number >= warm_up:
                times[runner.name].append(seconds)
    for runner in runners:
        runner.close()
    return times


def measure(
    length: int, vocab_size: int, names: list[str], rounds: int, warm_up: int = 3
) -> list[dict[str, Any]]:
    """Rows for one context length: seconds a step, tokens/s, and paired ratios to each of `BASELINES`."""
    times = take_turns(names, length, vocab_size, rounds, warm_up)
    rows = []
    for name in names:
        seconds = statistics.median(times[name])
        ratios = {base: paired_ratio(times[name], times[base]) for base in BASELINES}
        rows.append(
            {
                "contestant": name,
                "length": length,
                "vocab_size": vocab_size,
                "seconds": round(seconds, 4),
                "tokens_per_second": round(BATCHES[length] * length / seconds),
                "ratio_to": ratios,
            }
        )
    return rows


def paired_ratio(times: list[float], baseline: list[float]) -> dict[str, float]:
    """Median and quartiles of the ratios of times taken in the same round."""
    ratios = [t / b for t, b in zip(times, baseline, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4)
    return {"median": round(median, 3), "lower quartile": round(low, 3), "upper quartile": round(high, 3)}


def _table(vocab_size: int, rows: list[dict[str, Any]]) -> Table:
    table = Table(
        title=f"A training step of 4,096 tokens, vocabulary {vocab_size:,}, one thread",
        caption="Ratios of times taken in turn: median, and quartiles.",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
    )
    table.add_column("contestant", no_wrap=True)
    for column in ("L", "ms", "tok/s", *(f"÷ {base}" for base in BASELINES)):
        table.add_column(column, justify="right", min_width=16 if "÷" in column else None)
    for row in rows:
        pace = f"{1000 * row['seconds']:.0f}", f"{row['tokens_per_second']:,}"
        ratios = map(shown, row["ratio_to"].values())
        table.add_row(row["contestant"], f"{row['length']:,}", *pace, *ratios)
    return table


def shown(ratio: dict[str, float]) -> str:
    """A ratio as it stands in a table."""
    return "{median:.2f} ({lower quartile:.2f}–{upper quartile:.2f})".format(**ratio)


def main(argv: list[str] | None = None) -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(prog="longctx bench training", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="timed steps of each contestant")
    parser.add_argument("--lengths", type=int, nargs="+", default=sorted(BATCHES), choices=sorted(BATCHES))
    parser.add_argument(
        "--vocab-sizes", type=int, nargs="+", default=[SHAPE["vocab_size"]], help="sizes of the vocabulary"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=sorted(CONTESTANTS),
        help=f"contestants besides {' and '.join(BASELINES)}",
    )
    parser.add_argument("--json", action="store_true", help="print rows as JSON")
    parser.add_argument("--out", type=Path, help="a file to write, as results/benchmarks/training.json is")
    options = parser.parse_args(argv)
    started = datetime.now(UTC)
    if options.rounds < 2:
        parser.error(f"argument --rounds: must be at least 2 for quartiles; got {options.rounds}")
    if min(options.vocab_sizes) < 2:
        parser.error(f"argument --vocab-sizes: must be at least 2; got {min(options.vocab_sizes)}")
    names = [n for n in CONTESTANTS if n in BASELINES or not options.only or n in options.only]
    rows = [
        row
        for vocab_size in options.vocab_sizes
        for length in options.lengths
        for row in measure(length, vocab_size, names, options.rounds)
    ]
    if options.out:
        keep(options.out, started, rows, rounds=options.rounds)
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    for vocab_size in options.vocab_sizes:
        Console().print(_table(vocab_size, [row for row in rows if row["vocab_size"] == vocab_size]))


if __name__ == "__main__":
    main()
