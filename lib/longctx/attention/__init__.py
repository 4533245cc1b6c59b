"""Attention: patterns say who may look at whom, selections choose, executors say how it is computed."""

from longctx.attention.arrangements import ARRANGEMENTS, ByLayer, OfALayer, PerHead, build_attention
from longctx.attention.attend import attend
from longctx.attention.cache import KVCache
from longctx.attention.linear import LinearMixer
from longctx.attention.mixer import MIXERS, Mixer, MixerConfig, build_mixer, register_mixer
from longctx.attention.patterns import PATTERNS, Pattern, build_pattern, list_patterns, register_pattern
from longctx.attention.selection import Selection
from longctx.attention.streaming import StreamingCache

__all__ = [
    "ARRANGEMENTS",
    "MIXERS",
    "PATTERNS",
    "ByLayer",
    "KVCache",
    "LinearMixer",
    "Mixer",
    "MixerConfig",
    "OfALayer",
    "Pattern",
    "PerHead",
    "Selection",
    "StreamingCache",
    "attend",
    "build_attention",
    "build_mixer",
    "build_pattern",
    "list_patterns",
    "register_mixer",
    "register_pattern",
]
