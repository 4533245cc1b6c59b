"""T5's relative position bias (Raffel et al., 2020, section 2.1)."""

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from longctx.positions.base import PositionConfig, PositionEncoding, register
from longctx.positions.distance import by_distance


class T5Config(PositionConfig):
    name: Literal["t5"] = "t5"
    #: Learned scalars a head: half for single distances, half for ranges that widen geometrically.
    num_buckets: int = Field(32, ge=4, multiple_of=4)
    #: Where the widening ranges would end; the last of them is open, and all larger distances fall into it.
    max_distance: int = Field(128, ge=2)
    #: Half of the buckets for keys to the right, as in an encoder; otherwise those share bucket 0.
    bidirectional: bool = Field(False, examples=[False, True])

    @model_validator(mode="after")
    def _buckets_fit(self) -> "T5Config":
        if self.max_distance <= self.exact:
            raise ValueError(
                f"max_distance must exceed the {self.exact} distances with a bucket of their own"
            )
        return self

    @property
    def one_sided(self) -> int:
        """Buckets for distances of one sign."""
        return self.num_buckets // 2 if self.bidirectional else self.num_buckets

    @property
    def exact(self) -> int:
        """Distances with a bucket of their own."""
        return self.one_sided // 2


@register(T5Config, source="https://arxiv.org/abs/1910.10683")
class T5(PositionEncoding):
    r"""Add a learned scalar for each head and each bucket of distances.

    With :math:`e` exact buckets of :math:`n`, and distances up to :math:`m`, a distance
    :math:`d = i - j \ge e` falls into

    .. math:: e + \left\lfloor \frac{\ln(d/e)}{\ln(m/e)}\,(n - e) \right\rfloor,

    at most :math:`n - 1`. All distances beyond :math:`m` look alike: that is why it bears longer contexts,
    and why it does not tell their parts from one another. All layers share the scalars.
    """

    kind = "bias"
    shift_invariant = True

    def __init__(self, config: T5Config, *, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.config, self.d_model = config, d_model
        self.weight = nn.Parameter(torch.empty(config.num_buckets, n_heads))
        self.reset_parameters(torch.Generator().manual_seed(0))

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw the scalars with standard deviation 1/√d_model, as T5 does."""
        with torch.no_grad():
            self.weight.normal_(0.0, self.d_model**-0.5, generator=generator)

    def bias(
        self, q_pos: Int[Tensor, "*blocks queries"], k_pos: Int[Tensor, "*blocks keys"]
    ) -> Float[Tensor, "*blocks heads queries keys"]:
        return by_distance(
            lambda apart: nn.functional.embedding(self.bucket(apart), self.weight), q_pos, k_pos
        )

    def bucket(self, distance: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """The bucket of each distance i − j; it is negative where the key is to the right."""
        n, exact = self.config.one_sided, self.config.exact
        size = distance.abs() if self.config.bidirectional else distance.clamp(min=0)
        share = (size.clamp(min=1).double() / exact).log() / math.log(self.config.max_distance / exact)
        wide = (exact + (share * (n - exact)).long()).clamp(max=n - 1)
        bucket = torch.where(size < exact, size, wide)
        return torch.where(distance < 0, bucket + n, bucket) if self.config.bidirectional else bucket
