"""The streaming cache: what it keeps, where that stands, and that it never grows."""

import pytest
import torch

from longctx.attention import StreamingCache


def numbered(first, n=1):
    """Keys whose content is the number of their token."""
    return torch.arange(first, first + n).float().reshape(1, 1, n, 1).expand(1, 1, n, 2)


def streamed(tokens, **how):
    cache, found = StreamingCache(1, 1, 2, **how), []
    for t in range(tokens):
        keys, values, positions = cache.append(numbered(t), -numbered(t))
        assert torch.equal(keys, -values)
        found.append((keys[0, 0, :, 0].long().tolist(), positions.tolist()))
    return cache, found


@pytest.mark.parametrize("sinks", [0, 1, 3])
@pytest.mark.parametrize("window", [1, 4])
@pytest.mark.parametrize("where", ["cache", "text"])
def test_kept_are_the_first_and_the_last_in_their_order_and_nothing_else(sinks, window, where):
    _, found = streamed(15, window=window, sinks=sinks, positions=where)
    for t, (kept, positions) in enumerate(found):
        expected = [j for j in range(t + 1) if j < sinks or t - j < window]
        assert kept == expected
        assert positions == (list(range(len(expected))) if where == "cache" else expected)


@pytest.mark.parametrize("where", ["cache", "text"])
def test_the_next_position_is_where_the_next_token_is_put(where):
    cache, k = StreamingCache(1, 1, 2, window=3, sinks=2, positions=where), numbered(0)
    for _ in range(12):
        announced = cache.next_position
        _, _, positions = cache.append(k, k)
        assert announced == positions[-1]


def test_ten_thousand_tokens_pass_through_the_same_260_slots():
    cache, k = StreamingCache(1, 1, 2, window=256, sinks=4), numbered(0)
    places, numbers = {cache.append(k, k)[0].data_ptr()}, cache.numbers
    for t in range(1, 10_000):
        keys, _, _ = cache.append(torch.full_like(k, t % 1000), k)
    places.add(keys.data_ptr())
    assert keys.shape[2] == cache.length == cache.max_length == 260
    assert len(places) == 1
    assert cache.numbers == numbers == 260 * 4
    assert keys[0, 0, [0, 1, 3, 4, -1], 0].tolist() == [0, 1, 3, 744, 999]


def test_several_tokens_are_taken_together_only_while_nothing_has_to_leave():
    cache = StreamingCache(1, 1, 2, window=3, sinks=2)
    cache.append(numbered(0, 4), numbered(0, 4))
    assert cache.room == 1
    with pytest.raises(ValueError, match="2 tokens together, but there is room for 1"):
        cache.append(numbered(4, 2), numbered(4, 2))
    cache.append(numbered(4), numbered(4))
    assert cache.room == 1  # one at a time, for ever
    keys, _, _ = cache.append(numbered(5), numbered(5))
    assert keys[0, 0, :, 0].tolist() == [0, 1, 3, 4, 5]


def test_what_does_not_fit_evicts_nothing():
    cache, _ = streamed(9, window=3, sinks=2)
    with pytest.raises(ValueError, match="the cache holds"):
        cache.append(torch.zeros(1, 2, 1, 2), torch.zeros(1, 2, 1, 2))
    keys, _, _ = cache.append(numbered(9), numbered(9))
    assert keys[0, 0, :, 0].tolist() == [0, 1, 7, 8, 9]


def test_what_was_evicted_does_not_come_back_by_truncation():
    cache, _ = streamed(5, window=3, sinks=2)
    cache.truncate(1)
    assert cache.length == cache.next_position == 1
    cache, _ = streamed(6, window=3, sinks=2)
    with pytest.raises(ValueError, match="1 tokens were evicted"):
        cache.truncate(4)


def test_sizes_that_keep_nothing_and_unknown_positions_are_refused(unchecked_shapes):
    for how in ({"window": 0}, {"window": 2, "sinks": -1}):
        with pytest.raises(ValueError, match="window ≥ 1 and sinks ≥ 0"):
            StreamingCache(1, 1, 2, **how)
    with pytest.raises(ValueError, match="cache or text"):
        StreamingCache(1, 1, 2, window=2, positions="original")
