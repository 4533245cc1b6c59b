"""What is particular to each attention without a softmax: features, directions, gates."""

import math
from itertools import pairwise

import pytest
import torch
from linear_mixers import (
    HEAD_DIM,
    HEADS,
    SIZES,
    assert_equal,
    build,
    inputs,
)

from longctx.attention import attend, build_mixer
from longctx.attention.linear.performer import orthogonal_normals
from longctx.model import ModelConfig, build_model


def test_features_of_linear_attention_stay_positive_far_below_zero():
    """elu(x) + 1 in float32 is 0 below −17, and 0 / 0 no number."""
    q, k, v = (x.detach() for x in inputs(build("linear"), 5, HEADS))
    q, k = -30 - q.abs(), -30 - k.abs()
    expected = attend(q.double(), k.double(), v.double(), pattern="linear")
    assert_equal([attend(q, k, v, pattern="linear")], [expected])


def test_performers_features_estimate_the_softmax_without_bias():
    """Over many draws the mean of φ(q)·φ(k) is exp(q·k/√d), within four standard errors."""
    q, k = (0.5 * x[0, 0, 0].detach().double() for x in inputs(build("linear"), 1, HEADS)[:2])
    x, y = q / HEAD_DIM**0.25, k / HEAD_DIM**0.25
    found = []
    for seed in range(400):
        w = build_mixer(f"performer(features=20, seed={seed})", **SIZES).projection.double()
        found.append(((w @ x - x @ x / 2).exp() * (w @ y - y @ y / 2).exp()).mean())
    found = torch.stack(found)
    assert abs(found.mean() - (x @ y).exp()) < 4 * found.std() / 20
    assert found.std() < 0.5 * (x @ y).exp()


def test_more_features_bring_performer_nearer_to_softmax_attention():
    q, k, v = inputs(build("linear"), 40, HEADS)
    tensors = q / 2, k / 2, v  # the variance is exponential in lengths
    full = attend(*tensors, pattern="full")
    errors = []
    for features in (8, 128, 2048, 32768):
        several = [attend(*tensors, pattern=f"performer(features={features}, seed={s})") for s in range(4)]
        errors.append(sum((y - full).square().mean() for y in several).sqrt().item() / 2)
    # 16 times as many features, an error 4 times as small
    assert all(0.15 < b / a < 0.5 for a, b in pairwise(errors)), errors
    assert errors[-1] < 0.02


def test_performers_directions_are_orthogonal_and_their_lengths_those_of_normal_vectors():
    w = orthogonal_normals(4000, 16, torch.Generator().manual_seed(0))
    for block in w.split(16):
        gram = block @ block.T
        assert (gram - gram.diagonal().diag()).abs().max() < 1e-4
    assert w.square().sum(1).mean().item() == pytest.approx(16, rel=0.03)
    assert w.square().sum(1).var().item() == pytest.approx(32, rel=0.15)
    assert w.mean(0).abs().max() < 4 / math.sqrt(4000)
    assert (w.T @ w / len(w) - torch.eye(16)).abs().max() < 0.1


def test_performers_features_are_drawn_by_their_seed_and_kept_with_the_weights():
    first, again, other = (build_mixer(f"performer(seed={s})", **SIZES) for s in (1, 1, 2))
    assert torch.equal(first.projection, again.projection)
    assert not torch.equal(first.projection, other.projection)
    assert first.projection.shape == (64, HEAD_DIM)
    other.load_state_dict(first.state_dict())
    assert torch.equal(first.projection, other.projection)


@pytest.mark.parametrize("executor", ["recurrent", "chunks"])
def test_the_delta_rule_recalls_what_was_written_last_with_a_key(executor):
    """Gates open: orthogonal keys are recalled exactly, and a second value replaces the first."""
    mixer = build("gated_delta")
    keys = torch.linalg.qr(torch.randn(HEAD_DIM, HEAD_DIM))[0]
    said = torch.cat([torch.arange(HEAD_DIM), torch.tensor([2, 5, 2])])
    k = torch.cat([keys[said], torch.tensor([0.0, 1.0]).expand(len(said), 2)], -1).expand(1, HEADS, -1, -1)
    v = torch.randn(1, HEADS, len(said), HEAD_DIM)
    places = torch.arange(len(said))
    q = keys.expand(1, HEADS, -1, -1)
    at_the_end = torch.cat([torch.zeros(1, HEADS, 3, HEAD_DIM), q], 2)
    answers = [
        attend(at_the_end, k, v, pattern=mixer, executor=executor, q_pos=places, k_pos=places)[:, :, -1:],
        attend(q[:, :, 2:3], k, v, pattern=mixer, executor=executor, q_pos=places[-1:], k_pos=places),
        attend(q[:, :, 5:6], k, v, pattern=mixer, executor=executor, q_pos=places[-1:], k_pos=places),
    ]
    for answer, last in zip(answers, (HEAD_DIM - 1, 10, 9), strict=True):
        torch.testing.assert_close(answer, v[:, :, last : last + 1], atol=1e-5, rtol=1e-5)


def test_gates_start_as_in_mamba_2_and_the_seed_decides_them():
    mixer = build_mixer("gated_delta", d_model=64, n_kv_heads=2000, head_dim=4)
    rate = mixer.A_log.exp()
    fall = torch.nn.functional.softplus(mixer.dt_bias)
    assert rate.min() > 0
    assert rate.max() < 16
    assert rate.mean().item() == pytest.approx(8, abs=0.5)
    assert fall.min() > 0.99e-3
    assert fall.max() < 1.01e-1
    assert fall.log().mean().item() == pytest.approx(math.log(1e-2), abs=0.15)
    sizes = {"n_layers": 2, "d_model": 32, "n_heads": HEADS, "vocab_size": 9, "position": "nope"}
    first, again, other = (
        build_model(ModelConfig(**sizes, attention="gated_delta"), seed=s) for s in (1, 1, 2)
    )
    a, b, c = (m.blocks[0].attention.pattern for m in (first, again, other))
    assert torch.equal(a.A_log, b.A_log)
    assert not torch.equal(a.A_log, c.A_log)
    assert not torch.equal(a.A_log, first.blocks[1].attention.pattern.A_log)
    assert a.write.weight.std().item() == pytest.approx(0.02, rel=0.3)


def test_without_forgetting_alpha_is_one_and_nothing_is_learned_for_it():
    mixer = build("gated_delta(forget=False)", 2)
    log_alpha, beta = mixer.keep(torch.randn(2, 9, HEADS * HEAD_DIM)).unbind(-1)
    assert (log_alpha == 0).all()
    assert ((beta > 0) & (beta < 1)).all()
    assert [name for name, _ in mixer.named_parameters()] == ["write.weight"]


def test_every_parameter_of_the_gates_learns():
    config = ModelConfig(
        n_layers=1,
        d_model=32,
        n_heads=HEADS,
        n_kv_heads=2,
        vocab_size=9,
        position="nope",
        attention="gated_delta",
    )
    model = build_model(config)
    model(torch.arange(9).expand(2, -1)).square().sum().backward()
    for name, parameter in model.blocks[0].attention.pattern.named_parameters():
        assert (parameter.grad != 0).all(), name
