"""What a position encoding costs: a training step with it over one without, beside peers' own encodings."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from longctx.positions import POSITIONS

sys.path.insert(0, str(Path(__file__).parent))

from contestants import BATCHES, HUB, HUB_ENCODINGS, PEER, PEER_ENCODINGS, SHAPE
from keep import keep

from training import paired_ratio, shown, take_turns

OURS = "longctx nope"


def baseline(name: str) -> str:
    """The contestant without an encoding that a contestant is compared with, of its own library.

    Falcon comes with rotary embeddings or ALiBi, but not without either.
    """
    if name.startswith(HUB):
        return f"{HUB}Falcon rotary" if "Falcon" in name else f"{HUB}SmolLM3 nope"
    if not name.startswith(PEER):
        return OURS
    return f"{PEER}nope, unfused" if name.endswith("unfused") else f"{PEER}nope"


def encodings(length: int) -> list[str]:
    """Each registered encoding with its defaults, one that is learned, and one that follows the length."""
    specs = {entry.name: entry.name for entry in POSITIONS}
    specs["learned"] = f"learned(max_length={length})"
    return [
        *specs.values(),
        "alibi(learned=True)",
        f"rope(scaling=yarn(dynamic=True, original_max_position_embeddings={length // 4}))",
    ]


def measure(specs: list[str], length: int, rounds: int, warm_up: int = 1) -> list[dict[str, Any]]:
    """A row for each encoding, ours and the peers': seconds a step, and the ratio to a step without."""
    names = [
        OURS,
        *(f"longctx {spec}" for spec in specs if spec != "nope"),
        *(PEER + name for name in PEER_ENCODINGS),
        *(HUB + name for name in HUB_ENCODINGS),
    ]
    times = take_turns(names, length, SHAPE["vocab_size"], rounds, warm_up)
    return [
        {
            "contestant": name,
            "length": length,
            "seconds": round(statistics.median(times[name]), 4),
            "relative_to": baseline(name),
            "ratio": paired_ratio(times[name], times[baseline(name)]),
            "ratio_to_ours": paired_ratio(times[name], times[OURS]),
        }
        for name in names
    ]


def main(argv: list[str] | None = None) -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(prog="longctx bench positions", description=__doc__)
    parser.add_argument("--rounds", type=int, default=11, help="timed steps of each contestant, at least 2")
    parser.add_argument("--length", type=int, default=1024, choices=sorted(BATCHES))
    parser.add_argument(
        "--only", nargs="+", metavar="SPEC", help="encodings, such as rope 't5(num_buckets=64)'"
    )
    parser.add_argument("--json", action="store_true", help="print rows as JSON")
    parser.add_argument("--out", type=Path, help="a file to write")
    options = parser.parse_args(argv)
    if options.rounds < 2:
        parser.error(f"argument --rounds: must be at least 2 for quartiles; got {options.rounds}")
    try:
        specs = [str(POSITIONS.parse(spec)) for spec in options.only or encodings(options.length)]
    except ValueError as error:
        parser.error(f"argument --only: {error}")
    started = datetime.now(UTC)
    rows = measure(specs, options.length, options.rounds)
    if options.out:
        keep(options.out, started, rows, rounds=options.rounds)
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    table = Table(
        title=f"A training step of 4,096 tokens at L = {options.length:,}, one thread",
        caption="Ratios of times taken in turn: median, and quartiles.\n"
        "Unfused: without fused attention, which x-transformers refuses for learned biases.\n"
        "Falcon's ALiBi over its rotary embeddings: it does not come without either.",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
    )
    table.add_column("contestant", overflow="fold")
    for column in ("ms", "÷ none, same library", f"÷ {OURS}"):
        table.add_column(column, justify="right", min_width=len(column) if column == "ms" else 16)
    for row in rows:
        ratios = shown(row["ratio"]), shown(row["ratio_to_ours"])
        table.add_row(row["contestant"], f"{1000 * row['seconds']:.0f}", *ratios)
    Console().print(table)


if __name__ == "__main__":
    main()
