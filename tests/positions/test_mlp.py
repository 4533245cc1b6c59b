"""A perceptron of single numbers, by its lines, is the perceptron."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from longctx.positions.mlp import Perceptron


@given(seed=st.integers(0, 2**31), width=st.integers(1, 40), outputs=st.integers(1, 5), n=st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_values_and_gradients_are_those_of_the_layers(seed: int, width: int, outputs: int, n: int):
    generator = torch.Generator().manual_seed(seed)
    function = Perceptron([1, width, outputs], nn.ReLU).double()
    function.draw(generator)
    x = (3 * torch.randn(2, n, generator=generator, dtype=torch.float64)).requires_grad_()
    ours, theirs = function.of_numbers(x), function(x[..., None])
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)
    weights = torch.randn(theirs.shape, generator=generator, dtype=torch.float64)
    inputs = (x, *function.parameters())
    for mine, other in zip(
        torch.autograd.grad((ours * weights).sum(), inputs),
        torch.autograd.grad((theirs * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, other, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("slopes", [[0.0, 0.0, 0.0], [0.0, 1.0, -1.0], [2.0, 2.0, 2.0]])
def test_units_that_ignore_their_input_or_switch_together(slopes: list[float]):
    function = Perceptron([1, 3, 2], nn.ReLU).double()
    function.draw(torch.Generator().manual_seed(0))
    with torch.no_grad():
        function[0].weight.copy_(torch.tensor(slopes)[:, None])
        function[0].bias.fill_(0.5)
    x = torch.linspace(-3, 3, 61, dtype=torch.float64)
    torch.testing.assert_close(function.of_numbers(x), function(x[:, None]), atol=1e-12, rtol=1e-12)
