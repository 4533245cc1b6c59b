"""Between whole sequences and tiles: fold, take, put and add blocks, as views wherever the layout permits.

Axes: b batch, h kv heads, s query heads that share a kv head, n blocks, w positions in a block, d head_dim,
g rows of a piece, f key blocks to a row.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from longctx.attention.executors.plan import Group

Folded = Float[Tensor, "bh s n w d"]


def fold(x: Float[Tensor, "b hs nw d"], block: int, shared: int) -> Folded:
    """Cut positions into blocks and heads into groups of ``shared`` that read the same keys."""
    batch, heads, length, dim = x.shape
    return x.contiguous().view(batch * heads // shared, shared, length // block, block, dim)


def take_rows(x: Folded, piece: Group) -> Float[Tensor, "g bh sw d"]:
    """The piece's query blocks, heads that share keys laid end to end; a view if none do."""
    where = piece.row_slice
    rows = x[:, :, where] if where is not None else x.index_select(2, piece.rows.to(x.device))
    return rows.permute(2, 0, 1, 3, 4).flatten(2, 3)


def put_rows(x: Folded, piece: Group, rows: Float[Tensor, "g bh sw d"]) -> None:
    """Write into ``x`` what `take_rows` would read."""
    _, shared, _, block, _ = x.shape
    back = rows.unflatten(2, (shared, block)).permute(1, 2, 0, 3, 4)
    where = piece.row_slice
    if where is not None:
        x[:, :, where] = back
    else:
        x.index_copy_(2, piece.rows.to(x.device), back)


def take_windows(x: Folded, piece: Group) -> Float[Tensor, "g bh fw d"]:
    """The key blocks of each row, end to end: overlapping views of a sequence where they are adjacent."""
    heads, _, n_blocks, block, dim = x.shape
    fan_in, where = piece.fan_in, piece.key_slice
    if where is not None:
        size = block * dim
        shape = (len(piece.rows), heads, fan_in * block, dim)
        return x.as_strided(
            shape, (where.step * size, n_blocks * size, dim, 1), x.storage_offset() + where.start * size
        )
    picked = x[:, 0].index_select(1, piece.keys.flatten().to(x.device))
    return picked.view(heads, len(piece.rows), fan_in * block, dim).transpose(0, 1)


def add_windows(x: Folded, piece: Group, windows: Float[Tensor, "g bh fw d"]) -> None:
    """Add to ``x`` where `take_windows` would read; blocks read by several rows collect the sum."""
    target, fan_in, where = x[:, 0], piece.fan_in, piece.key_slice
    parts = windows.unflatten(2, (fan_in, x.shape[3]))
    if where is None:
        target.index_add_(1, piece.keys.flatten().to(x.device), parts.transpose(0, 1).flatten(1, 2))
    elif fan_in > len(piece.rows):
        for row, first in enumerate(piece.keys[:, 0].tolist()):
            target[:, first : first + fan_in] += parts[row]
    else:
        for offset in range(fan_in):
            target[:, where.start + offset : where.stop + offset : where.step] += parts[
                :, :, offset
            ].transpose(0, 1)


def spread(
    bias: Float[Tensor, "g heads w fw"], batch: int, kv_heads: int, shared: int
) -> Float[Tensor, "g bh sw fw"]:
    """A bias by query head (or one for all heads), laid out as `take_rows` lays out queries."""
    groups, heads, width, keys = bias.shape
    if heads == 1:
        return bias.repeat(1, 1, shared, 1)
    folded = bias.reshape(groups, kv_heads, shared * width, keys)
    return folded.repeat(1, batch, 1, 1) if batch > 1 else folded


def collect(
    grad: Float[Tensor, "g bh sw fw"], bias: Float[Tensor, "_ heads w fw"], batch: int
) -> Float[Tensor, "_ heads w fw"]:
    """The gradient of a bias from that of the logits it was spread over."""
    grad = grad.unflatten(1, (batch, -1)).sum(1) if batch > 1 else grad
    grad = grad.reshape(len(grad), *bias.shape[1:])
    return grad.sum(0, keepdim=True) if len(bias) == 1 else grad
