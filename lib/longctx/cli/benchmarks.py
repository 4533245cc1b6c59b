"""Side-by-side timings against other libraries."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from longctx.cli.app import app, print_table
from longctx.experiments import project_root


def benchmarks() -> dict[str, Path]:
    """The benchmarks of the source tree: the scripts that have a ``main``."""
    found = sorted((project_root() / "benchmarks").glob("*.py"))
    return {path.stem: path for path in found if "\ndef main(argv" in path.read_text()}


@app.command(rich_help_panel="Checks")
def bench(
    name: Annotated[
        str | None, typer.Argument(help="Which one; none lists them.", show_default=False)
    ] = None,
    options: Annotated[list[str] | None, typer.Argument(help="For the benchmark, after --.")] = None,
) -> None:
    """Time the library beside its peers, interleaved in one process.

    Examples:

        longctx bench

        longctx bench training -- --help
    """
    known = benchmarks()
    if name is None:
        rows = [[stem, _first_line(path)] for stem, path in known.items()]
        print_table("benchmarks", ["name", "what it times"], rows)
        return
    if name not in known:
        raise ValueError(f"unknown benchmark {name!r}; there are {', '.join(known) or 'none here'}")
    raise typer.Exit(load(known[name]).main(options or []) or 0)


def load(path: Path) -> ModuleType:
    """A benchmark as a module; it finds the scripts beside it."""
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _first_line(path: Path) -> str:
    return path.read_text().lstrip('"').partition("\n")[0].strip(' ."')
