"""The chunked cross-entropy equals the plain one: values and gradients."""

import pytest
import torch
import torch.nn.functional as F

from longctx.data.tasks import IGNORED
from longctx.model import ModelConfig, build_model
from longctx.objectives import causal_loss, judged, linear_cross_entropy, token_losses
from longctx.objectives.causal import CHUNK


@pytest.mark.parametrize("rows", [1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 17])
def test_value_and_gradients_equal_the_plain_cross_entropy(rows: int) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(rows, 24, generator=generator, requires_grad=True)
    weight = torch.randn(61, 24, generator=generator, requires_grad=True)
    targets = torch.randint(61, (rows,), generator=generator)
    expected = F.cross_entropy(hidden @ weight.T, targets)
    actual = linear_cross_entropy(hidden, weight, targets)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
    for mine, theirs in zip(
        torch.autograd.grad(3 * actual, (hidden, weight)),
        torch.autograd.grad(3 * expected, (hidden, weight)),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-5)


def test_gradients_agree_with_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0, 3, 1, 1, 2])
    with torch.no_grad():
        step = torch.zeros_like(weight)
        step[2, 1] = 1e-3
        slope = (
            linear_cross_entropy(hidden, weight + step, targets)
            - linear_cross_entropy(hidden, weight - step, targets)
        ) / 2e-3
    gradient = torch.autograd.grad(linear_cross_entropy(hidden, weight, targets), weight)[0]
    assert gradient[2, 1].item() == pytest.approx(slope.item(), abs=1e-3)


@pytest.mark.parametrize("frozen", ["hidden", "weight"])
def test_only_what_needs_a_gradient_gets_one(frozen: str) -> None:
    tensors = {name: torch.randn(7, 3, requires_grad=name != frozen) for name in ("hidden", "weight")}
    linear_cross_entropy(tensors["hidden"], tensors["weight"], torch.arange(7)).backward()
    assert tensors[frozen].grad is None
    assert all(t.grad is not None for name, t in tensors.items() if name != frozen)


def test_half_precision_stays_near_single_precision() -> None:
    hidden = torch.randn(300, 32, requires_grad=True)
    weight = torch.randn(50, 32, requires_grad=True)
    targets = torch.arange(300) % 50
    expected = linear_cross_entropy(hidden, weight, targets)
    with torch.autocast("cpu", torch.bfloat16):
        actual = linear_cross_entropy(hidden, weight, targets)
    assert actual.dtype == torch.float32
    assert actual.item() == pytest.approx(expected.item(), rel=2e-2)
    (gradient,) = torch.autograd.grad(actual, hidden)
    assert gradient.dtype == hidden.dtype


def test_the_model_loss_is_the_mean_of_its_token_losses() -> None:
    model = build_model(ModelConfig(family="llama", n_layers=1, d_model=16, n_heads=2, vocab_size=40), seed=4)
    tokens = torch.randint(40, (3, 21), generator=torch.Generator().manual_seed(1))
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    losses = token_losses(model, inputs, targets)
    expected = F.cross_entropy(model(inputs).transpose(1, 2), targets, reduction="none")
    torch.testing.assert_close(losses, expected, atol=1e-5, rtol=1e-5)
    assert causal_loss(model, inputs, targets).item() == pytest.approx(losses.mean().item(), abs=1e-5)


def test_a_certain_model_that_errs_is_charged_in_full() -> None:
    hidden = torch.tensor([[400.0, 0.0], [0.0, 400.0]], requires_grad=True)
    weight, targets = torch.eye(2), torch.tensor([0, 0])
    loss = linear_cross_entropy(hidden, weight, targets)
    assert loss.item() == pytest.approx(200.0)
    (gradient,) = torch.autograd.grad(loss, hidden)
    torch.testing.assert_close(gradient, torch.tensor([[0.0, 0.0], [-0.5, 0.5]]))


def test_targets_that_are_ignored_count_nowhere() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(2 * CHUNK + 9, 24, generator=generator, requires_grad=True)
    weight = torch.randn(61, 24, generator=generator, requires_grad=True)
    targets = torch.randint(61, (len(hidden),), generator=generator)
    targets[torch.rand(len(hidden), generator=generator) < 0.4] = IGNORED
    expected = F.cross_entropy(hidden @ weight.T, targets, ignore_index=IGNORED)
    actual = linear_cross_entropy(hidden, weight, targets)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
    for mine, theirs in zip(
        torch.autograd.grad(actual, (hidden, weight)),
        torch.autograd.grad(expected, (hidden, weight)),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-5)


def test_answers_are_judged_where_they_are_asked_for() -> None:
    model = build_model(
        ModelConfig(n_layers=1, d_model=16, n_heads=2, vocab_size=11, position="rope"), seed=0
    )
    inputs = torch.arange(8)[None] % 11
    likeliest = model(inputs).argmax(-1)
    targets = likeliest.clone()
    targets[0, 2], targets[0, 5] = (likeliest[0, 2] + 1) % 11, IGNORED
    losses, right = judged(model, inputs, targets)
    assert right[0].tolist() == [True, True, False, True, True, False, True, True]
    assert losses[0, 5] == 0
    expected = F.cross_entropy(model(inputs)[0], targets[0], reduction="none", ignore_index=IGNORED)
    torch.testing.assert_close(losses[0], expected.detach(), atol=1e-5, rtol=1e-5)
