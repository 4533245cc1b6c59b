"""What depends on the distance alone, evaluated once a distance and not once a pair."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding


def distances(
    q_pos: Int[Tensor, "*blocks queries"], k_pos: Int[Tensor, "*blocks keys"]
) -> tuple[Int[Tensor, " n"], Int[Tensor, "*blocks queries keys"]]:
    """The distances i − j that occur, and where among them each pair finds its own.

    L queries and L keys have L² pairs but 2L − 1 distances.
    """
    apart = q_pos[..., :, None] - k_pos[..., None, :]
    low, high = (int(end) for end in apart.aminmax())
    if high - low < apart.numel():
        return torch.arange(low, high + 1, device=apart.device), apart - low
    return apart.unique(return_inverse=True)


def by_distance(
    function: Callable[[Int[Tensor, " n"]], Float[Tensor, "n heads"]],
    q_pos: Int[Tensor, "*blocks queries"],
    k_pos: Int[Tensor, "*blocks keys"],
) -> Float[Tensor, "*blocks heads queries keys"]:
    """``function`` of i − j for every pair."""
    queries, keys = q_pos.shape[-1], k_pos.shape[-1]
    if queries * keys == 1 or torch.compiler.is_compiling():  # as inside a kernel of FlexAttention
        apart = q_pos[..., :, None] - k_pos[..., None, :]
        return function(apart.flatten()).unflatten(0, apart.shape).movedim(-1, -3)
    if _consecutive(q_pos) and _consecutive(k_pos):
        # Each row of the matrix is a window on the distances, one place from that of the row before. Windows
        # have a quick gradient, a lookup of every pair has not.
        across = torch.arange(queries + keys - 1, device=q_pos.device)
        apart = (q_pos[..., -1] - k_pos[..., 0])[..., None] - across
        table = function(apart.flatten()).unflatten(0, apart.shape)
        return table.unfold(-2, keys, 1).flip(-3).movedim(-3, -2)
    table, index = distances(q_pos, k_pos)
    return embedding(index, function(table)).movedim(-1, -3)


def look_up(
    values: Float[Tensor, "batch heads queries n"], index: Int[Tensor, "queries keys"]
) -> Float[Tensor, "batch heads queries keys"]:
    """For every pair, the entry of its query's row that ``index`` names."""
    return values.gather(-1, index.expand(*values.shape[:2], -1, -1))


def _consecutive(positions: Int[Tensor, "*blocks length"]) -> bool:
    return bool((positions.diff() == 1).all())
