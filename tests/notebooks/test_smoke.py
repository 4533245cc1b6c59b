"""Every notebook runs through papermill at the smoke profile, training everything live."""

from pathlib import Path

import nbformat
import pytest

from longctx.notebook import defaults, notebooks, run_notebook


@pytest.mark.parametrize("path", notebooks().values(), ids=lambda path: path.stem)
def test_every_notebook_runs_at_the_smoke_profile(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LONGCTX_HOME", str(tmp_path / "home"))
    before = path.read_bytes()
    result = run_notebook(path, profile="smoke", out=tmp_path / "out")
    notebook = nbformat.read(result, 4)
    assert "profile" in defaults(path), "every chapter has a size that takes seconds"
    (injected,) = [c for c in notebook.cells if "injected-parameters" in c.metadata.get("tags", [])]
    assert 'profile = "smoke"' in injected.source
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    assert path.read_bytes() == before
