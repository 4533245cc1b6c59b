"""Tables that print the same everywhere: HTML in a notebook, aligned text elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

Format = str | Callable[[Any], str]


class Table:
    """Rows of finished text; the last expression of a cell shows it."""

    def __init__(
        self, columns: Sequence[str], cells: Sequence[Sequence[str]], numeric: Sequence[bool]
    ) -> None:
        self.columns, self.cells, self.numeric = list(columns), [list(row) for row in cells], list(numeric)

    def __repr__(self) -> str:
        rows = [self.columns, *self.cells]
        widths = [max(len(row[i]) for row in rows) for i in range(len(self.columns))]

        def line(row: Sequence[str]) -> str:
            texts = (
                text.rjust(width) if number else text.ljust(width)
                for text, width, number in zip(row, widths, self.numeric, strict=True)
            )
            return "  ".join(texts).rstrip()

        return "\n".join([line(self.columns), line(["─" * w for w in widths]), *map(line, self.cells)])

    def _repr_html_(self) -> str:
        sides = ["right" if number else "left" for number in self.numeric]

        def line(row: Sequence[str], tag: str) -> str:
            texts = (
                f'<{tag} style="text-align: {side}; padding: 0.2em 0.8em">{escape(text)}</{tag}>'
                for text, side in zip(row, sides, strict=True)
            )
            return f"<tr>{''.join(texts)}</tr>"

        body = "\n".join(line(row, "td") for row in self.cells)
        # the class is what the theme restyles in dark mode
        return (
            f'<table class="dataframe">\n<thead>{line(self.columns, "th")}</thead>\n'
            f"<tbody>\n{body}\n</tbody>\n</table>"
        )


def table(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str] | None = None,
    formats: Mapping[str, Format] | None = None,
) -> Table:
    """Lay out ``rows`` as a table.

    Args:
        rows: one mapping a row; a missing or None entry is shown as –.
        columns: which columns, in order; the first row's keys by default.
        formats: for a column, a format specification (``".3g"``) or a function to text. An `Interval`
            takes the specification for both its numbers: ``3.41 ± 0.02``.

    Raises:
        ValueError: no rows, or a column or format that no row has.
    """
    if not rows:
        raise ValueError("rows: a table needs at least one row")
    columns = list(rows[0]) if columns is None else list(columns)
    known = {key for row in rows for key in row}
    for given, names in (("columns", columns), ("formats", list(formats or ()))):
        if unknown := [name for name in names if name not in known]:
            raise ValueError(f"{given}: {unknown} in no row; valid: {sorted(known)}")
    cells = [[_text(row.get(column), (formats or {}).get(column, "")) for column in columns] for row in rows]
    numeric = [all(not isinstance(row.get(column), str) for row in rows) for column in columns]
    return Table(columns, cells, numeric)


def _text(value: Any, form: Format) -> str:
    if value is None:
        return "–"
    if callable(form):
        return form(value)
    if isinstance(value, str):
        return value
    return format(value, form)


def cited(key: str) -> str:
    """A bibliography key as a table names its source: ``press2022train`` is "Press 2022".

    Raises:
        ValueError: not a name, a year and a word.
    """
    if not (parts := re.fullmatch(r"([a-z]+)(\d{4})[a-z]+", key)):
        raise ValueError(f"key: given {key!r}, valid are a name, a year and a word, as in press2022train")
    return f"{parts[1].capitalize()} {parts[2]}"
