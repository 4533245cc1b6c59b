"""The small perceptron that some biases are."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Perceptron(nn.Sequential):
    """Linear layers of the given sizes with an activation between them, filled by `draw`."""

    def __init__(self, sizes: Sequence[int], activation: type[nn.Module]) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            # Without the initialisation, which would draw from the global random generator.
            layers += [nn.utils.skip_init(nn.Linear, inputs, outputs), activation()]
        super().__init__(*layers[:-1])

    def of_numbers(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape outputs"]:
        """``self(x[..., None])`` for one hidden layer of ReLUs, without ``width`` products for each number.

        Such a function of a number is a chain of lines, with a knot where a hidden unit switches.
        """
        hidden, _, out = self
        assert isinstance(hidden, nn.Linear)
        assert isinstance(out, nn.Linear)
        slopes, offsets = hidden.weight[:, 0], hidden.bias
        with torch.no_grad():
            # A unit that ignores its input has no knot; a needless one does no harm.
            knots = torch.where(slopes == 0, 0.0, -offsets / slopes).sort().values
            ends = torch.cat([knots[:1] - 1, knots, knots[-1:] + 1])
            between = (ends[:-1] + ends[1:]) / 2
            awake = (slopes * between[:, None] + offsets > 0).to(x.dtype)
            line = torch.bucketize(x.contiguous(), knots)
        lines = torch.cat([awake * slopes @ out.weight.mT, awake * offsets @ out.weight.mT + out.bias], -1)
        # Not `embedding`: on a CPU its gradient sorts, and takes 2.8 times as long.
        slope, offset = lines.index_select(0, line.flatten()).unflatten(0, x.shape).chunk(2, -1)
        return torch.addcmul(offset, slope, x[..., None])

    @torch.no_grad()
    def draw(self, generator: torch.Generator) -> None:
        """Fill each layer evenly within ±1/√inputs, which is torch's default."""
        for layer in self:
            if isinstance(layer, nn.Linear):
                bound = 1 / math.sqrt(layer.in_features)
                layer.weight.uniform_(-bound, bound, generator=generator)
                layer.bias.uniform_(-bound, bound, generator=generator)
