"""The parts of a transformer block: norms, attention and feed-forward."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from longctx.attention import KVCache, Mixer, MixerConfig, OfALayer, attend, build_mixer
from longctx.model import fused
from longctx.model.config import ModelConfig
from longctx.positions import PositionEncoding, build_position


def norm(config: ModelConfig) -> nn.Module:
    """LayerNorm (Ba et al., 2016) or RMSNorm (Zhang & Sennrich, 2019) over the residual stream."""
    if config.norm == "rmsnorm":
        return nn.RMSNorm(config.d_model, eps=config.norm_eps)
    return nn.LayerNorm(config.d_model, eps=config.norm_eps, bias=config.bias)


def build_encoding(config: ModelConfig) -> PositionEncoding:
    """The position encoding of a config, for all layers or for one of them."""
    return build_position(config.position, **_sizes(config))


def _sizes(config: ModelConfig) -> dict[str, int]:
    return {name: getattr(config, name) for name in ("d_model", "n_heads", "n_kv_heads", "head_dim")}


class Attention(nn.Module):
    """Multi-head attention with shared key and value heads (MHA, GQA, MQA)."""

    def __init__(
        self, config: ModelConfig, pattern: OfALayer, position: PositionEncoding | None = None
    ) -> None:
        super().__init__()
        #: Who may look at whom, or a mixer.
        self.pattern = build_mixer(pattern, **_sizes(config)) if isinstance(pattern, MixerConfig) else pattern
        #: Channels that it keeps beside each key.
        self.kept = self.pattern.kept if isinstance(self.pattern, Mixer) else 0
        #: The layer's own encoding, if layers do not share one.
        self.position = position
        self.heads = (config.n_heads, config.n_kv_heads, config.n_kv_heads)
        self.head_dim = config.head_dim
        self.qkv = nn.Linear(config.d_model, sum(self.heads) * self.head_dim, bias=config.bias)
        self.out = nn.Linear(config.d_model, config.d_model, bias=config.bias)

    def forward(
        self,
        x: Float[Tensor, "batch length d_model"],
        position: PositionEncoding,
        positions: Int[Tensor, " length"] | None,
        cache: KVCache | None,
    ) -> Float[Tensor, "batch length d_model"]:
        """Mix the tokens of ``x``; with a cache, also with those that came before."""
        q, k, v = (
            part.unflatten(-1, (heads, self.head_dim)).transpose(1, 2)
            for part, heads in zip(
                self.qkv(x).split([heads * self.head_dim for heads in self.heads], -1),
                self.heads,
                strict=True,
            )
        )
        if self.position is not None:
            position = self.position
        k = _with(k, position.observe(x))
        if isinstance(self.pattern, Mixer):
            q, k = _with(q, self.pattern.ask(x)), _with(k, self.pattern.keep(x))
        k_pos = positions
        if cache is not None:
            k, v, k_pos = cache.append(k, v)
        y = attend(q, k, v, pattern=self.pattern, position=position, q_pos=positions, k_pos=k_pos)
        return self.out(y.transpose(1, 2).flatten(2))


def _with(heads: Tensor, further: Tensor | None) -> Tensor:
    """Queries or keys, and further channels of theirs."""
    return heads if further is None else torch.cat([heads, further.to(heads.dtype)], dim=-1)


class FeedForward(nn.Module):
    """Two linear maps with a GELU between (Hendrycks & Gimpel, 2016)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.d_model, config.d_ff, bias=config.bias)
        self.down = nn.Linear(config.d_ff, config.d_model, bias=config.bias)
        self.approximate = "tanh" if config.activation == "gelu_tanh" else "none"

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Transform every token by itself."""
        if self.approximate == "tanh" and fused.applies(x):
            weights = self.up.weight, self.up.bias, self.down.weight, self.down.bias
            return fused.gelu_feed_forward(x.flatten(0, -2), *weights).view_as(x)
        return self.down(F.gelu(self.up(x), approximate=self.approximate))


class GatedFeedForward(nn.Module):
    """SwiGLU: one projection gates another (Shazeer, 2020)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_up = nn.Linear(config.d_model, 2 * config.d_ff, bias=config.bias)
        self.down = nn.Linear(config.d_ff, config.d_model, bias=config.bias)

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Transform every token by itself."""
        gate, up = self.gate_up(x).chunk(2, -1)
        return self.down(F.silu(gate) * up)


class Block(nn.Module):
    """Pre-norm residual block: x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(
        self, config: ModelConfig, pattern: OfALayer, position: PositionEncoding | None = None
    ) -> None:
        super().__init__()
        self.attention_norm, self.feed_forward_norm = norm(config), norm(config)
        self.attention = Attention(config, pattern, position)
        self.feed_forward = (GatedFeedForward if config.activation == "swiglu" else FeedForward)(config)

    def forward(
        self,
        x: Float[Tensor, "batch length d_model"],
        position: PositionEncoding,
        positions: Int[Tensor, " length"] | None,
        cache: KVCache | None,
    ) -> Float[Tensor, "batch length d_model"]:
        """Read from the residual stream twice, and add to it twice."""
        x = x + self.attention(self.attention_norm(x), position, positions, cache)
        return x + self.feed_forward(self.feed_forward_norm(x))
