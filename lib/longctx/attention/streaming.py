"""A cache that never grows: the first tokens and the last ones (Xiao et al., 2024, section 3.2)."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from longctx.attention.cache import KVCache


class StreamingCache(KVCache):
    """Keys and values of the first ``sinks`` tokens of a stream and of its last ``window``, for one layer.

    A token that is neither is *evicted*: its key and value are overwritten, and memory stays what it was.
    The newest token counts among the last, as the query does in the pattern ``sinks``.

    Once tokens were evicted, where do the others stand? In the *text*, at the places where they were read, so
    that the distance to the first tokens grows for ever. Or in the *cache*, at 0 … length − 1, as if nothing
    had stood between: no distance then exceeds sinks + window − 1. The second is StreamingLLM, and
    possible because keys are kept unrotated.

    Args:
        batch: streams decoded together.
        kv_heads: key–value heads of the layer.
        head_dim: channels of a head.
        window: last tokens that are kept.
        sinks: first tokens that are kept.
        positions: where tokens stand after an eviction.
        observed: channels that the position encoding keeps beside each key.

    Raises:
        ValueError: a size out of range; or sinks for an encoding that observes the tokens between them and
            the window (forgetting attention), which are gone.
    """

    def __init__(
        self,
        batch: int,
        kv_heads: int,
        head_dim: int,
        *,
        window: int,
        sinks: int = 4,
        positions: Literal["cache", "text"] = "cache",
        observed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        if window < 1 or sinks < 0:
            raise ValueError(f"window ≥ 1 and sinks ≥ 0 are needed; got window={window}, sinks={sinks}")
        if positions not in ("cache", "text"):
            raise ValueError(f"positions must be cache or text; got {positions!r}")
        if observed and sinks:
            raise ValueError(
                f"sinks={sinks}: this encoding observes every token between a key and its query, and those "
                "behind the sinks are evicted; stream it with sinks=0"
            )
        size = sinks + window
        super().__init__(batch, kv_heads, size, head_dim, observed=observed, dtype=dtype, device=device)
        self.window, self.sinks, self.in_text = window, sinks, positions == "text"
        self._evicted = 0

    @property
    def next_position(self) -> int:
        """Where the next token stands: in the text, or in the cache once it is there."""
        return self._evicted + self.length if self.in_text else min(self.length, self.max_length - 1)

    @property
    def room(self) -> int:
        """Tokens that may be appended together: those that fit, or one."""
        return max(1, self.max_length - self.length)

    def append(
        self,
        k: Float[Tensor, "batch kv_heads new k_channels"],
        v: Float[Tensor, "batch kv_heads new head_dim"],
    ) -> tuple[
        Float[Tensor, "batch kv_heads length k_channels"],
        Float[Tensor, "batch kv_heads length head_dim"],
        Int[Tensor, " length"],
    ]:
        """Add the new tokens' unrotated keys and values, and evict the oldest of the window for them.

        Returns:
            Views of the keys and values that are kept, and their positions.

        Raises:
            ValueError: as of the base class; and several tokens of which not all fit, since each would need a
                window of its own.
        """
        if k.shape[2] > self.room:
            raise ValueError(
                f"{k.shape[2]} tokens together, but there is room for {self.room}; "
                "once tokens have to leave, append one at a time"
            )
        if self.length == self.max_length:
            self._check(k, v)  # before anything is lost
            for kept in (self._keys, self._values):
                kept[:, :, self.sinks : -1] = kept[:, :, self.sinks + 1 :].clone()
            self._length -= 1
            self._evicted += 1
        keys, values, positions = super().append(k, v)
        if self.in_text and self._evicted:
            positions = positions + self._evicted * (positions >= self.sinks)
        return keys, values, positions

    def truncate(self, length: int) -> None:
        """Forget all tokens from position ``length`` on, while none was evicted.

        Raises:
            ValueError: tokens were evicted, and would have to come back.
        """
        if self._evicted:
            raise ValueError(f"{self._evicted} tokens were evicted and cannot be restored")
        super().truncate(length)
