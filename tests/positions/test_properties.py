"""What must hold for every registered encoding, and for the kinds of them."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx.positions import POSITIONS, build_position, default_positions, list_positions
from longctx.positions.p_rope import PRoPE
from longctx.positions.rope import RoPE

SPECS = [str(config) for name in list_positions() for config in POSITIONS.examples(name)]
SIZES = {"d_model": 24, "n_heads": 6, "head_dim": 8}
quick = settings(max_examples=25, deadline=None, derandomize=True)
positions_vectors = st.lists(st.integers(0, 1000), min_size=1, max_size=12).map(torch.tensor)


def build(spec):
    return build_position(spec, **SIZES, n_kv_heads=2)


def short(spec):
    """A short table, of which each entry's gradient can be checked."""
    return {"max_length": 9} if spec.startswith("learned") else {}


def random(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def of_kind(*kinds):
    return [s for s in SPECS if POSITIONS[POSITIONS.parse(s).name].target.kind in kinds]


def follows_length(spec):
    """Whether angles depend on the furthest position."""
    scaling = getattr(POSITIONS.parse(spec), "scaling", None)
    return scaling is not None and scaling.follows_length


RELATIVE = [
    s for s in of_kind("none", "rotary", "bias") if build(s).shift_invariant and not follows_length(s)
]


def observed(position, k):
    """Keys with what the encoding reads off the states of their tokens."""
    x = random(len(k), k.shape[2], 24, dtype=k.dtype)
    return k if (read := position.observe(x)) is None else torch.cat([k, read], -1)


def logits(position, q, k, q_pos, k_pos):
    """Those of all pairs, none of them masked; ``k`` comes with what is observed."""
    q, k = position.rotate(q, k, q_pos, k_pos)
    k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    found = position.score(q, k, q_pos, k_pos, torch.ones(len(q_pos), len(k_pos), dtype=torch.bool))
    found = q @ k.mT / 8**0.5 if found is None else found
    bias = position.bias(q_pos, k_pos)
    return found if bias is None else found + bias


@pytest.mark.parametrize("spec", SPECS)
def test_a_config_survives_json_and_its_own_string(spec):
    config = POSITIONS.parse(spec)
    assert POSITIONS.parse(json.loads(config.model_dump_json())) == config == POSITIONS.parse(str(config))


@pytest.mark.parametrize("spec", SPECS)
@given(q_pos=positions_vectors, k_pos=positions_vectors)
@quick
def test_hooks_act_on_each_position_alone(spec, q_pos, k_pos):
    """What hooks give for vectors of positions are rows and columns of what they give for all."""
    position, everywhere = build(spec), torch.arange(1001)
    k_pos = torch.cat([k_pos, torch.tensor([1000])])  # so that all calls below read equally far
    if (whole := position.embed(everywhere)) is not None:
        torch.testing.assert_close(position.embed(q_pos), whole[q_pos])
    if (bias := position.bias(q_pos, k_pos)) is not None:
        assert bias.shape == (6, len(q_pos), len(k_pos))
        by_pair = position.bias(q_pos[:, None], k_pos[None, :1].expand(len(q_pos), 1))
        torch.testing.assert_close(bias[:, :, :1], by_pair[:, :, 0].movedim(0, 1))
    q, k = random(2, 6, len(q_pos), 8), observed(position, random(2, 2, len(k_pos), 8))
    whole = logits(position, q, k, q_pos, k_pos)
    for i in {0, len(q_pos) // 2, len(q_pos) - 1}:
        row = logits(position, q[:, :, i : i + 1], k, q_pos[i : i + 1], k_pos)
        torch.testing.assert_close(row, whole[:, :, i : i + 1], atol=1e-5, rtol=1e-5)
    if position.kind == "data-dependent":
        return  # a key's logit depends on the keys between
    for j in {0, len(k_pos) // 2}:
        column = logits(position, q, k[:, :, [j, -1]], q_pos, k_pos[[j, -1]])
        torch.testing.assert_close(column[..., 0], whole[..., j], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("spec", RELATIVE)
@given(shift=st.integers(0, 5000), q_pos=positions_vectors, k_pos=positions_vectors)
@quick
def test_relative_encodings_depend_on_distance_alone(spec, shift, q_pos, k_pos):
    position = build(spec).double()
    q, k = random(1, 6, len(q_pos), 8, dtype=torch.float64), random(1, 2, len(k_pos), 8, dtype=torch.float64)
    here = logits(position, q, k, q_pos, k_pos)
    torch.testing.assert_close(
        logits(position, q, k, q_pos + shift, k_pos + shift), here, atol=1e-6, rtol=1e-6
    )


@pytest.mark.parametrize("spec", [s for s in of_kind("rotary") if type(build(s)) in (RoPE, PRoPE)])
@given(q_pos=positions_vectors)
@quick
def test_rotations_preserve_norms(spec, q_pos):
    q = random(2, 6, len(q_pos), 8)
    turned, _ = build(spec).rotate(q, q, q_pos, q_pos)
    scaling = POSITIONS.parse(spec).scaling
    factor = 1.0 if scaling is None else scaling.magnitude(1 + int(q_pos.max()))
    torch.testing.assert_close(turned.norm(dim=-1), factor * q.norm(dim=-1))


@pytest.mark.parametrize("spec", [s for s in of_kind("additive", "rotary") if not s.startswith("learned")])
def test_positions_of_a_million_keep_their_digits(spec):
    single, double = build(spec), build(spec).double()
    far = torch.arange(10**6, 10**6 + 7)
    if single.embed(far) is not None:
        torch.testing.assert_close(single.embed(far).double(), double.embed(far), atol=1e-6, rtol=1e-6)
    q, k = random(1, 6, 7, 8), random(1, 2, 7, 8)
    turned = single.rotate(q, k, far, far)
    exact = double.rotate(q.double(), k.double(), far, far)
    for found, expected in zip(turned, exact, strict=True):
        torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=1e-6)


def test_alibi_of_a_million_is_the_exact_product():
    far, near = torch.tensor([10**6]), torch.tensor([0])
    slopes = torch.tensor([2 ** (-8 * (h + 1) / 4) for h in range(4)])
    bias = build_position("alibi", d_model=8, n_heads=4, head_dim=2).bias(far, near)
    assert torch.equal(bias.flatten(), -slopes * 10**6)


@pytest.mark.parametrize("spec", SPECS)
def test_gradients_of_the_hooks_equal_finite_differences(spec):
    position = build({**POSITIONS.parse(spec).model_dump(), **short(spec)}).double()
    q_pos, k_pos = torch.tensor([0, 3, 8]), torch.tensor([1, 2])
    q, k = random(1, 6, 3, 8, dtype=torch.float64), random(1, 2, 2, 8, dtype=torch.float64)

    def hooks(q, k, *parameters):
        found = (position.embed(q_pos), logits(position, q, observed(position, k), q_pos, k_pos))
        return tuple(x for x in found if x is not None and x.requires_grad)

    with torch.no_grad():
        for parameter in position.parameters():
            parameter -= 0.05  # some start at the edge of what they may be
    inputs = [q.requires_grad_(), k.requires_grad_(), *position.parameters()]
    assert torch.autograd.gradcheck(hooks, inputs, fast_mode=True)


@pytest.mark.parametrize("spec", SPECS)
def test_bfloat16_stays_bfloat16_where_it_matters(spec):
    position, positions = build(spec), torch.arange(5)
    q, k = random(1, 6, 5, 8).bfloat16(), observed(position, random(1, 2, 5, 8)).bfloat16()
    assert all(x.dtype == torch.bfloat16 for x in position.rotate(q, k, positions, positions))
    embedded = position.to(torch.bfloat16).embed(positions)
    assert embedded is None or embedded.dtype == torch.bfloat16


def test_rope_computes_its_tables_once_for_all_layers(monkeypatch):
    rope = build("rope")
    made = []
    compute = rope._cos_sin
    monkeypatch.setattr(rope, "_cos_sin", lambda *args: made.append(args) or compute(*args))
    q, positions = random(1, 6, 5, 8), torch.arange(5)
    for _ in range(4):
        rope.rotate(q, q, positions, positions)
    assert len(made) == 1
    positions += 3  # in place: the tables kept for this tensor are wrong now
    fresh = build("rope").rotate(q, q, positions, positions)
    torch.testing.assert_close(rope.rotate(q, q, positions, positions), fresh)


def test_tables_made_in_inference_mode_serve_training():
    rope, q = build("rope"), random(1, 6, 5, 8).requires_grad_()
    default_positions.cache_clear()
    with torch.inference_mode():
        positions = default_positions(5, torch.device("cpu"))
        rope.rotate(q, q, positions, positions)
    assert not positions.is_inference()
    turned, _ = rope.rotate(q, q, positions, positions)
    turned.sum().backward()
    assert q.grad is not None


@pytest.mark.parametrize("spec", SPECS)
def test_a_checkpoint_holds_what_is_learned_and_nothing_else(spec):
    encoding = build(spec)
    assert list(encoding.state_dict()) == [name for name, _ in encoding.named_parameters()]


@pytest.mark.parametrize(
    ("spec", "sizes", "message"),
    [
        ("rope", {"head_dim": 7}, "even head_dim, got 7"),
        ("sinusoidal", {"d_model": 9}, "even d_model, got 9"),
        ("alibi", {"n_heads": 0}, "n_heads must be at least 1"),
        ("rope(base=0.5)", {}, "base: .*greater than 1"),
        ("learned(max_length=0)", {}, "max_length: .*greater than 0"),
        ("sinusoidal(scale=-1)", {}, "scale: .*greater than 0"),
        ("rotary", {}, "unknown position encoding 'rotary'; known: .*rope"),
    ],
)
def test_impossible_encodings_are_refused(spec, sizes, message):
    with pytest.raises(ValueError, match=message):
        build_position(spec, **{**SIZES, **sizes})


@pytest.mark.parametrize("outside", [[0, 9], [-1, 0]])
def test_learned_positions_outside_the_table_are_refused(outside):
    with pytest.raises(ValueError, match="max_length=9"):
        build("learned(max_length=9)").embed(torch.tensor(outside))
