"""Biases equal other people's implementations, or their closed form computed pair by pair."""

import math

import pytest
import torch
from transformers import T5Config
from transformers.models.t5.modeling_t5 import T5Attention
from x_transformers.x_transformers import AlibiPositionalBias, DynamicPositionBias

from longctx.positions import build_position

HEADS = [1, 3, 6, 8]


def build(spec, n_heads=6):
    return build_position(spec, d_model=48, n_heads=n_heads, head_dim=8)


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize(("buckets", "furthest"), [(32, 128), (8, 20), (64, 1000)])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_t5_equals_hugging_face(heads, buckets, furthest, bidirectional):
    config = T5Config(
        d_model=48,
        num_heads=heads,
        d_kv=8,
        relative_attention_num_buckets=buckets,
        relative_attention_max_distance=furthest,
        is_decoder=not bidirectional,
    )
    theirs = T5Attention(config, has_relative_attention_bias=True, layer_idx=0)
    ours = build(
        {"name": "t5", "num_buckets": buckets, "max_distance": furthest, "bidirectional": bidirectional},
        heads,
    )
    ours.load_state_dict({"weight": theirs.relative_attention_bias.weight.detach()})
    n = 1100
    expected = theirs.compute_bias(n, n)[0]
    positions = torch.arange(n)
    torch.testing.assert_close(ours.bias(positions, positions), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("kernel", ["log", "power"])
def test_kerple_equals_the_formula(heads, kernel):
    position = build(f"kerple(kernel='{kernel}')", heads)
    position.reset_parameters(torch.Generator().manual_seed(heads))
    q_pos, k_pos = torch.tensor([0, 3, 700]), torch.tensor([0, 1, 3, 5, 699])
    bias = position.bias(q_pos, k_pos)
    for h, (p, a) in enumerate(zip(position.p.tolist(), position.a.tolist(), strict=True)):
        for x, i in enumerate(q_pos.tolist()):
            for y, j in enumerate(k_pos.tolist()):
                d = abs(i - j)
                expected = -p * math.log(1 + a * d) if kernel == "log" else -a * d**p
                assert bias[h, x, y].item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_kerple_parameters_outside_their_range_count_as_its_ends():
    position = build("kerple(kernel='power')", 2)
    position.p.data, position.a.data = torch.tensor([3.0, -1.0]), torch.tensor([0.5, -1.0])
    bias = position.bias(torch.tensor([5]), torch.tensor([1])).flatten()
    torch.testing.assert_close(bias, torch.tensor([-0.5 * 4**2, -0.01 * 4**0.01]))
    position = build("kerple", 2)
    position.p.data, position.a.data = torch.tensor([3.0, -1.0]), torch.tensor([0.5, -1.0])
    bias = position.bias(torch.tensor([5]), torch.tensor([1])).flatten()
    torch.testing.assert_close(bias, torch.tensor([-3 * math.log(3.0), -0.01 * math.log(1.04)]))


def test_a_power_of_one_is_alibi_with_these_slopes():
    kerple, alibi = build("kerple(kernel='power')", 8), build("alibi", 8)
    kerple.p.data, kerple.a.data = torch.ones(8), alibi.slopes.clone()
    positions = torch.arange(50)
    # The last two slopes of eight lie below the smallest a.
    torch.testing.assert_close(kerple.bias(positions, positions)[:6], alibi.bias(positions, positions)[:6])


@pytest.mark.parametrize("furthest", [9, 10, 700])
def test_fire_equals_the_formula(furthest):
    position = build("fire(width=5, init_c=0.3, init_threshold=6.0)", 3)
    position.reset_parameters(torch.Generator().manual_seed(3))
    position.threshold.data.fill_(1.5)
    q_pos, k_pos = torch.tensor([0, 2, 8, 9, furthest]), torch.tensor([0, 2, 8, furthest // 2])
    bias = position.bias(q_pos, k_pos)
    hidden, _, out = position.function
    for x, i in enumerate(q_pos.tolist()):
        for y, j in enumerate(k_pos.tolist()):
            near, far = 0.3 * abs(i - j) + 1, 0.3 * max(9.0, i, j) + 1
            relative = math.log(near) / math.log(far)
            weights = zip(hidden.weight.flatten().tolist(), hidden.bias.tolist(), strict=True)
            units = [max(0.0, w * relative + b) for w, b in weights]
            for h in range(3):
                expected = (
                    sum(w * u for w, u in zip(out.weight[h].tolist(), units, strict=True))
                    + out.bias[h].item()
                )
                assert bias[h, x, y].item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_fire_within_its_threshold_is_the_same_function_with_the_same_gradients():
    """There it depends on distances alone, of which there are fewer than pairs."""
    position, found = build("fire(init_threshold=20.0, init_c=0.4)"), []
    weight = torch.randn(6, 12, 12, generator=torch.Generator().manual_seed(1))
    for length in (12, 21, 22):  # the last is beyond 20
        position.zero_grad()
        positions = torch.arange(length)
        bias = position.bias(positions, positions)[:, :12, :12]
        (bias * weight).sum().backward()
        found.append([bias.detach(), *(p.grad.clone() for p in position.parameters())])
    for within, beyond in zip(found[0] + found[1], 2 * found[2], strict=True):
        torch.testing.assert_close(within, beyond, atol=1e-5, rtol=1e-4)


def test_fire_takes_the_size_of_its_scale_and_threshold():
    negative, positive = build("fire"), build("fire")
    for name in ("c", "threshold"):
        negative.get_parameter(name).data.neg_()
    for position in (positive, negative):
        position.threshold.data.mul_(0.01)  # 5 tokens, so that it matters on one side only
    positions = torch.arange(12)
    expected = positive.bias(positions, positions)
    assert torch.equal(negative.bias(positions, positions), expected)


@pytest.mark.parametrize("spec", ["alibi", "alibi(symmetric=False)", "dynamic_bias", "fire", "kerple", "t5"])
def test_a_compiler_sees_a_plain_function_of_each_pair_with_the_same_values(spec, monkeypatch):
    position, q_pos, k_pos = build(spec), torch.arange(3, 9).view(2, 3), torch.arange(10).view(2, 5)
    expected = position.bias(q_pos, k_pos)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(position.bias(q_pos, k_pos), expected)


def test_the_argument_of_fire_stays_between_zero_and_one():
    position = build("fire", 1)
    hidden, _, out = position.function
    hidden.weight.data.fill_(1)
    out.weight.data.fill_(1 / position.config.width)
    for layer in (hidden, out):
        layer.bias.data.zero_()
    positions = torch.cat([torch.arange(2000), torch.tensor([10**5, 10**6])])
    bias = position.bias(positions, positions).detach()
    assert bias.min() == 0
    assert bias.max() == pytest.approx(1.0)


@pytest.mark.parametrize("heads", HEADS)
def test_sandwich_is_the_inner_product_of_sinusoids(heads):
    vectors = (
        build_position("sinusoidal", d_model=32, n_heads=1, head_dim=2).embed(torch.arange(300)).double()
    )
    products = vectors @ vectors.mT
    expected = torch.stack([products / (8 * h / heads) for h in range(1, heads + 1)])
    positions = torch.arange(300)
    actual = build("sandwich(channels=32)", heads).bias(positions, positions)
    torch.testing.assert_close(actual.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("log_distance", [False, True])
def test_dynamic_bias_equals_x_transformers(depth, log_distance):
    theirs = DynamicPositionBias(12, heads=6, depth=depth, log_distance=log_distance)
    ours = build({"name": "dynamic_bias", "width": 12, "depth": depth, "log_distance": log_distance})
    state = {}
    for number, part in enumerate(theirs.mlp):
        linear = part if isinstance(part, torch.nn.Linear) else part[0]
        state |= {f"function.{2 * number}.{name}": p.detach() for name, p in linear.named_parameters()}
    ours.load_state_dict(state)
    positions = torch.arange(70)
    torch.testing.assert_close(ours.bias(positions, positions), theirs(70, 70), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.bias(positions[-1:], positions), theirs(1, 70), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("spec", ["sandwich", "dynamic_bias"])
def test_one_table_of_distances_gives_what_each_pair_gives(spec):
    position = build(spec)
    q_pos, k_pos = torch.tensor([[4, 0], [9, 90]]), torch.tensor([[7, 7, 3], [10**6, 0, 2]])
    together = position.bias(q_pos, k_pos)
    assert together.shape == (2, 6, 2, 3)
    for block in range(2):
        for x in range(2):
            for y in range(3):
                pair = position.bias(q_pos[block, x, None], k_pos[block, y, None])
                torch.testing.assert_close(together[block, :, x, y], pair[:, 0, 0])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("t5(num_buckets=30)", "num_buckets: .*multiple of 4"),
        ("t5(max_distance=16)", "max_distance must exceed the 16 distances"),
        ("kerple(kernel='exp')", "kernel: .*'log' or 'power'"),
        ("fire(width=0)", "width: .*greater than 0"),
        ("sandwich(channels=7)", "channels: .*multiple of 2"),
    ],
)
def test_impossible_biases_are_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        build(spec)


@pytest.mark.parametrize("heads", HEADS)
def test_learned_slopes_of_alibi_start_at_the_fixed_ones(heads):
    for symmetric in (True, False):
        fixed, learned = (
            build({"name": "alibi", "symmetric": symmetric, "learned": x}, heads) for x in (0, 1)
        )
        torch.testing.assert_close(learned.slopes, fixed.slopes)


@pytest.mark.parametrize("heads", HEADS)
def test_alibi_that_is_not_symmetric_penalises_each_side_by_its_own_slope(heads):
    i, j = torch.tensor([0, 3, 10]), torch.tensor([1, 3, 4, 12])
    both = build("alibi", 2 * heads).slopes.tolist()
    bias = build("alibi(symmetric=False)", heads).bias(i, j)
    for h in range(heads):
        left, right = both[2 * h], both[2 * h + 1]
        for x, at in enumerate(i.tolist()):
            for y, other in enumerate(j.tolist()):
                expected = -(left if other <= at else right) * abs(at - other)
                assert bias[h, x, y].item() == pytest.approx(expected, rel=1e-6)
    one_sided = build("alibi(symmetric=False)", heads)
    assert not torch.isclose(*one_sided.slopes).any()


def test_symmetric_alibi_equals_x_transformers():
    theirs = AlibiPositionalBias(heads=8, total_heads=8)(20, 20)
    positions = torch.arange(20)
    torch.testing.assert_close(build("alibi", 8).bias(positions, positions), theirs)


def test_a_bias_of_scattered_positions_is_a_part_of_that_of_all():
    """Windows on one row where positions are consecutive; a lookup where they are not."""
    everywhere = torch.arange(60)
    q_pos, k_pos = torch.tensor([50, 3, 3, 20]), torch.tensor([0, 59, 7])
    blocks = torch.arange(60).view(4, 15)
    for spec in ("t5(bidirectional=True)", "kerple", "kerple(kernel='power')", "sandwich", "dynamic_bias"):
        position = build(spec)
        whole = position.bias(everywhere, everywhere)
        torch.testing.assert_close(position.bias(q_pos, k_pos), whole[:, q_pos][:, :, k_pos])
        of_blocks = position.bias(blocks, blocks.flip(0))
        for b in range(4):
            torch.testing.assert_close(of_blocks[b], whole[:, blocks[b]][:, :, blocks[3 - b]])
