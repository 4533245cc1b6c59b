"""Attention: patterns say who may look at whom, executors how it is computed."""

from longctx.attention.attend import attend
from longctx.attention.cache import KVCache
from longctx.attention.patterns import PATTERNS, Pattern, build_pattern, list_patterns, register_pattern
from longctx.attention.patterns.arrangements import ARRANGEMENTS, PerHead, build_attention

__all__ = [
    "ARRANGEMENTS",
    "PATTERNS",
    "KVCache",
    "Pattern",
    "PerHead",
    "attend",
    "build_attention",
    "build_pattern",
    "list_patterns",
    "register_pattern",
]
