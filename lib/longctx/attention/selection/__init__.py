"""Attention that chooses its keys by content, one file each."""

from longctx.attention.selection import dsa, lsh, moba, nsa, routing, top_k  # noqa: F401  (registers)
from longctx.attention.selection.base import Selection

__all__ = ["Selection"]
