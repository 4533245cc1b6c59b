"""What the reader sees: one plotting style, figures compared by their data, tables, and bands over seeds."""

from longctx.reporting.bands import Band, band_of
from longctx.reporting.checks import agree
from longctx.reporting.claims import Claim, judge, tally
from longctx.reporting.figures import band, digest, length_axis, show
from longctx.reporting.intervals import Interval, interval, paired_interval, verdict
from longctx.reporting.style import Look, look, use_style
from longctx.reporting.tables import Table, cited, table

__all__ = [
    "Band",
    "Claim",
    "Interval",
    "Look",
    "Table",
    "agree",
    "band",
    "band_of",
    "cited",
    "digest",
    "interval",
    "judge",
    "length_axis",
    "look",
    "paired_interval",
    "show",
    "table",
    "tally",
    "use_style",
    "verdict",
]
