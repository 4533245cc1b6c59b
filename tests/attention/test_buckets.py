"""What must hold for attention within buckets: hashing, clustering, and what learns from them."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.cluster.vq import kmeans2
from torch.utils.checkpoint import checkpoint
from transformers import ReformerConfig
from transformers.models.reformer.modeling_reformer import LSHSelfAttention

from longctx.attention import attend, build_mixer
from longctx.positions import build_position

HEADS, KV_HEADS, HEAD_DIM, LENGTH = 4, 2, 8, 45
SIZES = {"d_model": HEADS * HEAD_DIM, "n_heads": HEADS, "n_kv_heads": KV_HEADS, "head_dim": HEAD_DIM}


def inputs(length=LENGTH, seed=0):
    generator = torch.Generator().manual_seed(seed)
    heads = (HEADS, KV_HEADS, KV_HEADS)
    return [torch.randn(2, h, length, HEAD_DIM, generator=generator).requires_grad_() for h in heads]


def directions(hashes, buckets, seed=0):
    return torch.randn(
        KV_HEADS, hashes, HEAD_DIM, buckets // 2, generator=torch.Generator().manual_seed(seed)
    )


def last_of_the_bucket(of_query, of_keys, i, window):
    return [j for j in range(i + 1) if of_keys[j] == of_query][-window:]


def test_lsh_sees_the_last_keys_in_the_querys_bucket_of_every_hash():
    """By loops, from the paper's equations 4 and 6 and its definition of h."""
    (q, k, _), R = inputs(), directions(hashes=3, buckets=6, seed=7)
    selection = build_mixer("lsh(buckets=6, window=4, hashes=3, seed=7)", **SIZES)
    chosen = selection.chosen(q, k, torch.arange(LENGTH), torch.arange(LENGTH))

    def h(x, kv_head, r):
        along = [float(x.detach() @ R[kv_head, r, :, c]) for c in range(3)]
        signed = along + [-a for a in along]
        return signed.index(max(signed))

    for head in range(HEADS):
        kv = head // 2
        of_keys = [[h(k[1, kv, j], kv, r) for j in range(LENGTH)] for r in range(3)]
        for i in range(LENGTH):
            found = [last_of_the_bucket(h(q[1, head, i], kv, r), of_keys[r], i, 4) for r in range(3)]
            assert chosen[1, head, i].nonzero()[:, 0].tolist() == sorted({i}.union(*found))


def test_hashes_are_those_of_hugging_face_given_the_same_directions(monkeypatch):
    k, R = inputs()[1].detach(), directions(hashes=3, buckets=6)
    config = ReformerConfig(
        num_attention_heads=KV_HEADS,
        attention_head_size=HEAD_DIM,
        hidden_size=KV_HEADS * HEAD_DIM,
        num_buckets=6,
        axial_pos_embds_dim=(4, 12),
    )
    theirs = LSHSelfAttention(config)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "randn", lambda *_, **__: R.transpose(1, 2))
        numbered = theirs._hash_vectors(k, 3, None).unflatten(2, (3, LENGTH))
    ours = build_mixer("lsh(buckets=6, hashes=3)", **SIZES).buckets(k)
    assert torch.equal(ours, numbered - 6 * torch.arange(3)[:, None])


def collisions(angle, buckets, dimension, hashes=20_000):
    """How many of so many hashes put two vectors at an angle into one bucket."""
    pair = torch.zeros(1, 1, 2, dimension)
    pair[..., 0, 0], pair[..., 1, 0], pair[..., 1, 1] = 1, 3 * math.cos(angle), 3 * math.sin(angle)
    found = build_mixer(f"lsh(buckets={buckets}, hashes={hashes})", **SIZES).buckets(pair)
    return (found[..., 0] == found[..., 1]).double().mean().item()


@pytest.mark.parametrize("dimension", [2, 8])
def test_two_buckets_part_vectors_as_often_as_their_angle_says(dimension):
    """A random plane through 0 lies between them with probability θ/π."""
    for angle in (0.1, 0.5, 1.0, 2.0, 3.0):
        expected = 1 - angle / math.pi
        error = math.sqrt(expected * (1 - expected) / 20_000)
        assert collisions(angle, 2, dimension) == pytest.approx(expected, abs=4 * error)


def test_vectors_share_a_bucket_the_less_often_the_larger_their_angle():
    found = [collisions(angle, 16, dimension=8) for angle in (0.0, 0.25, 0.5, 1.0, 1.5, 2.0)]
    assert found[0] == 1
    # Twenty thousand hashes: a standard error is at most 0.0036.
    assert all(a - b > 4 * 0.0036 for a, b in pairwise(found)), found
    assert collisions(math.pi, 16, dimension=8) == 0, "opposite vectors have opposite signs everywhere"


@pytest.mark.parametrize("keys", ["spread", "all alike", "only the first"])
def test_however_queries_fall_there_are_two_rows_at_most_for_each_window_of_tokens(keys):
    """And what the rows hold is still what is chosen."""
    (q, k, v), window = inputs(length=101), 4
    with torch.no_grad():
        if keys != "spread":
            q[:], k[:] = q[:, :, :1], k[:, :1, :1]
            q[:, :2], q[:, 2:] = k[:, :1], k[:, 1:]
        if keys == "only the first":
            k[:, :, 1:] *= -1
    selection = build_mixer(f"lsh(buckets=6, window={window}, hashes=2)", **SIZES)
    for one in selection.rounds(q, k)[1:]:
        assert one.queries.shape[1:] <= (2 * -(-101 // window), window)
        assert one.keys.shape[2] == 2 * window
    y, z = (attend(q, k, v, pattern=selection, executor=e) for e in ("dense", "rounds"))
    torch.testing.assert_close(y, z, atol=1e-5, rtol=1e-5)


def normed(x):
    x = x.detach().double()
    return ((x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()).numpy()


def test_routing_sees_the_last_keys_of_the_nearest_cluster():
    """By loops, from the paper's section 4.1."""
    (q, k, _), selection = inputs(), build_mixer("routing(clusters=4, window=5)", **SIZES)
    with torch.no_grad():
        selection.centroids.mul_(torch.rand(KV_HEADS, 4, 1, generator=torch.Generator().manual_seed(3)))
    chosen = selection.chosen(q, k, torch.arange(LENGTH), torch.arange(LENGTH))

    def nearest(x, kv_head):
        mu = selection.centroids[kv_head].double().numpy()
        return min(range(4), key=lambda c: ((x - mu[c]) ** 2).sum())

    for head in range(HEADS):
        kv = head // 2
        of_keys = [nearest(x, kv) for x in normed(k[0, kv])]
        for i, x in enumerate(normed(q[0, head])):
            expected = {i, *last_of_the_bucket(nearest(x, kv), of_keys, i, 5)}
            assert chosen[0, head, i].nonzero()[:, 0].tolist() == sorted(expected)


def step(selection, tensors):
    attend(*tensors, pattern=selection).square().sum().backward()
    return selection.centroids.clone()


def test_without_decay_centroids_take_the_steps_of_k_means():
    tensors, selection = inputs(), build_mixer("routing(clusters=4, decay=0.0)", **SIZES)
    q, k = (normed(x) for x in tensors[:2])
    start = selection.centroids.double().numpy().copy()
    for steps in (1, 2, 3):
        found = step(selection, tensors).double()
        for kv in range(KV_HEADS):
            points = np.concatenate([q[:, 2 * kv : 2 * kv + 2].reshape(-1, 8), k[:, kv].reshape(-1, 8)])
            means, _ = kmeans2(points, start[kv], iter=steps, minit="matrix")
            torch.testing.assert_close(found[kv], torch.tensor(means), atol=1e-5, rtol=1e-5)


def test_centroids_move_by_one_part_in_a_thousand_and_empty_clusters_not_at_all():
    tensors, start = inputs(), build_mixer("routing(clusters=4)", **SIZES).centroids.clone()
    start[:, 0] = 100
    moved = {}
    for decay in (0.0, 0.999):
        selection = build_mixer(f"routing(clusters=4, decay={decay})", **SIZES)
        selection.centroids.copy_(start)
        moved[decay] = step(selection, tensors)
    torch.testing.assert_close(moved[0.999], 0.999 * start + 0.001 * moved[0.0])
    assert torch.equal(moved[0.999][:, 0], start[:, 0])
    assert not torch.equal(moved[0.999][:, 1:], start[:, 1:])


def test_centroids_stand_still_but_for_training():
    tensors, selection = inputs(), build_mixer("routing(clusters=4)", **SIZES)
    start = selection.centroids.clone()
    attend(*tensors, pattern=selection)
    with torch.no_grad():
        attend(*tensors, pattern=selection)
    selection.eval()
    assert torch.equal(step(selection, tensors), start)
    assert not torch.equal(step(selection.train(), tensors), start)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("executor", ["dense", "rounds"])
def test_activations_that_are_computed_again_move_centroids_once(executor, reentrant):
    rope = build_position("rope", **SIZES)
    found = []
    for run in (lambda f, *x: f(*x), lambda f, *x: checkpoint(f, *x, use_reentrant=reentrant)):
        tensors, selection = inputs(), build_mixer("routing(clusters=4, window=5, decay=0.5)", **SIZES)

        def attention(q, k, v, selection=selection):
            return attend(q, k, v, pattern=selection, position=rope, executor=executor)

        run(attention, *tensors).square().sum().backward()
        found.append([selection.centroids, *(x.grad for x in tensors)])
    for plain, again in zip(*found, strict=True):
        assert torch.equal(plain, again)


def test_the_seed_decides_the_first_centroids_and_the_state_holds_them():
    a, b, c = (build_mixer(f"routing(seed={seed})", **SIZES) for seed in (0, 0, 1))
    assert torch.equal(a.centroids, b.centroids)
    assert not torch.equal(a.centroids, c.centroids)
    a.centroids.add_(1)
    b.load_state_dict(a.state_dict())
    assert torch.equal(a.centroids, b.centroids)
