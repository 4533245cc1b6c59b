"""Between whole sequences and tiles: fold, take, put and add blocks, as views wherever the layout permits.

Axes: b batch, h kv heads, s query heads that share a kv head, n blocks, w positions in a block, d head_dim,
f key blocks to a row, t tiles of a piece: its rows for one sequence, or one row for its sequences.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from longctx.attention.executors.plan import Piece

Folded = Float[Tensor, "b h s n w d"]


def fold(x: Float[Tensor, "b hs nw d"], block: int, shared: int) -> Folded:
    """Cut positions into blocks and heads into groups of ``shared`` that read the same keys; a view."""
    return x.unflatten(2, (-1, block)).unflatten(1, (-1, shared))


def take_rows(x: Folded, piece: Piece) -> Float[Tensor, "t h sw d"]:
    """The piece's query blocks, heads that share keys laid end to end; a view if none do."""
    where, some = piece.group.row_slice, x[piece.batch]
    rows = some[:, :, :, where] if where is not None else some.index_select(3, _rows(piece, x))
    return rows.permute(0, 3, 1, 2, 4, 5).flatten(0, 1).flatten(2, 3)


def put_rows(x: Folded, piece: Piece, rows: Float[Tensor, "t h sw d"]) -> None:
    """Write into ``x`` what `take_rows` would read."""
    where, some = piece.group.row_slice, x[piece.batch]
    back = rows.unflatten(2, (x.shape[2], -1)).unflatten(0, (len(some), -1)).permute(0, 2, 3, 1, 4, 5)
    if where is not None:
        some[:, :, :, where] = back
    else:
        some.index_copy_(3, _rows(piece, x), back)


def take_windows(x: Folded, piece: Piece) -> Float[Tensor, "t h fw d"]:
    """The key blocks of each row, end to end: overlapping views of a sequence where they are adjacent."""
    group, some = piece.group, x[piece.batch, :, 0]
    steps, (batch, heads, _, block, dim) = group.key_steps, some.shape
    if steps is not None:
        first, step = steps
        b, h, n, w, d = some.stride()
        shape = (batch, len(group.rows), heads, group.fan_in * block, dim)
        start = some.storage_offset() + first * n
        return some.as_strided(shape, (b, step * n, h, w, d), start).flatten(0, 1)
    picked = some.index_select(2, group.keys.flatten().to(x.device))
    windows = picked.unflatten(2, (len(group.rows), group.fan_in)).permute(0, 2, 1, 3, 4, 5)
    return windows.flatten(0, 1).flatten(2, 3)


def add_windows(x: Folded, piece: Piece, windows: Float[Tensor, "t h fw d"]) -> None:
    """Add to ``x`` where `take_windows` would read; blocks read by several rows collect the sum."""
    group, target = piece.group, x[piece.batch, :, 0]
    fan_in, n_rows, steps = group.fan_in, len(group.rows), group.key_steps
    parts = windows.unflatten(2, (fan_in, -1)).unflatten(0, (len(target), -1)).transpose(1, 2)
    if steps is None:
        target.index_add_(2, group.keys.flatten().to(x.device), parts.flatten(2, 3))
    elif steps[1] == 0:
        target[:, :, steps[0] : steps[0] + fan_in] += parts.sum(2)
    elif fan_in > n_rows:
        for row, first in enumerate(group.keys[:, 0].tolist()):
            target[:, :, first : first + fan_in] += parts[:, :, row]
    else:
        first, step = steps
        for offset in range(first, first + fan_in):
            target[:, :, offset : offset + n_rows * step : step] += parts[:, :, :, offset - first]


def spread(
    bias: Float[Tensor, "#rows heads w fw"], piece: Piece, kv_heads: int, shared: int
) -> Float[Tensor, "#t #h sw fw"]:
    """A group's bias by query head (or one for all heads), laid out as `take_rows` lays out queries."""
    rows = bias if len(bias) == 1 else bias[piece.rows]
    if rows.shape[1] == 1:
        return rows.repeat(1, 1, shared, 1) if shared > 1 else rows
    return rows.unflatten(1, (kv_heads, shared)).flatten(2, 3)


def collect(total: Float[Tensor, "#rows heads w fw"], piece: Piece, grad: Float[Tensor, "t h sw fw"]) -> None:
    """Add to the gradient of a group's bias that of the logits which the piece spread it over."""
    n_rows = len(piece.group.rows)
    by_row = grad.unflatten(0, (-1, n_rows)).sum(0).reshape(n_rows, *total.shape[1:])
    if len(total) == 1:
        total += by_row.sum(0, keepdim=True)
    else:
        total[piece.rows] += by_row


def _rows(piece: Piece, x: Tensor) -> Tensor:
    return piece.group.rows.to(x.device)
