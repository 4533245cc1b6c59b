"""Biases of the distance alone, evaluated once a distance and not once a pair."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding


def by_distance(
    function: Callable[[Int[Tensor, " n"]], Float[Tensor, "n heads"]],
    q_pos: Int[Tensor, "*blocks queries"],
    k_pos: Int[Tensor, "*blocks keys"],
) -> Float[Tensor, "*blocks heads queries keys"]:
    """``function`` of i − j for every pair: L queries and L keys have L² pairs but 2L − 1 distances."""
    distance = q_pos[..., :, None] - k_pos[..., None, :]
    if distance.numel() > 1 and not torch.compiler.is_compiling():
        low, high = (int(end) for end in distance.aminmax())
        if high - low < distance.numel():
            table = function(torch.arange(low, high + 1, device=distance.device))
            return embedding(distance - low, table).movedim(-1, -3)
    return function(distance.flatten()).unflatten(0, distance.shape).movedim(-1, -3)
