"""The search for LongRoPE's factors (Ding et al., 2024, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from pydantic import PositiveInt, validate_call

from longctx.positions.scaling.base import Scaling, unscaled
from longctx.positions.scaling.linear import Linear
from longctx.positions.scaling.ntk import NTK
from longctx.positions.scaling.ntk_by_parts import NTKByParts

#: A factor for each pair of channels, from the fastest to the slowest.
Factors = tuple[float, ...]
#: Factors are tried up to so many times that of the context, as the paper does.
BEYOND = 1.25
#: Factors are multiples of this.
GRAIN = 0.01


@dataclass(frozen=True)
class Found:
    """What a search found, and the way there."""

    factors: Factors
    loss: float
    #: The lowest loss so far after the known methods and after each generation.
    best: tuple[float, ...]
    #: How many factors were tried.
    tried: int


@validate_call
def search_factors(
    loss: Callable[[Factors], float],
    *,
    dim: PositiveInt,
    factor: float,
    original_max_position_embeddings: PositiveInt,
    seed: int,
    base: float = 10_000.0,
    generations: PositiveInt = 8,
    population: PositiveInt = 16,
    parents: PositiveInt = 6,
    mutation: float = 0.3,
) -> Found:
    """Evolve factors that make ``loss`` small: start from linear, NTK and NTK-by-parts, mutate and cross.

    Slower pairs are never stretched less than faster ones, and none is squeezed; each set of factors is tried
    once. The loss is that of a trained model on long text, with `longrope(long_factor=…)`; this function
    knows nothing of models. (The paper also searches for a number of first tokens that stay as they are.)

    Args:
        loss: of a factor for each of the ``dim // 2`` pairs; lower is better.
        dim: channels that turn.
        factor: how many times the trained context is to be read.
        original_max_position_embeddings: the trained context.
        seed: of the random choices; the same seed gives the same search.
        base: of the rotation.
        generations: rounds of mutation and crossing.
        population: new sets of factors in a generation.
        parents: the best so far, from which they descend.
        mutation: share of the pairs that a mutation changes.

    Raises:
        ValueError: a number out of its range.
    """
    if factor <= 1 or not 0 < mutation <= 1 or dim % 2:
        raise ValueError(
            f"factor must exceed 1, mutation lie in (0, 1] and dim be even; got {factor}, {mutation}, {dim}"
        )
    generator = torch.Generator().manual_seed(seed)
    known: list[Scaling] = [
        Linear(factor=factor),
        NTK(factor=factor),
        NTKByParts(factor=factor, original_max_position_embeddings=original_max_position_embeddings),
    ]
    tried: dict[Factors, float] = {}

    def attempt(raw: torch.Tensor) -> None:
        rising = raw.clamp(1.0, BEYOND * factor).cummax(0).values
        factors = tuple(round(round(x / GRAIN) * GRAIN, 6) for x in rising.tolist())
        if factors not in tried:
            tried[factors] = loss(factors)

    for scaling in known:
        attempt(unscaled(base, dim) / scaling.frequencies(base, dim))
    best = [min(tried.values())]
    for _ in range(generations):
        elite = [torch.tensor(f, dtype=torch.float64) for f in sorted(tried, key=tried.__getitem__)[:parents]]
        for child in range(population):
            a, b = (int(i) for i in torch.randint(len(elite), (2,), generator=generator))
            draw = torch.rand(3, dim // 2, generator=generator, dtype=torch.float64)
            if child % 2:
                attempt(torch.where(draw[0] < 0.5, elite[a], elite[b]))
            else:
                fresh = 1 + draw[1] * (BEYOND * factor - 1)
                attempt(torch.where(draw[0] < mutation, fresh, elite[a]))
        best.append(min(tried.values()))
    factors = min(tried, key=tried.__getitem__)
    return Found(factors, tried[factors], tuple(best), len(tried))
