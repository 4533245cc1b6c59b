"""Properties of the decoder stack that hold whatever the encoding and the pattern."""

import math
from itertools import product

import pytest
import torch

from longctx.attention import MIXERS, PATTERNS
from longctx.model import ModelConfig, build_model, generate
from longctx.positions import POSITIONS

ENCODINGS = [entry.name for entry in POSITIONS]
ATTENTIONS = ["full", "sliding_window(window=5)", "block_local(block_size=4)"]
#: Patterns of which one encoding is enough; that all give one result is tested with executors.
FURTHER = [
    "bigbird(block_size=2, random_blocks=1, length=32)",
    "dilated_window(window=3, dilation=2)",
    "documents(starts=(4, 12))",
    "fixed(stride=4)",
    "logsparse",
    "longformer(window=3)",
    "longnet(segments=(3, 12), dilations=(1, 3))",
    "sinks(window=3)",
    "strided(stride=4)",
    "vertical_slash(window=2, slashes=(5,))",
    "dsa(k=3)",
    "moba(block_size=4, blocks=2)",
    "nsa(block_size=4, blocks=2, window=3)",
    "top_k(k=3)",
    "lsh(buckets=4, window=3, hashes=2)",
    "routing(clusters=3, window=3)",
    "linear",
    "performer(features=12)",
    "gated_delta",
    "by_layer(schedule='SL', short=moba(block_size=4), long=sinks(window=3))",
]
PAIRS = [*product(ENCODINGS, ATTENTIONS), *product(["rope"], FURTHER)]


def config(**changes) -> ModelConfig:
    sizes = {"n_layers": 2, "d_model": 32, "n_heads": 4, "vocab_size": 50}
    return ModelConfig(**{"family": "gpt", "position": "rope", **sizes, **changes})


def test_every_registered_pattern_is_covered_here() -> None:
    causal = {entry.name for entry in PATTERNS if any(p.causal for p in PATTERNS.examples(entry.name))}
    causal |= {entry.name for entry in MIXERS}
    assert {a.partition("(")[0] for a in ATTENTIONS + FURTHER} >= causal - {"both", "either"}


@pytest.mark.parametrize(("position", "attention"), PAIRS)
@pytest.mark.parametrize("n_kv_heads", [4, 1])
@torch.no_grad()
def test_cached_decoding_equals_the_full_forward_pass(position: str, attention: str, n_kv_heads: int) -> None:
    model = build_model(config(position=position, attention=attention, n_kv_heads=n_kv_heads), seed=1)
    tokens = torch.randint(50, (2, 19), generator=torch.Generator().manual_seed(0))
    cache = model.new_cache(batch=2, max_length=19)
    # Token by token; a second time, where heads are many, also by a longer piece after a shorter one.
    sizes = [7, *[1] * 12] if n_kv_heads == 1 else [7, 1, 1, 1, 9]
    pieces = [model(some, cache=cache) for some in tokens.split(sizes, dim=1)]
    torch.testing.assert_close(torch.cat(pieces, 1), model(tokens), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("position", "attention"), PAIRS)
def test_no_logit_depends_on_a_later_token(position: str, attention: str) -> None:
    model = build_model(config(position=position, attention=attention))
    tokens = torch.randint(50, (1, 16), generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[0, 9:] = (changed[0, 9:] + 1) % 50
    before, after = model(tokens), model(changed)
    # Who else chooses a key changes which queries are computed together, and so the last bit.
    rounding = 1e-6 if attention.startswith(("moba", "by_layer", "lsh", "routing")) else 0
    torch.testing.assert_close(after[:, :9], before[:, :9], atol=rounding, rtol=0)
    assert (after[:, 9] - before[:, 9]).abs().max() > 1e-4


def test_models_that_differ_in_the_encoding_start_from_the_same_weights() -> None:
    rope, learned = (
        dict(build_model(config(position=p), seed=3).named_parameters()) for p in ("rope", "learned")
    )
    assert rope.keys() == learned.keys() - {"position.weight"}
    for name, parameter in rope.items():
        assert torch.equal(parameter, learned[name]), name


@pytest.mark.parametrize("position", ["rope", "learned"])
def test_the_seed_alone_decides_the_initial_weights(position: str) -> None:
    torch.manual_seed(0)
    first = build_model(config(position=position), seed=1).state_dict()
    torch.manual_seed(99)
    again, other = (build_model(config(position=position), seed=s).state_dict() for s in (1, 2))
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["embedding.weight"], other["embedding.weight"])
    if position == "learned":
        assert not torch.equal(first["position.weight"], other["position.weight"])


def test_initial_weights_have_the_standard_deviations_of_the_paper() -> None:
    model = build_model(config(d_model=256, n_layers=8, vocab_size=2000))
    assert model.embedding.weight.std().item() == pytest.approx(0.02, rel=0.02)
    block = model.blocks[0]
    assert block.attention.qkv.weight.std().item() == pytest.approx(0.02, rel=0.02)
    for writes in (block.attention.out, block.feed_forward.down):
        assert writes.weight.std().item() == pytest.approx(0.02 / math.sqrt(16), rel=0.02)
    assert all((p == 0).all() for n, p in model.named_parameters() if n.endswith("bias"))


def test_an_untrained_model_predicts_almost_uniformly() -> None:
    model = build_model(config(vocab_size=1000))
    tokens = torch.randint(1000, (4, 64), generator=torch.Generator().manual_seed(0))
    loss = torch.nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.roll(-1, 1).flatten())
    assert loss.item() == pytest.approx(math.log(1000), abs=0.05)


def test_positions_beyond_a_learned_table_are_refused() -> None:
    model = build_model(config(position="learned(max_length=8)"))
    with pytest.raises(ValueError, match="max_length=8"):
        model(torch.zeros(1, 9, dtype=torch.long))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_heads": 5}, "d_model=32 must be a multiple of n_heads=5"),
        ({"n_kv_heads": 3}, "n_heads=4 must be a multiple of n_kv_heads=3"),
        ({"position": "rotary"}, "unknown position encoding 'rotary'"),
        ({"attention": "sliding_window(window=0)"}, "window"),
        ({"family": "gtp"}, "family"),
        ({"layers": 3}, "layers"),
        ({"n_layers": 0}, "n_layers"),
    ],
)
def test_a_wrong_field_is_named(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        config(**changes)


def test_families_choose_what_the_config_leaves_open() -> None:
    gpt, llama = (
        ModelConfig(family=f, n_layers=1, d_model=96, n_heads=2, vocab_size=9) for f in ("gpt", "llama")
    )
    assert (gpt.activation, gpt.norm, gpt.bias, gpt.d_ff) == ("gelu_tanh", "layernorm", True, 384)
    assert (llama.activation, llama.norm, llama.bias, llama.d_ff) == ("swiglu", "rmsnorm", False, 256)


def test_greedy_generation_takes_the_likeliest_token_each_time() -> None:
    model = build_model(config(init_std=0.5), seed=2)
    prompt = torch.tensor([[1, 2, 3], [4, 5, 6]])
    tokens = prompt
    for _ in range(9):
        tokens = torch.cat([tokens, model(tokens)[:, -1].argmax(-1, keepdim=True)], 1)
    assert torch.equal(generate(model, prompt, n_tokens=9, temperature=0), tokens)


def test_sampling_follows_the_models_distribution() -> None:
    model = build_model(config(vocab_size=6, init_std=0.5), seed=2)
    prompt = torch.tensor([[1, 2]]).expand(20_000, 2)
    draws = generate(model, prompt, n_tokens=1, temperature=0.7, seed=5)[:, -1]
    expected = (model(prompt[:1])[0, -1] / 0.7).softmax(-1)
    observed = draws.bincount(minlength=6) / len(draws)
    assert (observed - expected).abs().max() < 4 * (0.25 / len(draws)) ** 0.5
    top = generate(model, prompt, n_tokens=1, top_k=2, seed=5)[:, -1]
    assert set(top.tolist()) == set(expected.topk(2).indices.tolist())


def test_sampling_is_decided_by_its_seed() -> None:
    model = build_model(config(init_std=0.5))
    prompt = torch.tensor([[1]])
    a, b, c = (generate(model, prompt, n_tokens=12, seed=s) for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
