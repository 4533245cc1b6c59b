r"""Normalised sums over the past with a kernel in place of the softmax: all pairs at once, or in chunks.

.. math:: y_i = \frac{\sum_{j \le i} e^{s_j}\, (\phi_i^\top \psi_j)\, v_j}
                     {\sum_{j \le i} e^{s_j}\, \phi_i^\top \psi_j}
          = \frac{S_i^\top \phi_i}{z_i^\top \phi_i}, \qquad
          S_i = \sum_{j \le i} e^{s_j} \psi_j v_j^\top, \quad z_i = \sum_{j \le i} e^{s_j} \psi_j

The features are not negative. Each key may carry the logarithm :math:`s_j` of a factor of its features, so
that these stay in the range of floats; sums are then kept divided by the largest factor *so far*, as in an
online softmax. A maximum over all keys would let the future decide what is rounded to zero.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from longctx.attention.linear.base import CHUNK, cut, rows, unrows


def sums_of_pairs(
    q: Float[Tensor, "batch kv_heads group queries features"],
    k: Float[Tensor, "batch kv_heads keys features"],
    v: Float[Tensor, "batch kv_heads keys head_dim"],
    q_pos: Int[Tensor, " queries"],
    k_pos: Int[Tensor, " keys"],
    log_factor: Float[Tensor, "batch kv_heads keys"] | None = None,
) -> Float[Tensor, "batch kv_heads group queries head_dim"]:
    """The sums by definition, from features of queries and keys."""
    past = k_pos <= q_pos[:, None]
    weights = (q @ k[:, :, None].mT).masked_fill(~past, 0)
    if log_factor is not None:
        seen = log_factor[:, :, None].masked_fill(~past, float("-inf"))
        weights = weights * (seen - seen.amax(-1, keepdim=True)).exp()[:, :, None]
    return _normalised(weights @ _with_ones(v)[:, :, None])


def sums_in_chunks(
    q: Float[Tensor, "batch kv_heads group length features"],
    k: Float[Tensor, "batch kv_heads length features"],
    v: Float[Tensor, "batch kv_heads length head_dim"],
    log_factor: Float[Tensor, "batch kv_heads length"] | None = None,
) -> Float[Tensor, "batch kv_heads group length head_dim"]:
    """The same at positions 0 … length − 1: pairs inside a chunk, and a state S, z from those before it."""
    group, length = q.shape[2:4]
    q, k, v = rows(q), cut(k), cut(_with_ones(v))
    pairs = (q @ k.mT).unflatten(3, (group, CHUNK))
    if log_factor is None:
        before = pad((k.mT @ v)[:, :, :-1].cumsum(2), (0, 0, 0, 0, 1, 0))
        past = pairs.tril()
    else:
        s = cut(log_factor[..., None])[..., 0]
        largest = s.flatten(2).cummax(2).values.view_as(s)
        after = largest[..., -1]
        start = pad(after[..., :-1], (1, 0), value=float("-inf"))
        before = _carried((k * (s - after[..., None]).exp()[..., None]).mT @ v, (start - after).exp())
        within = (s[..., None, :] - largest[..., None]).masked_fill(_later(s.device), float("-inf")).exp()
        past = pairs * within[:, :, :, None]
        q = q * (start[..., None] - largest).exp().repeat(1, 1, 1, group)[..., None]
    return unrows(_normalised(past.flatten(3, 4) @ v + q @ before), group, length)


def _carried(sums: Tensor, decay: Tensor) -> Tensor:
    """The state before each chunk: what the chunks before it have summed, faded by each since."""
    state, states = torch.zeros_like(sums[:, :, 0]), []
    for new, kept in zip(sums.unbind(2), decay[..., None, None].unbind(2), strict=True):
        states.append(state)
        state = torch.addcmul(new, state, kept)
    return torch.stack(states, 2)


def _later(device: torch.device) -> Tensor:
    return torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=device).triu(1)


def _with_ones(v: Tensor) -> Tensor:
    """Values, and the 1 whose weighted sum is the normaliser."""
    return pad(v, (0, 1), value=1.0)


def _normalised(sums: Tensor) -> Tensor:
    values, total = sums.split([sums.shape[-1] - 1, 1], -1)
    return values / total.clamp(min=torch.finfo(total.dtype).tiny)
