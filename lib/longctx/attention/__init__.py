"""Attention: patterns say who may look at whom, executors how it is computed."""

from longctx.attention.attend import attend
from longctx.attention.cache import KVCache
from longctx.attention.patterns import PATTERNS, Pattern, build_pattern, list_patterns, register_pattern

__all__ = ["PATTERNS", "KVCache", "Pattern", "attend", "build_pattern", "list_patterns", "register_pattern"]
