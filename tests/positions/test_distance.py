"""A function of distance is evaluated once for each distance, not for each pair."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx.positions.distance import by_distance, distances

runs = st.tuples(st.integers(0, 50), st.integers(1, 3), st.integers(1, 7)).map(
    lambda run: torch.arange(run[0], run[0] + run[1] * run[2], run[1])
)
scattered = st.lists(st.integers(0, 10**6), min_size=1, max_size=6).map(torch.tensor)
vectors = st.one_of(runs, scattered)


class Counted:
    """Two heads of a function of distance, and how many distances it was asked for."""

    def __init__(self):
        self.asked = 0

    def __call__(self, apart):
        self.asked += len(apart)
        return torch.stack([apart * 3.0, apart**2 + 1.0], dim=-1)


def pairs(q_pos, k_pos):
    return Counted()(q_pos[:, None] - k_pos[None, :]).movedim(-1, 0)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(q_pos=vectors, k_pos=vectors)
def test_every_pair_gets_the_value_of_its_distance(q_pos, k_pos):
    function = Counted()
    assert torch.equal(by_distance(function, q_pos, k_pos), pairs(q_pos, k_pos))
    assert function.asked <= len(q_pos) * len(k_pos)


@pytest.mark.parametrize(("queries", "keys", "start"), [(64, 64, 0), (1, 64, 63), (16, 48, 5), (5, 1, 3)])
def test_neighbours_ask_for_as_many_distances_as_there_are(queries, keys, start):
    function = Counted()
    q_pos, k_pos = torch.arange(start, start + queries), torch.arange(2, keys + 2)
    assert torch.equal(by_distance(function, q_pos, k_pos), pairs(q_pos, k_pos))
    assert function.asked == queries + keys - 1


def test_blocks_have_distances_of_their_own():
    q_pos = torch.arange(12).view(3, 4)
    k_pos = q_pos - torch.tensor([[0], [4], [2]])
    found = by_distance(Counted(), q_pos, k_pos)
    assert torch.equal(found, torch.stack([pairs(q, k) for q, k in zip(q_pos, k_pos, strict=True)]))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(q_pos=vectors, k_pos=vectors)
def test_distances_hold_each_that_occurs_and_an_index_to_it(q_pos, k_pos):
    apart = q_pos[:, None] - k_pos[None, :]
    found, index = distances(q_pos, k_pos)
    assert torch.equal(found[index], apart)
    assert len(found) <= apart.numel()
    assert torch.equal(found, found.unique())
    assert (found[0], found[-1]) == (apart.min(), apart.max())


def test_a_gap_is_not_filled_if_there_are_fewer_pairs_than_distances():
    found, _ = distances(torch.tensor([0, 2]), torch.tensor([0]))
    assert found.tolist() == [0, 2]
