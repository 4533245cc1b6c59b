"""RoPE: rotary position embedding (Su et al., 2021, section 3.2)."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from longctx.positions.base import PositionConfig, PositionEncoding, register

REMEMBERED = 4  # position tensors whose angles are kept: queries and keys, of two callers


class RoPEConfig(PositionConfig):
    name: Literal["rope"] = "rope"
    #: Pair t turns by base^(−2t / head_dim) radians a position.
    base: float = Field(10_000.0, gt=1.0, examples=[10_000.0])


@register(RoPEConfig, source="https://arxiv.org/abs/2104.09864")
class RoPE(PositionEncoding):
    r"""Turn each pair of channels by an angle proportional to the position.

    .. math:: q_i \leftarrow R_i q_i, \quad k_j \leftarrow R_j k_j, \qquad
              (R_i q)^\top (R_j k) = q^\top R_{j-i}\, k

    Logits so depend on the distance alone. Channel t is paired with t + head_dim/2, the "half" layout of
    Hugging Face's Llama; the paper pairs neighbours, which is a permutation of the channels.
    """

    kind = "rotary"

    def __init__(self, config: RoPEConfig, *, head_dim: int) -> None:
        super().__init__()
        if head_dim % 2:
            raise ValueError(f"rope turns pairs of channels and needs an even head_dim, got {head_dim}")
        self.config, self.head_dim = config, head_dim
        self._remembered: list[tuple[Tensor, int, torch.dtype, tuple[Tensor, Tensor]]] = []

    def rotate(
        self,
        q: Float[Tensor, "batch heads queries head_dim"],
        k: Float[Tensor, "batch kv_heads keys head_dim"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
    ) -> tuple[Float[Tensor, "batch heads queries head_dim"], Float[Tensor, "batch kv_heads keys head_dim"]]:
        return turn(q, *self.cos_sin(q_pos, q.dtype)), turn(k, *self.cos_sin(k_pos, k.dtype))

    def cos_sin(
        self, positions: Int[Tensor, " length"], dtype: torch.dtype
    ) -> tuple[Float[Tensor, "length pairs"], Float[Tensor, "length pairs"]]:
        """Cosine and sine of every angle, kept for the next layer that asks with the same tensor."""
        # Inference tensors have no version by which a change in place could be noticed.
        if torch.compiler.is_compiling() or positions.is_inference():
            return self._cos_sin(positions, dtype)
        for known, version, known_dtype, tables in self._remembered:
            if known is positions and version == positions._version and known_dtype == dtype:
                return tables
        tables = self._cos_sin(positions, dtype)
        entry = (positions, positions._version, dtype, tables)
        self._remembered = [entry, *self._remembered[: REMEMBERED - 1]]
        return tables

    # Tables made in inference mode could not be used in a later training step.
    @torch.inference_mode(False)
    @torch.no_grad()
    def _cos_sin(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        # In float64: a float32 angle at position 10^6 is wrong in the second decimal.
        exponent = (
            torch.arange(0, self.head_dim, 2, device=positions.device, dtype=torch.float64) / self.head_dim
        )
        angle = positions[:, None].double() * self.config.base**-exponent
        return angle.cos().to(dtype), angle.sin().to(dtype)


def turn(
    x: Float[Tensor, "batch heads length head_dim"],
    cos: Float[Tensor, "length pairs"],
    sin: Float[Tensor, "length pairs"],
) -> Float[Tensor, "batch heads length head_dim"]:
    """``x`` with the pair (t, t + head_dim/2) at each position turned by the given angle."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([torch.addcmul(a * cos, b, sin, value=-1), torch.addcmul(b * cos, a, sin)], dim=-1)
