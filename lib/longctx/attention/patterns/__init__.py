"""Attention patterns: a predicate over positions and its block neighbours, one file each."""

from longctx.attention.patterns import (  # noqa: F401  (registers)
    bigbird,
    block_local,
    combinators,
    dilated_window,
    documents,
    fixed,
    full,
    logsparse,
    longformer,
    longnet,
    prefix_lm,
    sinks,
    sliding_window,
    strided,
    vertical_slash,
)
from longctx.attention.patterns.base import PATTERNS, Pattern, build_pattern, list_patterns
from longctx.attention.patterns.base import register as register_pattern

__all__ = ["PATTERNS", "Pattern", "build_pattern", "list_patterns", "register_pattern"]
