"""The decoder stack, built from a config."""

from __future__ import annotations

import math
import zlib
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from longctx.attention import ByLayer, KVCache, Mixer, StreamingCache, build_attention
from longctx.model.config import ModelConfig
from longctx.model.layers import Block, build_encoding, norm
from longctx.positions import PositionEncoding


class Transformer(nn.Module):
    """Token embedding, a stack of pre-norm blocks, a final norm and an output head."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        attention = build_attention(config.attention)
        position = build_encoding(config)
        #: What all layers share; an encoding of which each layer has its own leaves nothing here.
        self.position = PositionEncoding() if position.per_layer else position
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        blocks = [
            Block(
                config,
                attention.at_layer(layer) if isinstance(attention, ByLayer) else attention,
                build_encoding(config) if position.per_layer else None,
            )
            for layer in range(config.n_layers)
        ]
        self.blocks = nn.ModuleList(blocks)
        #: Channels that each layer keeps beside its keys.
        self.observed = [position.observed + block.attention.kept for block in blocks]
        self.final_norm = norm(config)
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if config.tie_embeddings:
            self.head.weight = self.embedding.weight

    def hidden(
        self,
        tokens: Int[Tensor, "batch length"],
        positions: Int[Tensor, " length"] | None = None,
        cache: list[KVCache] | None = None,
    ) -> Float[Tensor, "batch length d_model"]:
        """The normed residual stream after the last block.

        Args:
            tokens: token ids.
            positions: where the tokens stand; by default 0, 1, …, or after those in the cache.
            cache: one for each layer; they are extended by the keys and values of ``tokens``.

        Raises:
            ValueError: both positions and a cache, which knows its own.
        """
        if cache is not None:
            if positions is not None:
                raise ValueError(
                    "give positions or a cache, not both: a cache knows where the next token stands"
                )
            start = cache[0].next_position
            positions = torch.arange(start, start + tokens.shape[1], device=tokens.device)
        x = self.embedding(tokens)
        where = torch.arange(tokens.shape[1], device=tokens.device) if positions is None else positions
        if (added := self.position.embed(where)) is not None:
            x = x + added.to(x.dtype)
        caches = cache if cache is not None else [None] * len(self.blocks)
        for block, layer_cache in zip(self.blocks, caches, strict=True):
            x = block(x, self.position, positions, layer_cache)
        return self.final_norm(x)

    def forward(
        self,
        tokens: Int[Tensor, "batch length"],
        positions: Int[Tensor, " length"] | None = None,
        cache: list[KVCache] | None = None,
    ) -> Float[Tensor, "batch length vocab"]:
        """Logits of the next token, at every position."""
        return self.head(self.hidden(tokens, positions, cache))

    def new_cache(self, batch: int, max_length: int) -> list[KVCache]:
        """An empty cache for each layer, for ``batch`` sequences of at most ``max_length`` tokens."""
        sizes = batch, self.config.n_kv_heads, max_length, self.config.head_dim
        return [KVCache(*sizes, observed=observed, **self._as_weights()) for observed in self.observed]

    def streaming_cache(
        self, batch: int, *, window: int, sinks: int = 4, positions: Literal["cache", "text"] = "cache"
    ) -> list[KVCache]:
        """A cache for each layer that keeps the first ``sinks`` tokens and the last ``window``.

        Raises:
            ValueError: sizes that `StreamingCache` refuses; or positions in the cache for an encoding that is
                added to the tokens, and so stays in their keys wherever they move.
        """
        if positions == "cache" and self.position.kind == "additive":
            raise ValueError(
                f"positions: {self.config.position} is added to the tokens before keys are made, so that "
                'they cannot move in the cache; give positions="text"'
            )
        sizes = batch, self.config.n_kv_heads, self.config.head_dim
        how = {"window": window, "sinks": sinks, "positions": positions, **self._as_weights()}
        return [StreamingCache(*sizes, observed=observed, **how) for observed in self.observed]

    def _as_weights(self) -> dict[str, Any]:
        return {"dtype": self.embedding.weight.dtype, "device": self.embedding.weight.device}

    def n_parameters(self) -> int:
        """Trainable numbers; a tied embedding counts once."""
        return sum(p.numel() for p in self.parameters())


def build_model(config: ModelConfig, *, seed: int = 0) -> Transformer:
    """A freshly initialised model; the same config and seed give the same weights.

    Weights are N(0, init_std²), those that write to the residual stream divided by √(2 n_layers), so that
    its variance does not grow with depth (Radford et al., 2019, section 2.3); biases are 0, gains 1.
    """
    with torch.random.fork_rng(devices=[]):  # the layers' own initialisation draws from the global generator
        torch.manual_seed(seed)
        model = Transformer(config)
    residual_std = config.init_std / math.sqrt(2 * config.n_layers)
    for name, module in model.named_modules():
        # A stream for each name: models that differ in one part share the start of all others. The
        # generator reads only 32 bits of its seed, hence the hash.
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
        if isinstance(module, PositionEncoding | Mixer):
            module.reset_parameters(generator)
        elif isinstance(module, nn.Linear | nn.Embedding) and "position." not in name:
            if not (module is model.head and config.tie_embeddings):
                writes = name.endswith((".attention.out", ".feed_forward.down"))
                std = residual_std if writes else config.init_std
                nn.init.normal_(module.weight, std=std, generator=generator)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
    return model
