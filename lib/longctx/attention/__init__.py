"""Attention: patterns say who may look at whom, selections choose, executors say how it is computed."""

from longctx.attention.arrangements import ARRANGEMENTS, ByLayer, OfALayer, PerHead, build_attention
from longctx.attention.attend import attend
from longctx.attention.cache import KVCache
from longctx.attention.patterns import PATTERNS, Pattern, build_pattern, list_patterns, register_pattern
from longctx.attention.selection import SELECTIONS, Selection, SelectionConfig, build_selection
from longctx.attention.streaming import StreamingCache

__all__ = [
    "ARRANGEMENTS",
    "PATTERNS",
    "SELECTIONS",
    "ByLayer",
    "KVCache",
    "OfALayer",
    "Pattern",
    "PerHead",
    "Selection",
    "SelectionConfig",
    "StreamingCache",
    "attend",
    "build_attention",
    "build_pattern",
    "build_selection",
    "list_patterns",
    "register_pattern",
]
