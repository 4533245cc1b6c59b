"""The small perceptron that some biases are."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn


class Perceptron(nn.Sequential):
    """Linear layers of the given sizes with an activation between them, filled by `draw`."""

    def __init__(self, sizes: Sequence[int], activation: type[nn.Module]) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            # Without the initialisation, which would draw from the global random generator.
            layers += [nn.utils.skip_init(nn.Linear, inputs, outputs), activation()]
        super().__init__(*layers[:-1])

    @torch.no_grad()
    def draw(self, generator: torch.Generator) -> None:
        """Fill each layer evenly within ±1/√inputs, which is torch's default."""
        for layer in self:
            if isinstance(layer, nn.Linear):
                bound = 1 / math.sqrt(layer.in_features)
                layer.weight.uniform_(-bound, bound, generator=generator)
                layer.bias.uniform_(-bound, bound, generator=generator)
