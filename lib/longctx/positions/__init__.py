"""Position encodings: one file each, three optional hooks, explicit positions."""

from longctx.positions import alibi, learned, nope, rope, sinusoidal  # noqa: F401  (registers)
from longctx.positions.base import (
    POSITIONS,
    PositionConfig,
    PositionEncoding,
    build_position,
    default_positions,
    list_positions,
)
from longctx.positions.base import register as register_position

__all__ = [
    "POSITIONS",
    "PositionConfig",
    "PositionEncoding",
    "build_position",
    "default_positions",
    "list_positions",
    "register_position",
]
