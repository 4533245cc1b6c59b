"""Notebooks: run one with other parameters, or refresh what is committed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from typer.core import TyperCommand

from longctx.cli.app import app, err, out
from longctx.experiments.declared import Profile
from longctx.notebook import defaults, find_notebook, refresh_notebook, run_notebook
from longctx.notebook.rerun import Watcher


class TakesPairs(TyperCommand):
    """Reads ``-p KEY VALUE``, as papermill does, and ``-p KEY=VALUE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Join each pair, so that a value may begin with a dash."""
        joined, rest = [], list(args)
        while rest:
            joined.append(rest.pop(0))
            if joined[-1] in ("-p", "--parameter") and rest and "=" not in rest[0].partition("(")[0]:
                if len(rest) == 1:
                    raise ValueError(f"-p {rest[0]} has no value; write -p {rest[0]} VALUE")
                joined.append(f"{rest.pop(0)}={rest.pop(0)}")
        return super().parse_args(ctx, joined)


@app.command(cls=TakesPairs, rich_help_panel="Book")
def notebook(
    name: Annotated[str, typer.Argument(help="A chapter's name or number, or the path of a notebook.")],
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", metavar="KEY VALUE", help="Set a parameter; may be repeated."),
    ] = None,
    profile: Annotated[
        Profile | None, typer.Option(help="smoke: seconds; cpu: what the book shows; gpu: real sizes.")
    ] = None,
    out_: Annotated[
        Path | None, typer.Option("--out", help="Folder of the result.", show_default=".longctx/notebooks")
    ] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Run the committed notebook in place, at its defaults.")
    ] = False,
) -> None:
    """Run a notebook with other parameters, through papermill.

    A wrong parameter is refused before anything runs. What the committed records do not hold is trained.
    The committed notebook stays as it is.

    Examples:

        longctx notebook 04 -p lengths 192,768 -p seeds 7

        longctx notebook position_encodings -p encodings "rope(base=500000),alibi" --profile smoke

        longctx notebook 04 --refresh
    """
    path = find_notebook(name)
    if refresh:
        if parameter or profile or out_:
            raise ValueError("--refresh runs a notebook as it is: give neither -p, --profile nor --out")
        refresh_notebook(path)
        out.print(f"refreshed {path}", highlight=False, soft_wrap=True)
        return
    given = _pairs(parameter or ())
    if profile is not None and "profile" not in defaults(path):
        err.print(f"{path.stem} has one size only; --profile changes nothing", highlight=False)
    with _shown(path.stem) as watcher:
        result = run_notebook(path, given, profile=profile, out=out_, watcher=watcher)
    out.print(f"{path.stem} ran to its end: {result}", highlight=False, soft_wrap=True)


def _pairs(given: list[str] | tuple[()]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"-p takes a name and a value, as in -p seeds 3; got {text!r}")
        if key in pairs:
            raise ValueError(f"parameter {key} was given twice")
        pairs[key] = value
    return pairs


@contextmanager
def _shown(name: str) -> Iterator[Watcher]:
    """A bar of cells on a terminal; a line now and then elsewhere."""
    if err.is_terminal:
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        with Progress(*columns, console=err, transient=True) as bar:
            task = bar.add_task(f"{name}, cell", total=None)
            yield lambda cell, cells: bar.update(task, completed=cell, total=cells)
        return

    def print_line(cell: int, cells: int) -> None:
        if cell == 1 or cell * 4 // cells != (cell - 1) * 4 // cells:
            err.print(f"{name}: cell {cell} of {cells}", highlight=False)

    yield print_line
