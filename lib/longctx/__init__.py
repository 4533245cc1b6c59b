"""Longer Context: position encodings × sparse attention × context length, on equal terms."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longctx.attention import attend, build_pattern, list_patterns, register_pattern
    from longctx.experiments import ExperimentSpec, ensure, load_experiment
    from longctx.model import ModelConfig, build_model, generate
    from longctx.positions import build_position, list_positions, register_position

#: Public names and the rooms that hold them; a room is imported when one of its names is first used.
_ROOMS = {
    "attention": ("attend", "build_pattern", "list_patterns", "register_pattern"),
    "experiments": ("ExperimentSpec", "ensure", "load_experiment"),
    "model": ("ModelConfig", "build_model", "generate"),
    "positions": ("build_position", "list_positions", "register_position"),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "ExperimentSpec",
    "ModelConfig",
    "attend",
    "build_model",
    "build_pattern",
    "build_position",
    "ensure",
    "generate",
    "list_patterns",
    "list_positions",
    "load_experiment",
    "register_pattern",
    "register_position",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'longctx' has no attribute {name!r}")
    return getattr(import_module(f"longctx.{_ROOM_OF[name]}"), name)
