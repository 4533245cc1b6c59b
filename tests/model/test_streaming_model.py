"""Models that read through a streaming cache: against a mask, against the full pass, against a loop."""

import math

import pytest
import torch

from longctx.model import ModelConfig, build_model, generate, read
from longctx.positions import POSITIONS

ENCODINGS = [entry.name for entry in POSITIONS]
OBSERVING = {"fox"}
ADDITIVE = {"learned", "sinusoidal"}
TOKENS = torch.randint(50, (2, 24), generator=torch.Generator().manual_seed(0))


def model_of(position, attention="full", layers=3, **changes):
    sizes = {"n_layers": layers, "d_model": 32, "n_heads": 4, "vocab_size": 50, "init_std": 0.2}
    return build_model(ModelConfig(position=position, attention=attention, **sizes, **changes), seed=1).eval()


@pytest.mark.parametrize("position", ENCODINGS)
@torch.no_grad()
def test_while_nothing_is_evicted_a_stream_is_the_full_forward_pass(position):
    model = model_of(position)
    how = {
        "positions": "text" if position in ADDITIVE else "cache",
        "sinks": 0 if position in OBSERVING else 4,
    }
    cache = model.streaming_cache(2, window=24 - how["sinks"], **how)
    pieces = [model.hidden(TOKENS[:, :9], cache=cache), model.hidden(TOKENS[:, 9:], cache=cache)]
    torch.testing.assert_close(torch.cat(pieces, 1), model.hidden(TOKENS), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("position", ENCODINGS)
@pytest.mark.parametrize("sinks", [0, 2])
@torch.no_grad()
def test_at_positions_in_the_text_eviction_is_the_mask_of_sinks_in_any_number_of_layers(
    position, sinks, layers
):
    if sinks and position in OBSERVING:
        pytest.skip("refused, see below")
    model = model_of(position, layers=layers, n_kv_heads=2)
    pattern = f"sinks(window=5, sinks={sinks})" if sinks else "sliding_window(window=5)"
    masked = model_of(position, pattern, layers, n_kv_heads=2)
    cache = model.streaming_cache(2, window=5, sinks=sinks, positions="text")
    torch.testing.assert_close(read(model, TOKENS, cache), masked.hidden(TOKENS), atol=1e-5, rtol=1e-5)


def turned(x, where):
    """RoPE of one vector at one place: pairs t and t + d/2, by 10000^(−2t/d) radians a position."""
    half = len(x) // 2
    angles = torch.tensor([where * 10_000.0 ** (-t / half) for t in range(half)])
    z = torch.complex(x[:half], x[half:]) * torch.polar(torch.ones(half), angles)
    return torch.cat([z.real, z.imag])


def by_hand(model, tokens, window, sinks, position):
    """Streaming as the paper describes it, one stream, one token, one head at a time, from lists."""
    n, d = model.config.n_heads, model.config.head_dim
    held = [[] for _ in model.blocks]
    outputs = []
    for token in tokens:
        x = model.embedding.weight[token]
        for block, entries in zip(model.blocks, held, strict=True):
            q, k, v = block.attention.qkv(block.attention_norm(x)).split([n * d] * 3)
            entries.append((k.view(n, d), v.view(n, d)))
            if len(entries) > sinks + window:
                del entries[sinks]
            mixed = []
            for head in range(n):
                here, logits = len(entries) - 1, []
                for place, (key, _) in enumerate(entries):
                    own, other = q.view(n, d)[head], key[head]
                    if position == "rope":
                        own, other = turned(own, here), turned(other, place)
                    bias = -(2.0 ** (-8 * (head + 1) / n)) * (here - place) if position == "alibi" else 0.0
                    logits.append(own @ other / math.sqrt(d) + bias)
                weights = torch.stack(logits).softmax(0)
                mixed.append(sum(w * value[head] for w, (_, value) in zip(weights, entries, strict=True)))
            x = x + block.attention.out(torch.cat(mixed))
            x = x + block.feed_forward(block.feed_forward_norm(x)[None])[0]
        outputs.append(model.final_norm(x))
    return torch.stack(outputs)


@pytest.mark.parametrize("position", ["rope", "alibi", "nope"])
@pytest.mark.parametrize(("window", "sinks"), [(5, 2), (1, 1), (6, 0)])
@torch.no_grad()
def test_positions_in_the_cache_are_those_of_a_loop_over_lists(position, window, sinks):
    model = model_of(position, layers=2)
    found = read(model, TOKENS, model.streaming_cache(2, window=window, sinks=sinks))
    for row, tokens in zip(found, TOKENS, strict=True):
        expected = by_hand(model, tokens, window, sinks, position)
        torch.testing.assert_close(row, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_two_choices_of_position_differ_once_something_has_left_between_sinks_and_window():
    model = model_of("rope")
    cache, text = (
        read(model, TOKENS, model.streaming_cache(2, window=5, sinks=2, positions=where))
        for where in ("cache", "text")
    )
    torch.testing.assert_close(cache[:, :7], text[:, :7])
    assert (cache[:, 7:] - text[:, 7:]).abs().amax(-1).min() > 1e-4


@pytest.mark.parametrize("position", ["learned", "sinusoidal"])
def test_an_encoding_that_is_added_to_tokens_cannot_move_in_the_cache(position):
    with pytest.raises(ValueError, match="added to the tokens before keys are made"):
        model_of(position).streaming_cache(1, window=5)


def test_forgetting_attention_refuses_sinks_whose_gates_would_be_evicted():
    with pytest.raises(ValueError, match="stream it with sinks=0"):
        model_of("fox").streaming_cache(1, window=5, sinks=2)


@torch.no_grad()
def test_generation_through_a_streaming_cache_is_greedy_decoding_under_the_mask():
    prompt = TOKENS[:, :12]
    model, masked = model_of("rope"), model_of("rope", "sinks(window=5, sinks=2)")
    cache = model.streaming_cache(2, window=5, sinks=2, positions="text")
    said = generate(model, prompt, n_tokens=15, temperature=0, cache=cache)
    expected = prompt
    for _ in range(15):
        expected = torch.cat([expected, masked(expected)[:, -1].argmax(-1, keepdim=True)], 1)
    assert torch.equal(said, expected)
    assert cache[0].length == 7
