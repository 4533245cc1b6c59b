"""Attention that chooses its keys by content, one file each."""

from longctx.attention.selection import moba, top_k  # noqa: F401  (registers)
from longctx.attention.selection.base import SELECTIONS, Round, Selection, SelectionConfig, build_selection
from longctx.attention.selection.base import register as register_selection

__all__ = ["SELECTIONS", "Round", "Selection", "SelectionConfig", "build_selection", "register_selection"]
