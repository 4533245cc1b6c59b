"""Longer Context: position encodings × sparse attention × context length, on equal terms."""

from longctx.attention import attend, build_pattern, list_patterns, register_pattern
from longctx.experiments import ExperimentSpec, ensure, load_experiment
from longctx.model import ModelConfig, build_model, generate
from longctx.positions import build_position, list_positions, register_position

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
