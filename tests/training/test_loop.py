from collections.abc import Callable

import pytest
import torch

from longctx.model import Transformer
from longctx.training import TrainingSpec, train

NewModel = Callable[[], Transformer]
Draw = Callable[[int, int], tuple[torch.Tensor, torch.Tensor]]


def weights(model: Transformer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_training_lowers_the_loss_on_a_learnable_rule(new_model: NewModel, spec: TrainingSpec, draw: Draw):
    losses = train(new_model(), lambda step: draw(step, 16), spec.model_copy(update={"steps": 60}))
    assert len(losses) == 60
    assert losses[-1] < losses[0] - 0.5


def test_accumulated_small_batches_make_the_step_of_one_big_batch(
    new_model: NewModel, spec: TrainingSpec, draw: Draw
):
    big, small = new_model(), new_model()
    whole = train(big, lambda step: draw(step, 8), spec.model_copy(update={"batch_size": 8, "steps": 4}))

    def quarter(part: int) -> tuple[torch.Tensor, torch.Tensor]:
        inputs, targets = draw(part // 4, 8)
        rows = slice(part % 4 * 2, part % 4 * 2 + 2)
        return inputs[rows], targets[rows]

    changes = {"batch_size": 2, "accumulate": 4, "steps": 4}
    parts = train(small, quarter, spec.model_copy(update=changes))
    assert parts == pytest.approx(whole, abs=1e-5)
    torch.testing.assert_close(weights(small), weights(big), atol=1e-4, rtol=0)


def test_bfloat16_runs_and_changes_the_products_but_not_the_weights_type(
    new_model: NewModel, spec: TrainingSpec, draw: Draw
):
    exact = train(new_model(), lambda step: draw(step, 4), spec)
    model = new_model()
    rounded = train(model, lambda step: draw(step, 4), spec.model_copy(update={"precision": "bfloat16"}))
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert rounded != exact
    assert rounded == pytest.approx(exact, abs=0.05)


def test_clipping_bounds_the_step(new_model: NewModel, spec: TrainingSpec, draw: Draw):
    # With betas of 0 and a tiny clip AdamW's ratio is ±1 whatever the norm, so compare gradients instead.
    seen: list[float] = []
    model = new_model()
    step = torch.optim.AdamW.step

    def watched(self: torch.optim.AdamW, *a: object, **k: object) -> object:
        seen.append(
            torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm().item()
        )
        return step(self, *a, **k)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", watched)
        train(model, lambda s: draw(s, 4), spec.model_copy(update={"clip": 0.01, "steps": 3}))
    assert max(seen) <= 0.01 * (1 + 1e-4)
    assert min(seen) > 0.009


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(
    new_model: NewModel, spec: TrainingSpec, draw: Draw
):
    model = new_model()
    with torch.no_grad():
        model.final_norm.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="at step 0"):
        train(model, lambda step: draw(step, 4), spec)


def test_training_leaves_the_global_generator_and_thread_count_alone(
    new_model: NewModel, spec: TrainingSpec, draw: Draw
):
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    train(new_model(), lambda step: draw(step, 4), spec)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()
