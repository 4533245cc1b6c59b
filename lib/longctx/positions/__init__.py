"""Position encodings: one file each, three optional hooks, explicit positions."""

from longctx.positions import (  # noqa: F401  (registers)
    alibi,
    dynamic_bias,
    fire,
    kerple,
    learned,
    nope,
    p_rope,
    rope,
    sandwich,
    sinusoidal,
    t5,
)
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
