"""Attention without a softmax: against loops written from the papers, and another implementation."""

import pytest
import torch
from linear_mixers import (
    CASES,
    HEAD_DIM,
    HEADS,
    NAMES,
    SIZES,
    SPECS,
    assert_equal,
    build,
    by_a_loop,
    inputs,
    run,
    with_gradients,
)
from transformers.models.qwen3_next.modeling_qwen3_next import (
    torch_chunk_gated_delta_rule,
    torch_recurrent_gated_delta_rule,
)

from longctx.attention import attend, build_mixer
from longctx.attention.linear.base import CHUNK
from longctx.model import ModelConfig
from longctx.positions import build_position


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
