"""A model and batches that train in milliseconds."""

from collections.abc import Callable

import pytest
import torch

from longctx.model import ModelConfig, Transformer, build_model
from longctx.training import TrainingSpec

VOCABULARY = 32


@pytest.fixture
def new_model() -> Callable[[], Transformer]:
    config = ModelConfig(n_layers=1, d_model=16, n_heads=2, vocab_size=VOCABULARY, position="rope")
    return lambda: build_model(config, seed=0)


@pytest.fixture
def spec() -> TrainingSpec:
    return TrainingSpec(length=8, batch_size=4, steps=12, learning_rate=1e-2, warmup_steps=2)


@pytest.fixture
def draw() -> Callable[[int, int], tuple[torch.Tensor, torch.Tensor]]:
    """(step, rows) → tokens that follow a rule: each is the one before plus 1 or 3."""

    def rule(step: int, rows: int, length: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(step)
        steps = torch.randint(0, 2, (rows, length + 1), generator=generator) * 2 + 1
        tokens = steps.cumsum(1) % VOCABULARY
        return tokens[:, :-1], tokens[:, 1:]

    return rule
