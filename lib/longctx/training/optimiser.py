"""What a training run is asked to do: its spec, its optimiser and its learning rate."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)
from torch import nn

from longctx.positions.sampling import build_sampling

Beta = Annotated[float, Field(ge=0, lt=1)]


class TrainingSpec(BaseModel):
    """How long, on how much, and how fast."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Tokens a sequence: the training context length.
    length: PositiveInt
    #: Sequences in one forward pass.
    batch_size: PositiveInt
    #: Forward passes in one optimiser step.
    accumulate: PositiveInt = 1
    #: Optimiser steps.
    steps: NonNegativeInt
    learning_rate: PositiveFloat
    warmup_steps: NonNegativeInt
    #: Where the cosine ends, as a fraction of the peak.
    final_fraction: Annotated[float, Field(ge=0, le=1)] = 0.1
    weight_decay: NonNegativeFloat = 0.1
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    #: Largest norm of the gradient; None does not clip.
    clip: PositiveFloat | None = 1.0
    #: bfloat16 runs matrix products in half precision (autocast); weights stay float32.
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    #: Part of the spec, because it changes the last bits.
    threads: PositiveInt = 1
    #: A sampling of positions, as `build_sampling` reads it; None: tokens stand at 0 … length − 1.
    positions: str | None = None

    @field_validator("positions", mode="before")
    @classmethod
    def _positions(cls, value: Any) -> str | None:
        return None if value is None else str(build_sampling(value))

    @model_validator(mode="after")
    def _positions_suffice(self) -> TrainingSpec:
        if self.positions is not None:
            build_sampling(self.positions).reach(self.length)
        return self

    @property
    def tokens_per_step(self) -> int:
        """Tokens seen in one optimiser step."""
        return self.length * self.batch_size * self.accumulate

    @property
    def tokens(self) -> int:
        """Tokens seen in all."""
        return self.tokens_per_step * self.steps


def learning_rate(spec: TrainingSpec, step: int) -> float:
    """Linear warm-up, then half a cosine down to ``final_fraction`` (Loshchilov & Hutter, 2017).

    Args:
        step: 0 … steps − 1.
    """
    if step < spec.warmup_steps:
        return spec.learning_rate * (step + 1) / spec.warmup_steps
    progress = (step - spec.warmup_steps) / max(1, spec.steps - spec.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return spec.learning_rate * (spec.final_fraction + (1 - spec.final_fraction) * cosine)


def build_optimiser(model: nn.Module, spec: TrainingSpec) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter, 2019), fused; matrices decay, biases and gains do not."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": spec.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [g for g in groups if g["params"]], lr=spec.learning_rate, betas=spec.betas, fused=True
    )
