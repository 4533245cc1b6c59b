"""The key–value cache: what goes in comes out, in place, and no more than fits."""

import pytest
import torch

from longctx.attention import KVCache


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_keys_come_out_unrotated_and_without_a_copy():
    cache, k, v = KVCache(2, 3, 10, 4), random(2, 3, 7, 4), random(2, 3, 7, 4)
    cache.append(k[:, :, :5], v[:, :, :5])
    first, _, _ = cache.append(k[:, :, 5:6], v[:, :, 5:6])
    keys, values, positions = cache.append(k[:, :, 6:], v[:, :, 6:])
    assert torch.equal(keys, k)
    assert torch.equal(values, v)
    assert positions.tolist() == list(range(7))
    assert keys.data_ptr() == first.data_ptr()
    assert cache.length == 7
    assert cache.max_length == 10


def test_a_full_cache_refuses_and_keeps_what_it_has():
    cache, k = KVCache(1, 1, 3, 4), random(1, 1, 2, 4)
    cache.append(k, k)
    with pytest.raises(ValueError, match="full: max_length=3, 2 held, 2 more"):
        cache.append(k, k)
    assert cache.length == 2
    cache.append(k[:, :, :1], k[:, :, :1])


def test_truncation_forgets_the_end():
    cache, k = KVCache(1, 1, 4, 2), random(1, 1, 4, 2)
    cache.append(k, k)
    cache.truncate(1)
    keys, _, positions = cache.append(k[:, :, 3:], k[:, :, 3:])
    assert torch.equal(keys, k[:, :, [0, 3]])
    assert positions.tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"0 … 2, got 3"):
        cache.truncate(3)


def test_gradients_are_refused_rather_than_lost():
    cache, k = KVCache(1, 1, 4, 2), random(1, 1, 1, 2).requires_grad_()
    with pytest.raises(ValueError, match="no gradient"):
        cache.append(k, k)
    with torch.no_grad():
        cache.append(k, k)


@pytest.mark.parametrize("shape", [(2, 1, 1, 2), (1, 2, 1, 2), (1, 1, 1, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="the cache holds"):
        KVCache(1, 1, 4, 2).append(torch.zeros(shape), torch.zeros(shape))


def test_sizes_below_one_are_refused():
    with pytest.raises(ValueError, match="below 1"):
        KVCache(1, 1, 0, 2)
