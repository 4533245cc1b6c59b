"""Attention without a softmax, one file each."""

from longctx.attention.linear import gated_delta, linear, performer  # noqa: F401  (registers)
from longctx.attention.linear.base import LinearMixer

__all__ = ["LinearMixer"]
