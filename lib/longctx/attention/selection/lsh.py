"""LSH attention (Kitaev et al., 2020, "Reformer", section 2)."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor

from longctx.attention.mixer import MixerConfig, register_mixer
from longctx.attention.selection.buckets import BucketSelection


class LSHConfig(MixerConfig):
    name: Literal["lsh"] = "lsh"
    #: Buckets of each hash, two for every direction that is drawn.
    buckets: Annotated[PositiveInt, Field(multiple_of=2)] = Field(16, examples=[4])
    #: Keys of its bucket that a query sees, for each hash.
    window: PositiveInt = Field(64, examples=[5])
    #: Rounds of hashing; a query sees what it meets in any of them.
    hashes: PositiveInt = Field(1, examples=[1, 3])
    #: Where the random directions come from.
    seed: NonNegativeInt = 0


@register_mixer(LSHConfig, source="https://arxiv.org/abs/2001.04451")
class LSH(BucketSelection):
    r"""Attend to the last keys that share the query's bucket under locality-sensitive hashing.

    .. math:: h(x) = \operatorname{argmax}\, [xR; -xR], \qquad R_{ab} \sim \mathcal{N}(0, 1)

    A query and a key share a bucket the more often, the smaller the angle between them. This is the paper's
    equation 4, :math:`h(k_j) = h(q_i)`, with queries and keys of their own. The paper then shares them,
    k = q/‖q‖, so that its chunks hold as many queries as keys, and so has to keep tokens from seeing
    themselves; here rows follow the queries, however many a bucket has. The paper's chunks cut buckets at
    places that depend on later tokens; here a query sees the last ``window`` keys of its bucket, whatever
    comes later. R is drawn once, from the seed, and is the same in all layers.
    """

    def __init__(self, config: LSHConfig) -> None:
        super().__init__()
        self.config = config
        self.window = config.window

    def buckets(
        self, x: Float[Tensor, "batch kv_heads length channels"]
    ) -> Int[Tensor, "batch kv_heads hashes length"]:
        one = self.config
        directions = _directions(x.shape[1], one.hashes, x.shape[3], one.buckets // 2, one.seed)
        turned = x[:, :, None] @ directions.to(x)
        return torch.cat([turned, -turned], dim=-1).argmax(-1)


@lru_cache(maxsize=64)
def _directions(
    heads: int, hashes: int, channels: int, n: int, seed: int
) -> Float[Tensor, "heads hashes channels n"]:
    with torch.inference_mode(False):
        return torch.randn(heads, hashes, channels, n, generator=torch.Generator().manual_seed(seed))
