"""What the literature claims, held against intervals over seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from numpy.typing import ArrayLike

from longctx.reporting.intervals import interval, verdict
from longctx.reporting.tables import Table, cited, table

ALONE, TOGETHER = "verdict", "all together"


class Claim(NamedTuple):
    """A sentence of a paper as one number: it holds if the mean of ``values`` lies below ``threshold``."""

    source: str  # a key of the bibliography
    words: str
    values: ArrayLike  # one number a seed
    threshold: float = 0.0


def judge(claims: Sequence[Claim], digits: int = 3) -> Table:
    """A table of claims with what was measured, and two verdicts on each.

    The first judges each claim by its 95 % interval, the second (Bonferroni) by intervals so wide that with
    95 % none of them misses its mean.

    Args:
        claims: at least one, each with two seeds or more.
        digits: after the point of what was measured.

    Raises:
        ValueError: no claims, or values that `interval` refuses.
    """
    rows = []
    for source, words, values, threshold in claims:
        found = interval(values)
        rows.append(
            {
                "claim": words,
                "source": cited(source),
                "measured": found,
                "should be below": threshold,
                ALONE: verdict(found, threshold),
                TOGETHER: verdict(interval(values, level=1 - 0.05 / len(claims)), threshold),
            }
        )
    return table(rows, formats={"measured": f"+.{digits}f", "should be below": "+.2f"})


def tally(judged: Table) -> str:
    """How many claims of a judged table met each verdict, in a line for each kind of interval."""
    lines = []
    for name in (ALONE, TOGETHER):
        column = judged.columns.index(name)
        counts = Counter(row[column] for row in judged.cells)
        parts = (f"{counts[word]} {word}" for word in ("reproduced", "contradicted", "undecided"))
        lines.append(f"{name:{len(TOGETHER)}}  {', '.join(parts)}")
    return "\n".join(lines)
