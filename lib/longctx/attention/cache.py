"""A key–value cache for decoding: preallocated, appended to in place."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from longctx.positions.base import default_positions


class KVCache:
    """Keys and values of the tokens seen so far, for one layer.

    Keys are kept *unrotated*: an encoding whose angles change with the length (dynamic scaling) then stays
    correct, at the price of rotating them at every step. The cache is for inference: no gradient flows
    through it.

    Args:
        batch: sequences decoded together.
        kv_heads: key–value heads of the layer.
        max_length: tokens that fit.
        head_dim: channels of a head.
        observed: channels that the position encoding keeps beside each key.
    """

    def __init__(
        self,
        batch: int,
        kv_heads: int,
        max_length: int,
        head_dim: int,
        *,
        observed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = (batch, kv_heads, max_length, head_dim)
        if min(shape) < 1:
            raise ValueError(
                f"no size of a cache may be below 1; got (batch, kv_heads, max_length, head_dim) = {shape}"
            )
        self._keys = torch.zeros((*shape[:3], head_dim + observed), dtype=dtype, device=device)
        self._values = torch.zeros(shape, dtype=dtype, device=device)
        self._length = 0

    @property
    def length(self) -> int:
        """Tokens held."""
        return self._length

    @property
    def next_position(self) -> int:
        """Where the next token stands."""
        return self._length

    @property
    def max_length(self) -> int:
        """Tokens that fit."""
        return self._keys.shape[2]

    @property
    def room(self) -> int:
        """Tokens that may be appended together."""
        return self.max_length - self._length

    @property
    def numbers(self) -> int:
        """Numbers that memory is kept for, whether or not they are used yet."""
        return self._keys.numel() + self._values.numel()

    def append(
        self,
        k: Float[Tensor, "batch kv_heads new k_channels"],
        v: Float[Tensor, "batch kv_heads new head_dim"],
    ) -> tuple[
        Float[Tensor, "batch kv_heads length k_channels"],
        Float[Tensor, "batch kv_heads length head_dim"],
        Int[Tensor, " length"],
    ]:
        """Add the new tokens' unrotated keys and values.

        Returns:
            Views of all keys and values so far, and their positions 0 … length − 1.

        Raises:
            ValueError: shapes that differ from the cache's, more tokens than fit, or tensors that need a
                gradient.
        """
        self._check(k, v)
        end = self._length + k.shape[2]
        if end > self.max_length:
            raise ValueError(
                f"the cache is full: max_length={self.max_length}, {self._length} held, "
                f"{k.shape[2]} more given"
            )
        self._keys[:, :, self._length : end] = k
        self._values[:, :, self._length : end] = v
        self._length = end
        return self._keys[:, :, :end], self._values[:, :, :end], default_positions(end, self._keys.device)

    def truncate(self, length: int) -> None:
        """Forget all tokens from position ``length`` on."""
        if not 0 <= length <= self._length:
            raise ValueError(f"length must lie in 0 … {self._length}, got {length}")
        self._length = length

    def _check(self, k: Tensor, v: Tensor) -> None:
        batch, heads, _, head_dim = self._values.shape
        observed = self._keys.shape[3] - head_dim
        if v.shape != (batch, heads, v.shape[2], head_dim) or k.shape != (*v.shape[:3], head_dim + observed):
            more = f", and {observed} more of keys" if observed else ""
            raise ValueError(
                f"the cache holds (batch={batch}, kv_heads={heads}, …, head_dim={head_dim}{more}); "
                f"got k {tuple(k.shape)} and v {tuple(v.shape)}"
            )
        if torch.is_grad_enabled() and (k.requires_grad or v.requires_grad):
            raise ValueError(
                "a cache passes no gradient on: decode under torch.no_grad() or inference_mode()"
            )
