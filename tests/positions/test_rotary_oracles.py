"""What is derived from RoPE equals other people's implementations, or RoPE at distances from the paper."""

import pytest
import torch
from x_transformers.x_transformers import (
    PolarEmbedding,
    RotaryEmbedding,
    apply_polar_pos_emb,
    apply_rotary_pos_emb,
)

from longctx.attention import attend
from longctx.positions import build_position

HEADS, HEAD_DIM, LENGTH = 4, 16, 60
POSITIONS = torch.arange(LENGTH)
ALLOWED = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()


def build(spec, **sizes):
    return build_position(spec, **{"d_model": 64, "n_heads": HEADS, "head_dim": HEAD_DIM, **sizes})


def random(seed, dtype=torch.float32, heads=HEADS):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, heads, LENGTH, HEAD_DIM, generator=generator, dtype=dtype)


def logits(position, q, k, positions=POSITIONS):
    q, k = position.rotate(q, k, positions, positions)
    scored = position.score(q, k, positions, positions, ALLOWED)
    return q @ k.mT if scored is None else scored * HEAD_DIM**0.5


@pytest.mark.parametrize("scale_base", [512, 40])
def test_xpos_equals_x_transformers(scale_base):
    theirs = RotaryEmbedding(HEAD_DIM, use_xpos=True, scale_base=scale_base)
    angles, scale = theirs(POSITIONS)
    q, k = random(0), random(1)
    expected = apply_rotary_pos_emb(q, angles, scale) @ apply_rotary_pos_emb(k, angles, 1 / scale).mT
    ours = logits(build(f"xpos(layout='interleaved', scale_base={scale_base})"), q, k)
    torch.testing.assert_close(ours[..., ALLOWED], expected[..., ALLOWED], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_xpos_is_rope_with_each_pair_faded_by_its_own_power(share):
    """Pair by pair, in both layouts; channels that do not turn do not fade."""
    q, k = random(0, torch.float64), random(1, torch.float64)
    turning = int(share * HEAD_DIM)
    for layout in ("half", "interleaved"):
        fields = {"layout": layout, "partial_rotary_factor": share}
        xpos, rope = build({"name": "xpos", "gamma": 0.7, **fields}), build({"name": "rope", **fields})
        (a, b), (c, d) = (p.rotate(q, k, POSITIONS, POSITIONS) for p in (xpos, rope))
        for t in range(HEAD_DIM):
            pair = (t % (turning // 2)) if layout == "half" else t // 2
            zeta = (2 * pair / turning + 0.7) / 1.7 if t < turning else 1.0
            power = zeta ** ((POSITIONS[:, None] - POSITIONS) / 512)
            found = a[..., t, None] * b[..., None, :, t]
            torch.testing.assert_close(found, c[..., t, None] * d[..., None, :, t] * power)


def test_xpos_at_a_million_is_xpos_at_the_start():
    q, k, xpos = random(0, torch.float64), random(1, torch.float64), build("xpos")
    far = logits(xpos, q, k, POSITIONS + 10**6)
    torch.testing.assert_close(far, logits(xpos, q, k), atol=1e-8, rtol=1e-8)


def test_xpos_refuses_a_span_that_its_powers_cannot_hold():
    ends = torch.tensor([0, 100_000])
    with pytest.raises(ValueError, match=r"positions 0 … 100000 in torch.float32: its powers overflow"):
        build("xpos").rotate(random(0)[:, :, :2], random(1)[:, :, :2], ends, ends)
    # Whichever of queries and keys stands where.
    near, far = torch.tensor([3, 4]), torch.tensor([100_000, 100_007])
    for q_pos, k_pos in ((near, far), (far, near)):
        with pytest.raises(ValueError, match="positions 3 … 100007"):
            build("xpos").rotate(random(0)[:, :, :2], random(1)[:, :, :2], q_pos, k_pos)
    turned = build("xpos").rotate(random(0)[:, :, :2], random(1)[:, :, :2], ends // 2, ends // 2)
    assert all(x.isfinite().all() for x in turned)


@pytest.mark.parametrize("base", [10_000.0, 300.0])
def test_pope_equals_x_transformers(base):
    # In double precision: their angles in single are off by more than the tolerance on some processors.
    theirs = PolarEmbedding(HEAD_DIM, HEADS, base=base).double()
    theirs.inv_freq.copy_(base ** (-torch.arange(HEAD_DIM, dtype=torch.float64) / HEAD_DIM))
    with torch.no_grad():
        theirs.learned_bias.uniform_(-6.28, 0, generator=torch.Generator().manual_seed(0))
    angles, shift = theirs(POSITIONS)
    ours = build({"name": "pope", "base": base})
    ours.load_state_dict({"shift": theirs.learned_bias.detach().float()})
    q, k = random(0), random(1)
    turned = apply_polar_pos_emb(q.double(), angles), apply_polar_pos_emb(k.double(), angles + shift)
    expected = (turned[0] @ turned[1].mT).float()
    torch.testing.assert_close(logits(ours, q, k), expected, atol=1e-5, rtol=1e-5)


def test_the_shift_of_pope_stays_in_its_range():
    q, k = random(0), random(1)
    for inside, outside in ((0.0, 1.0), (-6.283185307179586, -7.0)):
        a, b = build("pope"), build("pope")
        with torch.no_grad():
            a.shift.fill_(inside)
            b.shift.fill_(outside)
        torch.testing.assert_close(logits(a, q, k), logits(b, q, k))


def test_grouped_heads_of_pope_share_the_shift_of_their_key():
    grouped = build("pope", n_kv_heads=2)
    with torch.no_grad():
        grouped.shift.uniform_(-3, 0, generator=torch.Generator().manual_seed(0))
    whole = build("pope")
    whole.load_state_dict({"shift": grouped.shift.repeat_interleave(2, 0)})
    q, k, v = random(0), random(1, heads=2), random(2, heads=2)
    repeated = [x.repeat_interleave(2, 1) for x in (k, v)]
    torch.testing.assert_close(
        attend(q, k, v, pattern="full", position=grouped),
        attend(q, *repeated, pattern="full", position=whole),
        atol=1e-5,
        rtol=1e-5,
    )


def turned_by(q, k, distance):
    """RoPE's logits at the given distance of each pair, as complex numbers."""
    theta = 10_000.0 ** -(torch.arange(0, HEAD_DIM, 2, dtype=torch.float64) / HEAD_DIM)
    a, b = (torch.complex(*x.chunk(2, -1)) for x in (q, k))
    turn = torch.polar(torch.ones(()).double(), distance[..., None].double() * theta)
    return torch.einsum("bhit,bhjt,ijt->bhij", a, b.conj(), turn).real


def rerope(i, j, window=7):
    return min(i - j, window)


def leaky(i, j, window=7, factor=4.0):
    return i - j if i - j < window else window + (i - j - window) / factor


def self_extend(i, j, window=7, group=3):
    return i - j if i - j < window else i // group + window - window // group - j // group


def dual_chunk(i, j, size=6, trained=10):
    match i // size - j // size:
        case 0:
            where = i % size
        case 1:
            where = min(i % size + size, trained - 1)
        case _:
            where = trained - 1
    return where - j % size


@pytest.mark.parametrize(
    ("spec", "distance"),
    [
        ("rerope(window=7)", rerope),
        ("rerope(window=7, factor=4.0)", leaky),
        ("self_extend(window=7, group_size=3)", self_extend),
        ("dual_chunk(chunk_size=6, original_max_position_embeddings=10)", dual_chunk),
    ],
)
def test_a_remapping_is_rope_at_the_papers_distances(spec, distance):
    q, k = random(0, torch.float64), random(1, torch.float64)
    table = torch.tensor([[float(distance(i, min(i, j))) for j in range(LENGTH)] for i in range(LENGTH)])
    found = logits(build(spec), q, k)
    torch.testing.assert_close(found[..., ALLOWED], turned_by(q, k, table)[..., ALLOWED])


def test_the_distances_of_dual_chunk_attention_are_those_of_the_paper():
    """Figure 2: chunks of 6, trained at 10, read at 12."""
    rows = [[dual_chunk(i, j) for j in range(i + 1)] for i in (5, 6, 9, 11)]
    assert rows[0] == [5, 4, 3, 2, 1, 0]
    assert rows[1] == [6, 5, 4, 3, 2, 1, 0]
    assert rows[2] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert rows[3] == [9, 8, 7, 6, 5, 4, 5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize("name", ["rerope", "self_extend", "dual_chunk"])
def test_within_its_window_a_remapping_is_rope(name):
    q, k = random(0), random(1)
    torch.testing.assert_close(
        logits(build(name), q, k)[..., ALLOWED], logits(build("rope"), q, k)[..., ALLOWED]
    )


def test_a_chunk_must_be_shorter_than_the_trained_length():
    with pytest.raises(ValueError, match="smaller than original_max_position_embeddings=512, got 512"):
        build("dual_chunk(chunk_size=512)")
