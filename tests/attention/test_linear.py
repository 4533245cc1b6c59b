"""Attention without a softmax: against loops written from the papers, and another implementation."""

import math
from itertools import pairwise

import pytest
import torch
from transformers.models.qwen3_next.modeling_qwen3_next import (
    torch_chunk_gated_delta_rule,
    torch_recurrent_gated_delta_rule,
)

from longctx.attention import MIXERS, LinearMixer, attend, build_mixer
from longctx.attention.linear.base import CHUNK
from longctx.attention.linear.performer import orthogonal_normals
from longctx.model import ModelConfig, build_model
from longctx.positions import build_position

NAMES = [entry.name for entry in MIXERS if issubclass(entry.target, LinearMixer)]
SPECS = [str(config) for name in NAMES for config in MIXERS.examples(name)]
HEADS, HEAD_DIM = 4, 8
SIZES = {"d_model": HEADS * HEAD_DIM, "n_heads": HEADS, "head_dim": HEAD_DIM}
#: One token, a chunk and its neighbours, a prime, two chunks and one more; MHA, GQA, MQA.
CASES = [(1, 2), (7, 4), (CHUNK - 1, 1), (CHUNK, 4), (CHUNK + 1, 2), (107, 1), (2 * CHUNK + 1, 2)]


def build(spec, kv_heads=HEADS):
    mixer = build_mixer(spec, **SIZES, n_kv_heads=kv_heads)
    if mixer.kept:  # as after some training: gates of all sizes
        generator = torch.Generator().manual_seed(5)
        for weight in (p for p in mixer.parameters() if p.ndim == 2):
            torch.nn.init.normal_(weight, std=0.3, generator=generator)
    return mixer


def inputs(mixer, length, kv_heads, seed=0, dtype=torch.float32, batch=2):
    """Queries, keys with what is kept beside them, values."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=generator).to(dtype)

    q, k, v = (draw(batch, h, length, HEAD_DIM) for h in (HEADS, kv_heads, kv_heads))
    if mixer.kept:
        kept = mixer.keep(draw(batch, length, HEADS * HEAD_DIM).float()).detach()
        k = torch.cat([k, kept.to(dtype)], -1)
    return [x.requires_grad_() for x in (q, k, v)]


def run(mixer, tensors, **options):
    """Values, and gradients with respect to queries, keys with what is beside them, and values."""
    y = attend(*tensors, pattern=mixer, **options)
    return with_gradients(y, tensors)


def with_gradients(y, tensors):
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.dtype)
    return [y, *torch.autograd.grad((y * weight).sum(), tensors)]


def assert_equal(found, expected, within=1e-5):
    """Each tensor to within a share of its largest number, or of 0.1 if all are smaller: with one token some
    gradients are 0."""
    for a, e in zip(found, expected, strict=True):
        assert a.shape == e.shape
        error, scale = (a.double() - e.double()).abs().max(), e.double().abs().max().clamp(min=0.1)
        assert error <= within * scale, f"{error:.1e} of {scale:.1e}"


def by_a_loop(mixer, q, k, v):
    """Token by token and head by head, as the papers write it, in float64."""
    q, k, v = (x.double() for x in (q, k, v))
    batch, heads, length, _ = q.shape
    per_key = heads // k.shape[1]
    step = {"linear": linear_step, "performer": performer_step, "gated_delta": delta_step}
    step = step[mixer.config.name]
    rows = []
    for b in range(batch):
        for h in range(heads):
            state = None
            for t in range(length):
                state, y = step(mixer, state, q[b, h, t], k[b, h // per_key, t], v[b, h // per_key, t])
                rows.append(y)
    return torch.stack(rows).view(batch, heads, length, -1)


def linear_step(mixer, state, q, k, v):
    """Katharopoulos et al. (2020), equations 16 to 20."""
    phi_q, phi_k = (torch.nn.functional.elu(x) + 1 for x in (q, k))
    s, z = (0, 0) if state is None else state
    s, z = s + torch.outer(phi_k, v), z + phi_k
    return (s, z), phi_q @ s / (phi_q @ z)


def performer_step(mixer, state, q, k, v):
    """Choromanski et al. (2021), equation 7 and lemma 1: h(x) = exp(−|x|²/2), f = exp."""
    w, m = mixer.projection.double(), len(mixer.projection)
    phi_q, phi_k = (
        torch.exp(w @ (x / HEAD_DIM**0.25) - (x / HEAD_DIM**0.25) @ (x / HEAD_DIM**0.25) / 2) / math.sqrt(m)
        for x in (q, k)
    )
    s, z = (0, 0) if state is None else state
    s, z = s + torch.outer(phi_k, v), z + phi_k
    return (s, z), phi_q @ s / (phi_q @ z)


def delta_step(mixer, state, q, k, v):
    """Yang et al. (2025), equation 10, with the state as the paper has it: values × keys."""
    k, log_alpha, beta = k[:-2], k[-2], k[-1]
    q, k = (x / (x @ x + 1e-6).sqrt() for x in (q, k))
    s = torch.zeros(len(v), len(k), dtype=torch.float64) if state is None else state
    s = log_alpha.exp() * s @ (torch.eye(len(k)).double() - beta * torch.outer(k, k)) + beta * torch.outer(
        v, k
    )
    return s, s @ q


@pytest.mark.parametrize("spec", SPECS)
def test_chunks_and_reference_equal_a_loop_written_from_the_paper(spec):
    for length, kv_heads in CASES:
        mixer = build(spec, kv_heads)
        tensors = inputs(mixer, length, kv_heads, batch=1)
        expected = with_gradients(by_a_loop(mixer, *tensors), tensors)
        for executor in (mixer.reference, "chunks"):
            assert_equal(run(mixer, tensors, executor=executor), expected)


@pytest.mark.parametrize("spec", SPECS)
def test_a_long_text_of_strong_gates_and_long_keys_is_as_exact(spec):
    """Twelve chunks; keys and queries of several times the usual length, gates that forget all at once."""
    mixer = build(spec, 2)
    q, k, v = inputs(mixer, 12 * CHUNK - 5, 2, batch=1)
    with torch.no_grad():
        q *= 3
        k[..., :HEAD_DIM] *= 3
        if mixer.kept:
            k[:, :, ::7, HEAD_DIM] = -60.0  # a factor that float32 rounds to nothing after two of them
    reference, chunks = (run(mixer, [q, k, v], executor=e) for e in (mixer.reference, "chunks"))
    assert_equal(chunks, reference, within=1e-5 if "performer" not in spec else 1e-4)


@pytest.mark.parametrize("oracle", [torch_chunk_gated_delta_rule, torch_recurrent_gated_delta_rule])
def test_the_gated_delta_rule_is_that_of_qwen3_next(oracle):
    for length, kv_heads in CASES:
        mixer = build("gated_delta", kv_heads)
        tensors = q, k, v = inputs(mixer, length, kv_heads)
        key, log_alpha, beta = k.repeat_interleave(HEADS // kv_heads, 1).split([HEAD_DIM, 1, 1], -1)
        theirs = (q, key, v.repeat_interleave(HEADS // kv_heads, 1), log_alpha, beta)
        theirs = [x.transpose(1, 2) for x in theirs]
        y, _ = oracle(*theirs[:3], g=theirs[3][..., 0], beta=theirs[4][..., 0], use_qk_l2norm_in_kernel=True)
        expected = with_gradients(y.transpose(1, 2) * HEAD_DIM**0.5, tensors)  # they divide queries by √d
        for executor in ("recurrent", "chunks"):
            assert_equal(run(mixer, tensors, executor=executor), expected)


@pytest.mark.parametrize("spec", SPECS)
def test_a_single_sequence_with_its_heads_innermost_is_served(spec):
    """As a projection hands it over: with one sequence, a view of it cannot be flattened."""
    mixer = build(spec)
    tensors = inputs(mixer, CHUNK + 3, HEADS, batch=1)
    inner = [x.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_() for x in tensors]
    for executor in (mixer.reference, "chunks"):
        assert_equal(
            run(mixer, inner, executor=executor), run(mixer, tensors, executor=executor), within=2e-6
        )


@pytest.mark.parametrize("spec", SPECS)
def test_bfloat16_is_computed_in_float32(spec):
    """The same numbers, given as bfloat16 or widened before, differ by the rounding of the result alone."""
    mixer = build(spec, 2)
    short = inputs(mixer, 3 * CHUNK + 5, 2, dtype=torch.bfloat16)
    wide = [x.detach().float().requires_grad_() for x in short]
    for executor in (mixer.reference, "chunks"):
        found, expected = run(mixer, short, executor=executor), run(mixer, wide, executor=executor)
        assert all(x.dtype == torch.bfloat16 for x in found)
        assert torch.equal(found[0], expected[0].bfloat16())
        assert_equal(found[1:], expected[1:], within=0.02)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(attend(*wide, pattern=mixer, executor=executor), expected[0])


@pytest.mark.parametrize("spec", SPECS)
def test_the_future_changes_nothing_not_even_by_rounding(spec):
    mixer = build(spec, 2)
    before, seen = inputs(mixer, 2 * CHUNK + 9, 2), CHUNK + 20
    for size in (1, 100):  # keys so long that a maximum over all of them would erase the past
        after = [x.detach().clone() for x in before]
        for x in after:
            x[:, :, seen:, :HEAD_DIM] = size * torch.randn_like(x[:, :, seen:, :HEAD_DIM])
        for executor in (mixer.reference, "chunks"):
            y, z = (attend(*x, pattern=mixer, executor=executor)[:, :, :seen] for x in (before, after))
            assert torch.equal(y, z)


@pytest.mark.parametrize("spec", SPECS)
def test_queries_at_the_end_read_what_they_read_in_the_whole(spec):
    """As decoding with a cache asks."""
    mixer, length = build(spec, 2), CHUNK + 11
    q, k, v = inputs(mixer, length, 2)
    rope, places = build_position("rope", **SIZES, n_kv_heads=2), torch.arange(length)
    whole = attend(q, k, v, pattern=mixer, position=rope, executor=mixer.reference)
    for last in (1, 5, 70):
        where = {"q_pos": places[-last:], "k_pos": places}
        for executor in ("auto", mixer.reference, "chunks"):
            some = attend(q[:, :, -last:], k, v, pattern=mixer, position=rope, **where, executor=executor)
            assert_equal([some], [whole[:, :, -last:]])


@pytest.mark.parametrize("spec", SPECS)
def test_positions_and_not_places_say_what_is_past(spec):
    """Tokens in any order, with gaps between their positions, and queries anywhere among them."""
    mixer, length = build(spec, 2), 23
    q, k, v = inputs(mixer, length, 2)
    order = torch.randperm(length, generator=torch.Generator().manual_seed(3))
    some = torch.tensor([20, 3, 3, 11])
    y = attend(
        q[:, :, some], k[:, :, order], v[:, :, order], pattern=mixer, q_pos=3 * some + 1, k_pos=3 * order
    )
    assert_equal([y], [attend(q, k, v, pattern=mixer)[:, :, some]])


@pytest.mark.parametrize("name", NAMES)
def test_what_is_kept_for_the_gradient_grows_with_the_length_and_holds_no_state_of_each_token(name):
    width = 64
    mixer = build_mixer(name, d_model=width, n_heads=1, n_kv_heads=1, head_dim=width)

    def saved_by(length):
        sizes = {}

        def note(x):
            sizes[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes() / x.element_size()
            return x

        q, k, v = (torch.randn(1, 1, length, width, requires_grad=True) for _ in range(3))
        if mixer.kept:
            k = torch.cat([k, mixer.keep(torch.randn(1, length, width))], -1)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
            y = attend(q, k, v, pattern=mixer, executor="chunks")
        assert y.requires_grad
        return sum(sizes.values())

    short, long = saved_by(8 * CHUNK), saved_by(32 * CHUNK)
    assert long <= 4.01 * short
    assert short / (8 * CHUNK) < width**2 / 2, "as much as a state for every other token"


@pytest.mark.parametrize("position", ["nope", "rope", "xpos", "sinusoidal"])
@pytest.mark.parametrize("spec", SPECS)
def test_an_encoding_that_rotates_turns_queries_and_keys_before_anything_else(spec, position):
    mixer = build(spec, 2)
    q, k, v = inputs(mixer, 40, 2)
    encoding, places = build_position(position, **SIZES, n_kv_heads=2), torch.arange(40)
    turned_q, turned_k = encoding.rotate(q, k[..., :HEAD_DIM], places, places)
    turned_k = torch.cat([turned_k, k[..., HEAD_DIM:]], -1)
    expected = attend(turned_q, turned_k, v, pattern=mixer)
    assert torch.equal(attend(q, k, v, pattern=mixer, position=encoding), expected)


REFUSED = [
    ("alibi", "has no softmax and cannot serve ALiBi, which adds to the logits of a softmax"),
    ("shaw", "cannot serve Shaw, which computes the logits of a softmax"),
    ("fox", "cannot serve FoX, which adds channels to the keys"),
]


@pytest.mark.parametrize(("position", "message"), REFUSED)
@pytest.mark.parametrize("spec", SPECS)
def test_an_encoding_that_needs_a_softmax_is_refused_by_a_config_and_by_attend(spec, position, message):
    sizes = {"n_layers": 2, "d_model": 32, "n_heads": HEADS, "vocab_size": 9}
    for attention in (spec, f"by_layer(schedule='SL', short={spec})"):
        with pytest.raises(ValueError, match=message):
            ModelConfig(**sizes, position=position, attention=attention)
    mixer, encoding = build(spec), build_position(position, **SIZES)
    q, k, v = inputs(mixer, 5, HEADS)
    if encoding.observed:
        k = torch.cat([k, torch.zeros(*k.shape[:3], encoding.observed)], -1)
    with pytest.raises(ValueError, match=message):
        attend(q, k, v, pattern=mixer, position=encoding)


@pytest.mark.parametrize("spec", SPECS)
def test_what_cannot_be_served_is_refused(spec):
    mixer = build(spec)
    q, k, v = inputs(mixer, 9, HEADS)
    with pytest.raises(ValueError, match=f"executors auto, {mixer.reference} and chunks; got 'flex'"):
        attend(q, k, v, pattern=mixer, executor="flex")
    with pytest.raises(ValueError, match="takes queries and keys of head_dim=8 channels; PoPE makes them 16"):
        attend(q, k, v, pattern=mixer, position=build_position("pope", **SIZES))
    moved = {"q_pos": torch.arange(1, 10), "k_pos": torch.arange(1, 10)}
    with pytest.raises(ValueError, match=f"chunks executor needs keys at positions 0.*use {mixer.reference}"):
        attend(q, k, v, pattern=mixer, **moved, executor="chunks")
    with pytest.raises(ValueError, match="a query stands before all keys"):
        attend(q, k, v, pattern=mixer, q_pos=torch.arange(9), k_pos=torch.arange(1, 10))


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
