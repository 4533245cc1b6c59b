"""What must hold for every registered pattern."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx.attention import PATTERNS, build_pattern, list_patterns
from longctx.attention.patterns.combinators import Both
from longctx.attention.patterns.full import Full
from longctx.attention.patterns.sliding_window import SlidingWindow

SPECS = [str(config) for name in list_patterns() for config in PATTERNS.examples(name)]
quick = settings(max_examples=25, deadline=None, derandomize=True)
positions_vectors = st.lists(st.integers(0, 300), min_size=1, max_size=12).map(torch.tensor)


@pytest.mark.parametrize("spec", SPECS)
@given(n_blocks=st.integers(1, 7), block=st.integers(1, 50))
@quick
def test_neighbours_cover_the_predicate_and_nothing_else(spec, n_blocks, block):
    pattern, positions = build_pattern(spec), torch.arange(n_blocks * block)
    allowed = pattern.allows(positions, positions).view(n_blocks, block, n_blocks, block).any(3).any(1)
    touched = pattern.touched(n_blocks, block)
    assert len(touched) == n_blocks
    for row, keys in enumerate(touched):
        needed = allowed[row].nonzero().flatten().tolist()
        assert keys.tolist() == sorted(set(keys.tolist()))
        assert set(needed) <= set(keys.tolist()), f"block {row} of {n_blocks} misses a neighbour"
        if not isinstance(pattern, Both):  # an intersection of blocks may hold no common pair
            assert keys.tolist() == needed, f"block {row} of {n_blocks} has a useless neighbour"


@pytest.mark.parametrize("spec", SPECS)
@given(length=st.integers(1, 170), block=st.integers(1, 40))
@quick
def test_parts_are_a_disjoint_union_and_their_blocks_cover_them(spec, length, block):
    pattern, everywhere = build_pattern(spec), torch.arange(length)
    seen = torch.zeros(length, length, dtype=torch.int)
    for number, part in enumerate(pattern.parts(length, block)):
        orders = [
            torch.arange(n * size) if order is None else order
            for order, size, n in (
                (part.queries, part.q_block, len(part.touched)),
                (part.keys, part.k_block, -(-length // part.k_block)),
            )
        ]
        q_blocks, k_blocks = orders[0].view(-1, part.q_block), orders[1].view(-1, part.k_block)
        assert len(q_blocks) == len(part.touched)
        covered = torch.zeros(length, length, dtype=torch.bool)
        for q_pos, keys in zip(q_blocks, part.touched, strict=True):
            q_pos = q_pos[(q_pos >= 0) & (q_pos < length)]
            k_pos = k_blocks[keys].flatten()
            k_pos = k_pos[(k_pos >= 0) & (k_pos < length)]
            covered[q_pos[:, None], k_pos] = part.allows(q_pos, k_pos)
        for order in orders:
            places = order[(order >= 0) & (order < length)]
            assert len(places) == len(places.unique()), "a position is listed twice"
        if number == 0:
            assert covered.diagonal().all(), "the first part must hold every query with itself"
        seen += covered
    assert torch.equal(seen, pattern.allows(everywhere, everywhere).int())


@pytest.mark.parametrize("spec", SPECS)
@given(positions=positions_vectors)
@quick
def test_every_query_sees_itself(spec, positions):
    assert build_pattern(spec).allows(positions, positions).diagonal().all()


@pytest.mark.parametrize("spec", SPECS)
@given(q_pos=positions_vectors, k_pos=positions_vectors)
@quick
def test_any_positions_give_a_slice_of_the_whole(spec, q_pos, k_pos):
    pattern, everywhere = build_pattern(spec), torch.arange(301)
    whole = pattern.allows(everywhere, everywhere)
    assert torch.equal(pattern.allows(q_pos, k_pos), whole[q_pos][:, k_pos])
    batched = pattern.allows(torch.stack([q_pos, q_pos]), torch.stack([k_pos, k_pos]))
    assert torch.equal(batched[1], whole[q_pos][:, k_pos])


@pytest.mark.parametrize("spec", SPECS)
def test_causal_is_the_truth(spec):
    pattern, positions = build_pattern(spec), torch.arange(200)
    sees_right = pattern.allows(positions, positions).triu(1).any()
    assert not (pattern.causal and sees_right)
    assert pattern.causal or sees_right or spec == "sliding_window(causal=False, window=1)"


@pytest.mark.parametrize("spec", SPECS)
@given(q_pos=positions_vectors, k_pos=positions_vectors, times=st.integers(1, 5))
@quick
def test_a_period_leaves_the_predicate_unchanged(spec, q_pos, k_pos, times):
    pattern = build_pattern(spec)
    if pattern.period is not None:
        shift = times * pattern.period
        assert torch.equal(pattern.allows(q_pos + shift, k_pos + shift), pattern.allows(q_pos, k_pos))


@pytest.mark.parametrize("spec", SPECS)
def test_a_pattern_survives_json_and_its_own_string(spec):
    pattern = build_pattern(spec)
    again = build_pattern(json.loads(pattern.model_dump_json()))
    assert again == pattern == build_pattern(str(pattern))
    assert hash(again) == hash(pattern)


def test_operators_mean_intersection_and_union():
    a, b = build_pattern("sliding_window(window=5)"), build_pattern("block_local(block_size=4, causal=False)")
    positions = torch.arange(23)
    A, B = a.allows(positions, positions), b.allows(positions, positions)
    assert torch.equal((a & b).allows(positions, positions), A & B)
    assert torch.equal((a | b).allows(positions, positions), A | B)
    assert (a & b).causal
    assert not (a | b).causal
    assert a & b == build_pattern("sliding_window(window=5) & block_local(block_size=4, causal=False)")
    nested = (a & b) | Full()
    assert build_pattern(json.loads(nested.model_dump_json())) == nested == build_pattern(str(nested))
    with pytest.raises(ValueError, match="causal follows from the parts"):
        build_pattern({"name": "both", "left": "full", "right": "full", "causal": False})


@pytest.mark.parametrize("window", [1, 2, 7])
def test_a_window_of_w_holds_w_keys(window):
    positions = torch.arange(30)
    assert SlidingWindow(window=window).allows(positions, positions)[20].sum() == window
    both_sides = SlidingWindow(window=window, causal=False).allows(positions, positions)
    assert both_sides[15].sum() == 2 * window - 1


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("sliding_window", "window: Field required"),
        ("sliding_window(window=0)", "window: .*greater than 0"),
        ("sliding_window(window='wide')", "window: .*given 'wide'"),
        ("block_local(window=3)", "parameters: causal, block_size"),
        ("windowed(window=3)", "unknown attention pattern 'windowed'; known: .*sliding_window"),
        ("both(left=full, right=fool)", "unknown attention pattern 'fool'"),
        ("full | ", "not of the form"),
    ],
)
def test_impossible_patterns_are_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        build_pattern(spec)
