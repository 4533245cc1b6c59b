"""RoPE's layouts, its partial form and its scalings equal Hugging Face's, or their closed form."""

import math

import pytest
import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.gptj.modeling_gptj import apply_rotary_pos_emb as gptj_turn
from transformers.models.gptj.modeling_gptj import create_sinusoidal_positions

from longctx.attention import KVCache, attend
from longctx.positions import build_position
from longctx.positions.rope import to_half, to_interleaved
from longctx.positions.scaling import SCALINGS, build_scaling

HEAD_DIM = 64
POSITIONS = torch.cat([torch.arange(200), torch.tensor([4095, 10**6])])
TRAINED = {"original_max_position_embeddings": 2048}


def build(head_dim=HEAD_DIM, **fields):
    return build_position({"name": "rope", **fields}, d_model=256, n_heads=4, head_dim=head_dim)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def hugging_face(rope_type, base=10_000.0, seq_len=None, longest=2048, **parameters):
    """Frequencies and attention factor."""
    config = LlamaConfig(
        hidden_size=256,
        num_attention_heads=4,
        max_position_embeddings=longest,
        rope_parameters={"rope_type": rope_type, "rope_theta": base, **parameters},
    )
    return ROPE_INIT_FUNCTIONS[rope_type](config, torch.device("cpu"), seq_len=seq_len)


YARNS = [
    {"factor": 4.0},
    {"factor": 1.0},
    {"factor": 16.0, "beta_fast": 20.0, "beta_slow": 2.5},
    {"factor": 8.0, "truncate": False},
    {"factor": 8.0, "attention_factor": 1.7},
    {"factor": 40.0, "mscale": 0.7, "mscale_all_dim": 1.3},
]
SCALED = [
    *[("linear", {"factor": f}) for f in (1.0, 2.0, 7.5)],
    *[("yarn", {**TRAINED, **y}) for y in YARNS],
    ("llama3", {**TRAINED, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}),
    ("llama3", {**TRAINED, "factor": 32.0, "low_freq_factor": 2.0, "high_freq_factor": 10.0}),
]


@pytest.mark.parametrize("base", [10_000.0, 500_000.0])
@pytest.mark.parametrize(("name", "parameters"), SCALED)
def test_a_scaling_equals_hugging_face(name, parameters, base):
    frequencies, factor = hugging_face(name, base, **parameters)
    ours = build_scaling({"name": name, **parameters})
    torch.testing.assert_close(ours.frequencies(base, HEAD_DIM).float(), frequencies, atol=0, rtol=1e-5)
    assert ours.magnitude() == pytest.approx(factor, rel=1e-12)


@pytest.mark.parametrize("factor", [1.0, 2.0, 16.0])
def test_ntk_is_the_dynamic_method_at_the_longest_length(factor):
    """Hugging Face has the dynamic method alone; at s times the trained length and factor 1, its base is that
    of the static one."""
    frequencies, _ = hugging_face("dynamic", factor=1.0, seq_len=int(2048 * factor))
    ours = build_scaling({"name": "ntk", "factor": factor}).frequencies(10_000.0, HEAD_DIM)
    torch.testing.assert_close(ours.float(), frequencies, atol=0, rtol=1e-5)


def test_ntk_interpolates_the_slowest_pair_by_the_factor_and_the_fastest_not_at_all():
    own = build_scaling("linear(factor=1)").frequencies(10_000.0, HEAD_DIM)
    ntk = build_scaling("ntk(factor=4)").frequencies(10_000.0, HEAD_DIM)
    assert (own / ntk)[0].item() == pytest.approx(1)
    assert (own / ntk)[-1].item() == pytest.approx(4)


def test_ntk_by_parts_equals_the_formula():
    scaling = build_scaling({"name": "ntk_by_parts", "factor": 4.0, "beta_fast": 30.0, **TRAINED})
    for t, found in enumerate(scaling.frequencies(10_000.0, HEAD_DIM).tolist()):
        own = 10_000 ** (-2 * t / HEAD_DIM)
        turns = 2048 / (2 * math.pi / own)
        kept = min(1, max(0, (turns - 1) / (30 - 1)))
        assert found == pytest.approx((1 - kept) * own / 4 + kept * own, rel=1e-12)


@pytest.mark.parametrize("name", [entry.name for entry in SCALINGS])
def test_a_factor_of_one_changes_nothing(name):
    fields = {"name": name, "factor": 1.0}
    if "original_max_position_embeddings" in SCALINGS[name].config.model_fields:
        fields |= {"original_max_position_embeddings": 10**7}
    if name == "longrope":
        fields["long_factor"] = (2.0,) * 32
    x = random(1, 2, len(POSITIONS), HEAD_DIM)
    plain, _ = build().rotate(x, x, POSITIONS, POSITIONS)
    scaled, _ = build(scaling=fields).rotate(x, x, POSITIONS, POSITIONS)
    torch.testing.assert_close(scaled, plain)


def test_position_interpolation_at_multiples_is_rope_at_the_quotients():
    x = random(1, 2, 50, HEAD_DIM)
    quarters, whole = torch.arange(0, 200, 4), torch.arange(50)
    scaled, _ = build(scaling="linear(factor=4)").rotate(x, x, quarters, quarters)
    plain, _ = build().rotate(x, x, whole, whole)
    torch.testing.assert_close(scaled, plain)


def test_the_attention_factor_multiplies_logits_by_its_square():
    q, k = random(1, 2, 9, HEAD_DIM), random(1, 2, 9, HEAD_DIM, seed=1)
    positions = torch.arange(9)
    fields = {"name": "yarn", "factor": 4.0, **TRAINED}
    logits = {}
    for factor in (1.0, 1.5):
        a, b = build(scaling={**fields, "attention_factor": factor}).rotate(q, k, positions, positions)
        logits[factor] = a @ b.mT
    torch.testing.assert_close(logits[1.5], 1.5**2 * logits[1.0])


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_the_interleaved_layout_equals_gptj(share):
    turning = int(HEAD_DIM * share)
    x = random(1, 3, 40, HEAD_DIM)
    positions = torch.arange(40)
    sin, cos = create_sinusoidal_positions(64, turning)[positions].double().chunk(2, dim=-1)
    theirs = gptj_turn(x[..., :turning].transpose(1, 2), sin[None], cos[None]).transpose(1, 2)
    ours, _ = build(layout="interleaved", partial_rotary_factor=share).rotate(x, x, positions, positions)
    torch.testing.assert_close(ours[..., :turning], theirs, atol=1e-5, rtol=1e-5)
    assert torch.equal(ours[..., turning:], x[..., turning:])


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_partial_rope_is_a_narrower_rope_on_the_first_channels(share):
    turning = int(HEAD_DIM * share)
    x = random(1, 3, len(POSITIONS), HEAD_DIM)
    partial, _ = build(partial_rotary_factor=share).rotate(x, x, POSITIONS, POSITIONS)
    first = x[..., :turning]
    narrow, _ = build(head_dim=turning).rotate(first, first, POSITIONS, POSITIONS)
    assert torch.equal(partial, torch.cat([narrow, x[..., turning:]], -1))


def test_the_layouts_differ_by_the_order_of_channels():
    x = random(2, 3, len(POSITIONS), HEAD_DIM)
    half, _ = build().rotate(to_half(x), to_half(x), POSITIONS, POSITIONS)
    interleaved, _ = build(layout="interleaved").rotate(x, x, POSITIONS, POSITIONS)
    torch.testing.assert_close(to_interleaved(half), interleaved)
    assert torch.equal(to_interleaved(to_half(x)), x)
    assert torch.equal(to_half(to_interleaved(x)), x)


def test_projections_of_one_layout_serve_the_other():
    hidden, w_q, w_k = random(1, 20, 32), random(2 * HEAD_DIM, 32, seed=1), random(2 * HEAD_DIM, 32, seed=2)
    positions = torch.arange(20)

    def logits(layout, *weights):
        heads = ((hidden @ w.mT).unflatten(-1, (2, HEAD_DIM)).transpose(1, 2) for w in weights)
        q, k = build(layout=layout).rotate(*heads, positions, positions)
        return q @ k.mT

    turned = (to_half(w.unflatten(0, (2, HEAD_DIM)), dim=1).flatten(0, 1) for w in (w_q, w_k))
    torch.testing.assert_close(logits("half", *turned), logits("interleaved", w_q, w_k))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scaling": "linear(factor=0.5)"}, "factor: .*greater than or equal to 1"),
        ({"scaling": "linear"}, "factor: Field required"),
        ({"scaling": "stretch(factor=2)"}, "unknown RoPE scaling 'stretch'; known: dynamic, linear, llama3"),
        ({"scaling": "yarn(factor=2)"}, "original_max_position_embeddings: Field required"),
        (
            {"scaling": {"name": "yarn", "factor": 2.0, "beta_fast": 1.0, **TRAINED}},
            "beta_fast must exceed beta_slow, 1.0; got 1.0",
        ),
        ({"scaling": {"name": "yarn", "factor": 2.0, "mscale": 1.0, **TRAINED}}, "give both or neither"),
        (
            {"scaling": {"name": "llama3", "factor": 2.0, "high_freq_factor": 0.5, **TRAINED}},
            "high_freq_factor must exceed low_freq_factor, 1.0; got 0.5",
        ),
        ({"scaling": {"name": "yarn", **TRAINED}}, "give either a factor or dynamic=True"),
        (
            {"scaling": {"name": "longrope", "long_factor": (1.0, 2.0), **TRAINED}},
            "long_factor needs a number for each of 32 pairs, got 2",
        ),
        ({"partial_rotary_factor": 0.01}, "leaves 0 of 64 channels to turn"),
        ({"partial_rotary_factor": 0.05}, "leaves 3 of 64 channels to turn"),
        ({"partial_rotary_factor": 1.5}, "partial_rotary_factor: .*less than or equal to 1"),
        ({"layout": "quarter"}, "layout: .*'half' or 'interleaved'"),
    ],
)
def test_impossible_ropes_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        build(**fields)


def test_ntk_needs_more_than_one_pair():
    with pytest.raises(ValueError, match="more than one pair"):
        build(head_dim=2, scaling="ntk(factor=2)")


@pytest.mark.parametrize("length", [100, 2048, 2049, 5000, 40_000])
def test_dynamic_scaling_equals_hugging_face_at_every_length(length):
    frequencies, _ = hugging_face("dynamic", factor=3.0, seq_len=length)
    ours = build_scaling({"name": "dynamic", "factor": 3.0, **TRAINED})
    found = ours.frequencies(10_000.0, HEAD_DIM, length)
    torch.testing.assert_close(found.float(), frequencies, atol=0, rtol=1e-5)


@pytest.mark.parametrize("length", [100, 2048, 2049, 40_000])
@pytest.mark.parametrize("factor", [1.0, 16.0])
def test_longrope_equals_hugging_face_at_every_length(length, factor):
    long, short = torch.linspace(1, 30, 32).tolist(), torch.linspace(1, 1.5, 32).tolist()
    parameters = {"long_factor": long, "short_factor": short, "factor": factor, **TRAINED}
    frequencies, attention_factor = hugging_face("longrope", seq_len=length, **parameters)
    ours = build_scaling({"name": "longrope", **parameters})
    found = ours.frequencies(10_000.0, HEAD_DIM, length)
    torch.testing.assert_close(found.float(), frequencies, atol=0, rtol=1e-5)
    assert ours.magnitude(length) == pytest.approx(attention_factor, rel=1e-12)


@pytest.mark.parametrize("length", [100, 2048, 8192])
def test_dynamic_yarn_is_yarn_with_the_ratio_of_lengths(length):
    dynamic = build_scaling({"name": "yarn", "dynamic": True, **TRAINED})
    static = build_scaling({"name": "yarn", "factor": max(1.0, length / 2048), **TRAINED})
    found, expected = (s.frequencies(10_000.0, HEAD_DIM, length) for s in (dynamic, static))
    torch.testing.assert_close(found, expected)
    assert dynamic.magnitude(length) == static.magnitude()


DYNAMIC = [
    "dynamic(factor=2.0, original_max_position_embeddings=8)",
    "yarn(dynamic=True, original_max_position_embeddings=8)",
    "longrope(long_factor=(1.0, 1.5, 2.0, 4.0), original_max_position_embeddings=8, factor=4.0)",
]


@pytest.mark.parametrize("scaling", DYNAMIC)
def test_cached_keys_turn_by_the_length_at_which_they_are_read(scaling):
    """Decoding a token must see what attention over the text so far sees, at every length."""
    position = build(head_dim=8, scaling=scaling)
    q, k, v = (random(1, 4, 30, 8, seed=s) for s in range(3))
    cache = KVCache(1, 4, 30, 8, dtype=torch.float64)
    for t in range(30):
        now = slice(t, t + 1)
        keys, values, k_pos = cache.append(k[:, :, now], v[:, :, now])
        step = attend(
            q[:, :, now], keys, values, pattern="full", position=position, q_pos=k_pos[now], k_pos=k_pos
        )
        whole = attend(*(x[:, :, : t + 1] for x in (q, k, v)), pattern="full", position=position)
        torch.testing.assert_close(step, whole[:, :, now])


@pytest.mark.parametrize("scaling", DYNAMIC)
def test_within_the_trained_length_nothing_follows_it(scaling):
    x, positions = random(1, 4, 8, 8), torch.arange(8)
    scaled, _ = build(head_dim=8, scaling=scaling).rotate(x, x, positions, positions)
    plain, _ = build(head_dim=8).rotate(x, x, positions, positions)
    factor = (scaled.norm() / plain.norm()).item()
    torch.testing.assert_close(scaled, factor * plain)
    assert factor == pytest.approx(build_scaling(scaling).magnitude(8))
