"""Sampling text from a model, one token at a time, through the key–value cache."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from longctx.attention import KVCache
from longctx.model.transformer import Transformer


@torch.no_grad()
def generate(
    model: Transformer,
    prompt: Int[Tensor, "batch prompt"],
    *,
    n_tokens: int,
    temperature: float | int = 1.0,
    top_k: int | None = None,
    seed: int = 0,
    cache: list[KVCache] | None = None,
) -> Int[Tensor, "batch total"]:
    """Continue ``prompt`` by ``n_tokens``.

    Args:
        prompt: token ids, at least one a sequence.
        temperature: 0 is greedy; 1 samples from the model's distribution.
        top_k: keep only the k likeliest tokens.
        seed: of the sampling; one uniform draw a token, inverted through the cumulative distribution, so
            that samples do not depend on the sampler of a torch version.
        cache: what the model reads and writes through, empty or with what came before the prompt, such as
            `Transformer.streaming_cache`; by default one that keeps all.

    Raises:
        ValueError: an empty prompt, a negative temperature or a non-positive count.
    """
    if prompt.shape[1] == 0:
        raise ValueError("prompt must hold at least one token a sequence")
    if n_tokens < 1 or temperature < 0 or (top_k is not None and top_k < 1):
        raise ValueError(
            f"n_tokens ≥ 1, temperature ≥ 0 and top_k ≥ 1 are needed; "
            f"given n_tokens={n_tokens}, temperature={temperature}, top_k={top_k}"
        )
    random = np.random.default_rng(seed)
    if cache is None:
        cache = model.new_cache(prompt.shape[0], prompt.shape[1] + n_tokens)
    tokens, step = prompt, prompt
    for _ in range(n_tokens):
        logits = model.head(read(model, step, cache)[:, -1]).float()
        uniform = torch.from_numpy(random.random((len(prompt), 1))).to(logits.device)
        step = _draw(logits, temperature, top_k, uniform)
        tokens = torch.cat([tokens, step], 1)
    return tokens


@torch.no_grad()
def read(
    model: Transformer, tokens: Int[Tensor, "batch length"], cache: list[KVCache]
) -> Float[Tensor, "batch length d_model"]:
    """The states after the last block of tokens read through a cache, as many at a time as it takes."""
    states, at = [], 0
    while at < tokens.shape[1]:
        piece = tokens[:, at : at + max(1, cache[0].room)]
        states.append(model.hidden(piece, cache=cache))
        at += piece.shape[1]
    return torch.cat(states, 1)


def _draw(logits: Tensor, temperature: float | int, top_k: int | None, uniform: Tensor) -> Tensor:
    if temperature == 0:
        return logits.argmax(-1, keepdim=True)
    if top_k is not None and top_k < logits.shape[-1]:
        smallest_kept = logits.topk(top_k).values[:, -1:]
        logits = logits.masked_fill(logits < smallest_kept, float("-inf"))
    cumulative = (logits.double() / temperature).softmax(-1).cumsum(-1)
    return (cumulative < uniform * cumulative[:, -1:]).sum(-1, keepdim=True)
