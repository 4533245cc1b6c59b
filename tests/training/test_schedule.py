import math

import pytest
import torch

from longctx.training import TrainingSpec, build_optimiser, learning_rate


def spec(**changes: object) -> TrainingSpec:
    fields = {"length": 8, "batch_size": 2, "steps": 110, "learning_rate": 3e-3, "warmup_steps": 10}
    return TrainingSpec.model_validate({**fields, **changes})


def test_the_warm_up_is_a_straight_line_to_the_peak():
    rates = [learning_rate(spec(), step) for step in range(10)]
    assert rates == pytest.approx([3e-3 * (step + 1) / 10 for step in range(10)], rel=1e-12)


def test_the_decay_is_half_a_cosine_from_the_peak_to_the_final_fraction():
    s = spec(final_fraction=0.2)
    assert learning_rate(s, 10) == pytest.approx(3e-3)
    assert learning_rate(s, 60) == pytest.approx(3e-3 * 0.6), "half-way: the mean of peak and end"
    assert learning_rate(s, 110) == pytest.approx(3e-3 * 0.2)
    quarter = 0.2 + 0.8 * (1 + math.cos(math.pi / 4)) / 2
    assert learning_rate(s, 35) == pytest.approx(3e-3 * quarter)


def test_no_warm_up_starts_at_the_peak():
    assert learning_rate(spec(warmup_steps=0), 0) == 3e-3


def test_matrices_decay_but_gains_and_biases_do_not():
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.LayerNorm(3))
    optimiser = build_optimiser(model, spec(weight_decay=0.5))
    decay = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert {name: decay[id(p)] for name, p in model.named_parameters()} == {
        "0.weight": 0.5,
        "0.bias": 0.0,
        "1.weight": 0.0,
        "1.bias": 0.0,
    }
