"""The application, how it prints, and how it fails."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from longctx.experiments import Store, committed_store, default_store
from longctx.experiments.status import ERROR

#: For people; tables and results.
out = Console()
#: For people; progress and errors.
err = Console(stderr=True)


class PlainErrors(TyperGroup):
    """What the library refuses, as one clear message: exit code 2 for a wrong request, 1 for a failed run."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except (ValueError, FileNotFoundError) as error:
            code, message = 2, str(error)
        except (RuntimeError, ArithmeticError, OSError) as error:
            code, message = 1, str(error) or repr(error)
        err.print(f"[bold red]{ERROR}[/]{escape(message)}", soft_wrap=True, highlight=False)
        raise typer.Exit(code)


app = typer.Typer(
    cls=PlainErrors,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Long-context transformers: rerun the book's notebooks, train, sweep, check.\n\n"
    "Try `longctx list notebooks`, then `longctx notebook 04 -p lengths 128,512`.",
)


def print_json(value: Any) -> None:
    """For programs: one JSON document on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """For people: a table."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for column in columns:
        # Names stay in one piece, however narrow the terminal.
        table.add_column(column, overflow="fold", no_wrap=column in ("name", "kind"))
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    out.print(table)


def open_store(name: str) -> Store:
    """The store of ``--store``: "local" (this machine's over the committed), "results", or a folder."""
    match name:
        case "local":
            return default_store()
        case "results":
            return committed_store()
    return Store(Path(name))


def assignments(given: Sequence[str], option: str) -> dict[str, Any]:
    """``a.b=VALUE`` pairs, the values read as YAML.

    Raises:
        ValueError: not of that form.
    """
    fields: dict[str, Any] = {}
    for text in given:
        path, equals, value = text.partition("=")
        if not equals or not path:
            raise ValueError(f"{option} takes field=value, as in {option} training.steps=50; got {text!r}")
        try:
            fields[path.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(f"{option} {path}: {value!r} is not a value: {error}") from None
    return fields


def read_mapping(path: Path) -> Mapping[str, Any]:
    """The mapping that a YAML or JSON file holds.

    Raises:
        ValueError: it is not a file, or holds something else.
    """
    if not path.is_file():
        raise ValueError(f"no file {path}")
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML or JSON: {error}") from None
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} must hold a mapping of fields, got {type(content).__name__}")
    return content
