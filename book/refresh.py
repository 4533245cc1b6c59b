"""Run notebooks in place, so that the committed outputs are what the code prints.

``python book/refresh.py`` runs all of them, ``python book/refresh.py PATH …`` some. Nothing is written that
would differ on the next run: no times, no interpreter version, no random cell ids. A notebook whose cell
fails is left as it was.
"""

import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parent.parent
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
TIMEOUT_S = 3600


def clean(notebook: nbformat.NotebookNode) -> None:
    """Leave only what a rerun would write again."""
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:03d}"
        kept = {key: value for key, value in cell.metadata.items() if key == "tags" and value}
        cell.metadata = nbformat.from_dict(kept)


def refresh(path: Path) -> None:
    """Execute one notebook in its own folder and write it back, whole or not at all."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(
        notebook, timeout=TIMEOUT_S, kernel_name="python3", record_timing=False, resources=resources
    ).execute()
    clean(notebook)
    nbformat.validate(notebook)
    partial = path.with_suffix(".partial")
    nbformat.write(notebook, partial, version=4)
    partial.replace(path)


def main(arguments: list[str]) -> int:
    """Refresh the notebooks named, or all; returns how many failed."""
    paths = [Path(name).resolve() for name in arguments] or sorted((ROOT / "notebooks").rglob("*.ipynb"))
    failed = 0
    for path in [path for path in paths if ".ipynb_checkpoints" not in path.parts]:
        started = time.monotonic()
        try:
            refresh(path)
        except CellExecutionError as error:
            failed += 1
            print(f"{path}: FAILED\n{error}", file=sys.stderr)
        else:
            print(f"{path}: {time.monotonic() - started:.0f} s", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
