"""The attention benchmark's rows as a table, read from left to right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

#: Header, width, field, format.
COLUMNS = (
    ("ms", 10, "milliseconds", ".1f"),
    ("÷ window", 10, "relative", ".2f"),
    ("÷ dense", 10, "relative_to_dense", ".3f"),
    ("÷ same", 8, "relative_to_same", ".2f"),
    ("exponent", 10, "exponent", ".2f"),
    ("of ideal", 10, "of_allowed_ideal", ".0%"),
    ("by tiles", 10, "of_computed_ideal", ".0%"),
    ("predicted", 11, "time_ratio", ".2f"),
    ("MB", 8, "peak_mb", ".0f"),
    ("predicted", 11, "memory_ratio", ".2f"),
)

LEGEND = (
    "Forward and backward, one thread; rows named “forward” have no gradient.",
    "÷ window, ÷ dense, ÷ same: the time over that of our sliding window, of SDPA, of ours with that mask.",
    "of ideal: the speed-up over SDPA as a part of the ratio of pairs allowed; by tiles: of pairs computed.",
    "predicted: measured over predicted, from counts and the times of two patterns at the middle length.",
    "MB: what a step adds to a fresh process.",
)


def report(rows: Sequence[dict[str, Any]], even: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Lines to print: a table, what its columns mean, and the break-even lengths."""
    yield f"{'implementation':<44}{'length':>7}" + "".join(
        f"{header:>{width}}" for header, width, *_ in COLUMNS
    )
    for row in rows:
        ratios = {
            "time_ratio": _ratio(row["milliseconds"], row["predicted_milliseconds"]),
            "memory_ratio": _ratio(row["peak_mb"], row["predicted_mb"]),
        }
        cells = (
            f"{_shown((row | ratios)[field], form):>{width}}" for _, width, field, form in COLUMNS
        )  # fmt: skip
        yield f"{row['implementation']:<44}{row['length']:>7}" + "".join(cells)
    yield from ("", *LEGEND)
    for row in even:
        where = {None: "not on this grid", 0.0: f"already at {row['grid'][0]}"}.get(
            row["length"], f"{row['length'] or 0:.0f} tokens"
        )
        yield f"faster than causal SDPA: {row['implementation']}, {where}"


def _ratio(measured: float | None, predicted: float | None) -> float | None:
    return measured / predicted if measured is not None and predicted else None


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
