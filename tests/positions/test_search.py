"""The search for LongRoPE's factors, on losses whose best factors are known."""

import pytest
import torch

from longctx.positions.scaling import build_scaling
from longctx.positions.scaling.search import BEYOND, search_factors

TARGET = (1.0, 1.0, 1.3, 2.0, 2.5, 4.0, 4.2, 4.6)
SETUP = {"dim": 16, "factor": 4.0, "original_max_position_embeddings": 128}


def distance(factors):
    return sum((a - b) ** 2 for a, b in zip(factors, TARGET, strict=True))


def of(spec):
    own = 10_000.0 ** -(torch.arange(0, 16, 2, dtype=torch.float64) / 16)
    return (own / build_scaling(spec).frequencies(10_000.0, 16)).tolist()


def test_it_beats_the_methods_it_starts_from_and_comes_close():
    found = search_factors(distance, **SETUP, seed=0, generations=30)
    starts = [
        distance(of(spec))
        for spec in (
            "linear(factor=4)",
            "ntk(factor=4)",
            "ntk_by_parts(factor=4, original_max_position_embeddings=128)",
        )
    ]
    assert found.best[0] == pytest.approx(min(starts), abs=0.05)  # factors are rounded to 0.01
    assert found.loss < 0.1 * min(starts)
    assert found.loss == pytest.approx(distance(found.factors))
    assert list(found.best) == sorted(found.best, reverse=True)
    assert found.best[-1] == found.loss
    assert len(found.best) == 31


def test_what_it_tries_is_in_range_in_order_and_new():
    seen = []
    found = search_factors(
        lambda factors: seen.append(factors) or -sum(factors), **SETUP, seed=1, generations=5, population=9
    )
    assert len(seen) == len(set(seen)) == found.tried <= 3 + 5 * 9
    for factors in seen:
        assert len(factors) == 8
        assert list(factors) == sorted(factors)
        assert 1.0 <= factors[0] <= factors[-1] <= BEYOND * 4.0
    assert found.factors[-1] > 4.0  # beyond the factor itself, as the paper allows


def test_the_seed_decides():
    a, b, c = (search_factors(distance, **SETUP, seed=s, generations=3) for s in (2, 2, 3))
    assert a == b
    assert a.factors != c.factors


def test_the_factors_are_those_of_longrope():
    found = search_factors(distance, **SETUP, seed=0, generations=1)
    scaling = build_scaling(
        {"name": "longrope", "long_factor": found.factors, "original_max_position_embeddings": 128}
    )
    own = 10_000.0 ** -(torch.arange(0, 16, 2, dtype=torch.float64) / 16)
    expected = own / torch.tensor(found.factors, dtype=torch.float64)
    torch.testing.assert_close(scaling.frequencies(10_000.0, 16, length=512), expected)


@pytest.mark.parametrize(
    ("field", "value"), [("factor", 1.0), ("mutation", 0.0), ("dim", 15), ("generations", 0), ("parents", -1)]
)
def test_impossible_searches_are_refused(field, value):
    with pytest.raises(ValueError, match=str(field)):
        search_factors(distance, **{**SETUP, "seed": 0, field: value})
