"""Figures that other pages show are those of the committed notebooks."""

import nbformat
import pytest

from longctx.experiments import project_root
from longctx.notebook import notebooks
from longctx.notebook.rerun import named_figures

SHOWN = sorted((project_root() / "book" / "figures").glob("*.png"))


def test_some_figure_is_shown_elsewhere() -> None:
    assert [path.stem for path in SHOWN] == ["headline"]


@pytest.mark.parametrize("path", SHOWN, ids=lambda path: path.stem)
def test_a_figure_shown_elsewhere_is_the_one_that_its_notebook_drew(path) -> None:
    drawn = {}
    for notebook in notebooks().values():
        drawn |= named_figures(nbformat.read(notebook, 4))
    assert path.read_bytes() == drawn[path.stem]
