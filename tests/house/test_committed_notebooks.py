"""Committed notebooks hold what a rerun would write, and nothing else."""

from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted(
    path for path in (ROOT / "notebooks").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts
)
REFRESH = "refresh it with: make notebooks NOTEBOOKS={}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_was_run_once_from_top_to_bottom(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    counts = [
        cell.execution_count for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()
    ]
    assert counts == list(range(1, len(counts) + 1)), REFRESH.format(path.relative_to(ROOT))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_metadata_says_nothing_of_the_run(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert set(notebook.metadata) <= {"kernelspec", "language_info", "longctx"}, REFRESH.format(
        path.relative_to(ROOT)
    )
    assert notebook.metadata.kernelspec.name == "python3"
    assert set().union(*(set(cell.metadata) for cell in notebook.cells)) <= {"tags"}
    assert not any(
        output.output_type == "error" for cell in notebook.cells for output in cell.get("outputs", [])
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_stays_light(path: Path) -> None:
    assert path.stat().st_size < 1_500_000
