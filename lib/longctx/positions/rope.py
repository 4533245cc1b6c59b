"""RoPE: rotary position embedding (Su et al., 2021, section 3.2)."""

from typing import Annotated, Literal

import torch
from jaxtyping import Float, Real
from pydantic import BeforeValidator, Field, SerializeAsAny
from torch import Tensor

from longctx.positions.base import PositionConfig, PositionEncoding, register
from longctx.positions.scaling import Scaling, build_scaling
from longctx.positions.scaling.base import unscaled

REMEMBERED = 4  # position tensors whose angles are kept: queries and keys, of two callers


#: A field that takes any spec of a scaling and is written out whole.
AnyScaling = Annotated[SerializeAsAny[Scaling], BeforeValidator(build_scaling)]


class RotaryConfig(PositionConfig):
    """The parameters of RoPE and of what is derived from it."""

    #: Pair t turns by base^(−2t / head_dim) radians a position.
    base: float = Field(10_000.0, gt=1.0, examples=[10_000.0])
    #: Share of the channels that turn, as GPT-NeoX has it; the others carry no position.
    partial_rotary_factor: float = Field(1.0, gt=0.0, le=1.0)
    #: Which channels are a pair: t and t + d/2 (Hugging Face's Llama) or neighbours (the paper, GPT-J).
    layout: Literal["half", "interleaved"] = "half"
    #: How a context longer than the trained one is read.
    scaling: AnyScaling | None = Field(
        None,
        examples=[
            None,
            "linear(factor=4.0)",
            "ntk(factor=4.0)",
            "ntk_by_parts(factor=4.0, original_max_position_embeddings=32)",
            "yarn(factor=4.0, original_max_position_embeddings=32)",
            "llama3(factor=8.0, original_max_position_embeddings=32)",
            "dynamic(factor=2.0, original_max_position_embeddings=32)",
            "yarn(dynamic=True, original_max_position_embeddings=32)",
            "longrope(long_factor=(1.0, 1.5, 2.0, 4.0), original_max_position_embeddings=32)",
        ],
    )


class RoPEConfig(RotaryConfig):
    name: Literal["rope"] = "rope"


@register(RoPEConfig, source="https://arxiv.org/abs/2104.09864")
class RoPE(PositionEncoding):
    r"""Turn each pair of channels by an angle proportional to the position.

    .. math:: q_i \leftarrow R_i q_i, \quad k_j \leftarrow R_j k_j, \qquad
              (R_i q)^\top (R_j k) = q^\top R_{j-i}\, k

    Logits so depend on the distance alone. The two layouts differ by a permutation of the channels, which
    `to_half` and `to_interleaved` apply to weights.
    """

    kind = "rotary"

    def __init__(self, config: RotaryConfig, *, head_dim: int) -> None:
        super().__init__()
        if head_dim % 2:
            raise ValueError(f"rope turns pairs of channels and needs an even head_dim, got {head_dim}")
        self.turning = int(head_dim * config.partial_rotary_factor)
        if self.turning % 2 or not self.turning:
            raise ValueError(
                f"partial_rotary_factor={config.partial_rotary_factor} leaves {self.turning} of {head_dim} "
                "channels to turn; they must be pairs"
            )
        self.config, self.head_dim = config, head_dim
        self._remembered: list[tuple[Tensor, tuple[int, int, torch.dtype], tuple[Tensor, Tensor]]] = []
        self.frequencies()  # says at once if the scaling does not fit the channels

    def frequencies(self, length: int = 0) -> Float[Tensor, " pairs"]:
        """Radians a position by which each pair turns, in float64, when ``length`` tokens are read."""
        scaling = self.config.scaling
        if scaling is None:
            return unscaled(self.config.base, self.turning)
        return scaling.frequencies(self.config.base, self.turning, length)

    def rotate(
        self,
        q: Float[Tensor, "batch heads queries head_dim"],
        k: Float[Tensor, "batch kv_heads keys head_dim"],
        q_pos: Real[Tensor, " queries"],
        k_pos: Real[Tensor, " keys"],
    ) -> tuple[Float[Tensor, "batch heads queries head_dim"], Float[Tensor, "batch kv_heads keys head_dim"]]:
        length = 0
        if self.config.scaling is not None and self.config.scaling.follows_length:
            length = 1 + max(int(positions.max()) for positions in (q_pos, k_pos))
        return self._turned(q, q_pos, length), self._turned(k, k_pos, length)

    def _turned(self, x: Tensor, positions: Tensor, length: int) -> Tensor:
        cos, sin = self.cos_sin(positions, x.dtype, length)
        interleaved = self.config.layout == "interleaved"
        if self.turning == self.head_dim:
            return turn(x, cos, sin, interleaved=interleaved)
        turning, still = x.split([self.turning, self.head_dim - self.turning], dim=-1)
        return torch.cat([turn(turning, cos, sin, interleaved=interleaved), still], dim=-1)

    def cos_sin(
        self, positions: Real[Tensor, " length"], dtype: torch.dtype, length: int = 0
    ) -> tuple[Float[Tensor, "length pairs"], Float[Tensor, "length pairs"]]:
        """Cosine and sine of every angle, kept for the next layer that asks with the same tensor."""
        # Inference tensors have no version by which a change in place could be noticed.
        if torch.compiler.is_compiling() or positions.is_inference():
            return self._cos_sin(positions, dtype, length)
        key = (positions._version, length, dtype)
        for known, known_key, tables in self._remembered:
            if known is positions and known_key == key:
                return tables
        tables = self._cos_sin(positions, dtype, length)
        self._remembered = [(positions, key, tables), *self._remembered[: REMEMBERED - 1]]
        return tables

    # Tables made in inference mode could not be used in a later training step.
    @torch.inference_mode(False)
    @torch.no_grad()
    def _cos_sin(self, positions: Tensor, dtype: torch.dtype, length: int) -> tuple[Tensor, Tensor]:
        # In float64: a float32 angle at position 10^6 is wrong in the second decimal.
        angle = positions[:, None].double() * self.frequencies(length).to(positions.device)
        scaling = self.config.scaling
        magnitude = 1.0 if scaling is None else scaling.magnitude(length)
        return (magnitude * angle.cos()).to(dtype), (magnitude * angle.sin()).to(dtype)


def turn(
    x: Float[Tensor, "batch heads length channels"],
    cos: Float[Tensor, "length pairs"],
    sin: Float[Tensor, "length pairs"],
    *,
    interleaved: bool = False,
) -> Float[Tensor, "batch heads length channels"]:
    """``x`` with the pair (t, t + pairs), or (2t, 2t + 1), at each position turned by the given angle."""
    a, b = (x[..., 0::2], x[..., 1::2]) if interleaved else x.chunk(2, dim=-1)
    pair = [torch.addcmul(a * cos, b, sin, value=-1), torch.addcmul(b * cos, a, sin)]
    return torch.stack(pair, dim=-1).flatten(-2) if interleaved else torch.cat(pair, dim=-1)


def to_half(x: Float[Tensor, "*shape"], dim: int = -1) -> Float[Tensor, "*shape"]:
    """The channels along an axis, in the interleaved layout, put in the order of the half layout.

    A weight of a projection is cut by heads first: ``to_half(w.unflatten(0, (heads, head_dim)), dim=1)``.
    """
    channels = torch.arange(x.shape[dim], device=x.device)
    return x.index_select(dim, torch.cat([channels[0::2], channels[1::2]]))


def to_interleaved(x: Float[Tensor, "*shape"], dim: int = -1) -> Float[Tensor, "*shape"]:
    """The channels along an axis, in the half layout, put in the order of the interleaved layout."""
    channels = torch.arange(x.shape[dim], device=x.device)
    return x.index_select(dim, torch.stack(channels.chunk(2), dim=-1).flatten())
