"""The front door of the notebooks: find them, check their parameters, run them."""

from longctx.notebook.chapters import chosen, defaults, find_notebook, notebooks
from longctx.notebook.parameters import PARAMETERS, ParameterError, validate
from longctx.notebook.rerun import CellError, refresh_notebook, run_notebook

__all__ = [
    "PARAMETERS",
    "CellError",
    "ParameterError",
    "chosen",
    "defaults",
    "find_notebook",
    "notebooks",
    "refresh_notebook",
    "run_notebook",
    "validate",
]
