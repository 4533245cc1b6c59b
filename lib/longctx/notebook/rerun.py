"""Running notebooks: with other parameters through papermill, or in place to refresh what is committed."""

from __future__ import annotations

import io
import logging
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbclient import NotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from PIL import Image

from longctx.experiments.declared import Profile
from longctx.experiments.store import home, project_root
from longctx.notebook.chapters import chosen
from longctx.training.checkpoints import write_atomically

#: Kernels listen on this machine only, and say on every start that they do not encrypt.
QUIET = ["--log-level=ERROR"]

#: (cell, cells): called before each cell.
Watcher = Callable[[int, int], None]


# It looks for types of parameters and warns where it finds none; `validate` has checked them.
logging.getLogger("papermill").setLevel(logging.ERROR)


class CellError(RuntimeError):
    """A cell of a notebook failed."""


class _WatchedEngine(NBClientEngine):
    """papermill's engine, with a word before each cell."""

    watcher: Watcher | None = None

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> Any:
        """Called by papermill."""
        start = nb_man.cell_start

        def announced(cell: Any, cell_index: int | None = None, **more: Any) -> Any:
            if cls.watcher is not None:
                cls.watcher((cell_index or 0) + 1, len(nb_man.nb.cells))
            return start(cell, cell_index, **more)

        nb_man.cell_start = announced
        return super().execute_managed_notebook(nb_man, kernel_name, **options)


def run_notebook(
    path: Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    profile: Profile | None = None,
    out: Path | None = None,
    watcher: Watcher | None = None,
) -> Path:
    """Run a notebook with other parameters; the path of the result.

    Args:
        parameters: by name, as values or as the command line spells them.
        out: folder of the result; by default ``notebooks`` in `longctx.experiments.home`.

    Raises:
        ParameterError: before anything runs: a parameter is unknown or its value not valid.
        CellError: a cell failed; the message holds its error and where the notebook was kept.
    """
    values = chosen(path, parameters or {}, profile)
    target = (out or home() / "notebooks") / path.name
    if target.resolve() == path.resolve():
        raise ValueError(f"--out: {target.parent} holds the notebook itself; choose another folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    engine = type("Engine", (_WatchedEngine,), {"watcher": staticmethod(watcher) if watcher else None})
    papermill_engines.register("longctx", engine)
    try:
        papermill.execute_notebook(
            str(path),
            str(target),
            values,
            engine_name="longctx",
            kernel_name="python3",
            language="python",
            cwd=str(path.parent),
            progress_bar=False,
            extra_arguments=QUIET,
        )
    except PapermillExecutionError as error:
        lines = [line for line in _plain("\n".join(error.traceback)).splitlines() if line.strip()]
        raise CellError(
            f"cell [{error.exec_count}] of {path.name} failed: {error.ename}: {_plain(error.evalue)}\n"
            + "\n".join(f"  {line}" for line in lines[-12:])
            + f"\nthe notebook up to there: {target}"
        ) from None
    return target


def refresh_notebook(path: Path) -> None:
    """Run a notebook at its defaults and write its outputs into it, without times, machines or random ids.

    Raises:
        CellError: a cell failed; the notebook is left as it was.
    """
    chosen(path, {})
    notebook = nbformat.read(path, 4)
    client = NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
        coalesce_streams=True,  # else a print may be split in two where the kernel happens to flush
        extra_arguments=QUIET,
    )
    try:
        client.execute()
    except Exception as error:  # nbclient raises its own and the kernel's
        raise CellError(f"{path.name} failed: {_plain(str(error))}") from None
    clean(notebook)
    write_atomically(path, (nbformat.writes(notebook) + "\n").encode())
    for name, image in named_figures(notebook).items():
        write_atomically(project_root() / "book" / "figures" / f"{name}.png", image)


def named_figures(notebook: nbformat.NotebookNode) -> dict[str, bytes]:
    """The figures that other pages show too, by the name that `reporting.show` was given.

    As PNG on white: other readers of the file (a repository's front page) do not turn it over in the dark.
    """
    outputs = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
    images = [(o.get("metadata", {}).get("image/png", {}).get("name"), o.get("data", {})) for o in outputs]
    return {name: _on_white(b64decode(data["image/png"])) for name, data in images if name}


def _on_white(png: bytes) -> bytes:
    drawing = Image.open(io.BytesIO(png)).convert("RGBA")
    ground = Image.new("RGBA", drawing.size, "white")
    buffer = io.BytesIO()
    Image.alpha_composite(ground, drawing).convert("RGB").save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def clean(notebook: nbformat.NotebookNode) -> None:
    """Keep only what a rerun would write again: no times, versions or random ids."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = nbformat.from_dict({"kernelspec": kernel, "language_info": {"name": "python"}})
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:03d}"
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})


def _plain(text: str) -> str:
    """Without terminal colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
