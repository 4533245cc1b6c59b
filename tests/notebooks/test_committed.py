"""Committed notebooks are what their code prints: run in order, whole, clean, and compared by nbval."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

from longctx.notebook import defaults, notebooks, validate

SHARE = 0.9
#: How nbval is told not to compare a cell.
EXEMPT = re.compile(r"^\s*#\s*(NBVAL_IGNORE_OUTPUT|NBVAL_SKIP|PYTEST_VALIDATE_IGNORE_OUTPUT)", re.MULTILINE)
EXEMPT_TAGS = {"nbval-ignore-output", "nbval-skip", "nbval-check-output-off", "raises-exception"}

every_notebook = pytest.mark.parametrize("path", notebooks().values(), ids=lambda path: path.stem)


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


def is_compared(cell: nbformat.NotebookNode) -> bool:
    return not EXEMPT.search(cell.source) and not EXEMPT_TAGS & set(cell.metadata.get("tags", []))


def test_there_are_notebooks():
    assert notebooks(), "a test over no notebooks cannot fail"


@every_notebook
def test_every_cell_was_run_once_and_in_order(path: Path):
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1))


@every_notebook
def test_no_cell_failed_or_wrote_to_stderr(path: Path):
    outputs = [output for cell in code_cells(path) for output in cell.outputs]
    assert [o.ename for o in outputs if o.output_type == "error"] == []
    assert [o.text for o in outputs if o.get("name") == "stderr"] == []


@every_notebook
def test_the_parameters_are_valid_and_checked_before_anything_else_runs(path: Path):
    own = defaults(path)
    validate(**own)
    cells = code_cells(path)
    (at,) = [i for i, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", [])]
    # Directly after the parameters, or after one cell of imports.
    calls = [
        {keyword.arg for keyword in node.keywords}
        for cell in cells[at + 1 : at + 3]
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("validate")
    ]
    assert calls == [set(own)], "call validate with every parameter"


@every_notebook
def test_nothing_is_left_of_a_run_or_a_machine(path: Path):
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert set(notebook.metadata.language_info) == {"name"}, "an interpreter's version is a machine's"
    for cell in notebook.cells:
        assert not {"papermill", "execution"} & set(cell.metadata)
        assert set(cell.metadata) <= {"tags"}
        assert "injected-parameters" not in cell.metadata.get("tags", [])


@every_notebook
def test_ids_are_stable_and_distinct(path: Path):
    ids = [cell.id for cell in nbformat.read(path, 4).cells]
    assert len(set(ids)) == len(ids)
    random_ids = [one for one in ids if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f-]+)?", one)]
    assert random_ids == [], "an id that was drawn changes when the notebook is written anew"


def test_nbval_compares_nine_code_cells_in_ten(capsys: pytest.CaptureFixture[str]):
    shares = {}
    for name, path in notebooks().items():
        cells = code_cells(path)
        shares[name] = (sum(map(is_compared, cells)), len(cells))
    compared, total = (sum(column) for column in zip(*shares.values(), strict=True))
    with capsys.disabled():
        print(f"\nnbval compares {compared} of {total} code cells ({compared / total:.1%}):")
        for name, (some, all_) in shares.items():
            print(f"  {name}: {some} of {all_} ({some / all_:.1%})")
    assert compared / total >= SHARE
    assert min(some / all_ for some, all_ in shares.values()) >= 0.8, "one chapter is hardly compared"


@every_notebook
def test_a_notebook_stays_light(path: Path):
    assert path.stat().st_size < 1_500_000, "readers fetch it whole; draw fewer or smaller figures"
