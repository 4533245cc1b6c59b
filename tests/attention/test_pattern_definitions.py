"""Every fixed pattern is what its paper says, pair by pair."""

import math

import pytest
import torch

from longctx.attention import PATTERNS, attend, build_pattern, list_patterns

LENGTH = 61


def is_power_of_two(n):
    return n > 0 and math.log2(n).is_integer()


#: A pattern, and whether query i may look at key j, as the paper's text has it.
DEFINITIONS = {
    "dilated_window(window=4, dilation=3)": lambda i, j: j in (i, i - 3, i - 6, i - 9),
    "dilated_window(window=3, dilation=5, causal=False)": lambda i, j: j - i in (-10, -5, 0, 5, 10),
    "strided(stride=7)": lambda i, j: j <= i and (i - j < 7 or (i - j) % 7 == 0),
    "strided(stride=7, causal=False)": lambda i, j: abs(i - j) < 7 or (i - j) % 7 == 0,
    # Sparse Transformer, section 4.2: floor(j/l) = floor(i/l), or j mod l in {l − c, …, l − 1}.
    "fixed(stride=8, summary=2)": lambda i, j: j <= i and (j // 8 == i // 8 or j % 8 in (6, 7)),
    "fixed(stride=8, causal=False)": lambda i, j: j // 8 == i // 8 or j % 8 == 7,
    "logsparse": lambda i, j: i == j or is_power_of_two(i - j),
    "logsparse(window=6)": lambda i, j: 0 <= i - j < 6 or is_power_of_two(i - j),
    "sinks(window=5, sinks=3)": lambda i, j: j <= i and (i - j < 5 or j in (0, 1, 2)),
    "longformer(window=4, global_positions=(0, 20))": lambda i, j: (
        j <= i and (i - j < 4 or i in (0, 20) or j in (0, 20))
    ),
    "longformer(window=4, global_positions=(20,), causal=False)": lambda i, j: abs(i - j) < 4 or 20 in (i, j),
    "longnet(segments=(6, 30), dilations=(1, 5))": lambda i, j: (
        j <= i and (i // 6 == j // 6 or (i // 30 == j // 30 and i % 5 == j % 5))
    ),
    "prefix_lm(prefix=9)": lambda i, j: j <= i or j < 9,
    "documents(starts=(10, 11, 40))": lambda i, j: j <= i and not any(j < s <= i for s in (10, 11, 40)),
    "documents(starts=(30,), causal=False)": lambda i, j: (i < 30) == (j < 30),
    "vertical_slash(window=2, verticals=(5, 9), slashes=(12, 31))": lambda i, j: (
        j <= i and (i - j in (0, 1, 12, 31) or j in (5, 9))
    ),
}


@pytest.mark.parametrize("spec", DEFINITIONS)
def test_a_pattern_is_what_its_paper_says(spec):
    allowed = build_pattern(spec).allows(torch.arange(LENGTH), torch.arange(LENGTH))
    expected = [[DEFINITIONS[spec](i, j) for j in range(LENGTH)] for i in range(LENGTH)]
    assert allowed.tolist() == expected


@pytest.mark.parametrize("causal", [True, False])
def test_bigbird_is_a_window_global_blocks_and_as_many_random_ones(causal):
    pattern = build_pattern(
        {"name": "bigbird", "block_size": 4, "random_blocks": 3, "length": 160, "causal": causal}
    )
    seen = pattern.allows(torch.arange(160), torch.arange(160))
    if causal:
        assert not seen.triu(1).any()
    blocks = seen.view(40, 4, 40, 4).any(3).any(1)
    assert blocks[:, 0].all()
    assert blocks[0].all() or causal
    for b in range(1, 40):
        near = {x for x in (b - 1, b, b + 1) if x < 40 and not (causal and x > b)}
        drawn = set(blocks[b].nonzero()[:, 0].tolist()) - near - {0}
        possible = set(range(1, b if causal else 40)) - near
        assert drawn <= possible
        assert len(drawn) == min(3, len(possible))
    within = seen.view(40, 4, 40, 4)[30, :, 7]
    assert within.all() or not within.any(), "all or none of a block is seen"


def test_bigbird_draws_from_the_whole_length_by_its_seed():
    fields = {"name": "bigbird", "block_size": 1, "random_blocks": 2, "length": 400, "global_blocks": ()}
    tables = [
        build_pattern({**fields, "seed": seed}).allows(torch.arange(400), torch.arange(400))
        for seed in (0, 0, 1)
    ]
    assert torch.equal(tables[0], tables[1])
    assert not torch.equal(tables[0], tables[2])
    distances = torch.cat([399 - row.nonzero()[:, 0] for row in tables[0][399:]])
    assert len(distances) == 4
    rows, columns = tables[0].nonzero(as_tuple=True)
    share = (columns / rows.clamp(min=1))[(rows > 200) & (rows - columns > 1)]
    assert share.mean().item() == pytest.approx(0.5, abs=0.05), "uniform over what lies before"


def test_bigbird_refuses_positions_beyond_its_length():
    x = torch.zeros(1, 1, 65, 4)
    with pytest.raises(ValueError, match=r"is defined for 64 positions; got a token at position 64"):
        attend(x, x, x, pattern="bigbird(block_size=8, length=64)")
    with pytest.raises(ValueError, match="is defined for 64 positions"):
        attend(x, x, x, pattern="sliding_window(window=3) | bigbird(block_size=8, length=64)")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("fixed(stride=4, summary=5)", "summary must not exceed stride=4, given 5"),
        ("longnet(segments=(8, 16), dilations=(1,))", r"as many as segments, 2; given \(1,\)"),
        ("longnet(segments=(8, 15), dilations=(1, 4))", r"must divide its segment.*\(15, 4\)"),
        ("bigbird(window_blocks=4)", "window_blocks must be odd, given 4"),
        (
            "bigbird(block_size=8, length=64, global_blocks=(8,))",
            r"global_blocks must lie in -8 … 7, given \(8,\)",
        ),
        ("documents(starts=(9, 7))", r"starts must increase, given \(9, 7\)"),
        ("prefix_lm(prefix=3, causal=True)", "causal"),
        ("longformer(window=3, global_positions=())", "global_positions"),
    ],
)
def test_impossible_parameters_are_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        build_pattern(spec)


@pytest.mark.parametrize(
    "spec", [str(config) for name in list_patterns() for config in PATTERNS.examples(name)]
)
def test_the_stated_cost_is_that_of_the_predicate(spec):
    """Within 15 percent or a key, much farther than the examples reach; or in words, without a formula."""
    pattern = build_pattern(spec)
    length = pattern.max_length or 1024
    if pattern.name in ("both", "either", "documents"):
        assert not set(pattern.cost) & set("*/+")
    elif pattern.causal or pattern.name == "prefix_lm":
        names = {**pattern.model_dump(), "L": length, "len": len, "sum": sum, "zip": zip, "log2": math.log2}
        places = torch.arange(length)
        counted = pattern.allows(places, places).sum().item() / length
        stated = eval(pattern.cost.removeprefix("at most "), names)
        if pattern.cost.startswith("at most"):
            assert counted <= stated <= 2 * counted
        else:
            assert stated == pytest.approx(counted, rel=0.15, abs=1)
