"""Attention patterns: a predicate over positions and its block neighbours, one file each."""

from longctx.attention.patterns import block_local, combinators, full, sliding_window  # noqa: F401  (registers)
from longctx.attention.patterns.base import PATTERNS, Pattern, build_pattern, list_patterns
from longctx.attention.patterns.base import register as register_pattern

__all__ = ["PATTERNS", "Pattern", "build_pattern", "list_patterns", "register_pattern"]
