"""NSA and DSA against loops written from their papers, and what their parameters learn from."""

import math

import pytest
import torch
from torch.nn.functional import gelu, linear

from longctx.attention import attend, build_mixer
from longctx.model import ModelConfig, build_model
from longctx.positions import build_position

HEADS, KV_HEADS, HEAD_DIM, LENGTH = 4, 2, 8, 45
D_MODEL = HEADS * HEAD_DIM


def build(spec):
    torch.manual_seed(1)
    return build_mixer(spec, d_model=D_MODEL, n_heads=HEADS, n_kv_heads=KV_HEADS, head_dim=HEAD_DIM)


def given(seed=0):
    generator = torch.Generator().manual_seed(seed)
    heads = (HEADS, KV_HEADS, KV_HEADS)
    q, k, v = (torch.randn(1, h, LENGTH, HEAD_DIM, generator=generator) for h in heads)
    return q, k, v, torch.randn(1, LENGTH, D_MODEL, generator=generator)


def softmax_over(query, keys, values):
    return (keys @ query / HEAD_DIM**0.5).softmax(0) @ values


@torch.no_grad()
def test_nsa_is_the_gated_sum_of_its_three_branches():
    """Equations 5 to 12 of Yuan et al. (2025), one query at a time."""
    size, blocks, window = 8, 3, 10
    nsa, (q, k, v, x) = build(f"nsa(block_size={size}, blocks={blocks}, window={window})"), given()
    for compression in (nsa.of_keys, nsa.of_values):
        compression.places.normal_()
    y = attend(torch.cat([q, nsa.ask(x)], -1), k, v, pattern=nsa)

    def compressed(by, block):
        hidden = gelu(linear((block + by.places).flatten(), by.up.weight, by.up.bias))
        return block.mean(0) + linear(hidden, by.down.weight, by.down.bias)

    for i in range(LENGTH):
        gates = linear(x[0, i], nsa.gates.weight, nsa.gates.bias).view(HEADS, 3).sigmoid()
        complete = range((i + 1) // size)
        for g in range(KV_HEADS):
            keys, values = k[0, g], v[0, g]
            pieces = [slice(c * size, (c + 1) * size) for c in complete]
            short = torch.stack([compressed(nsa.of_keys, keys[s]) for s in pieces]) if pieces else None
            importance = torch.zeros(len(pieces))
            for h in (2 * g, 2 * g + 1):
                importance += (short @ q[0, h, i] / HEAD_DIM**0.5).softmax(0) if pieces else 0
            others = sorted(range(1, i // size), key=lambda c: -importance[c])
            selected = {i // size, 0, *others[: blocks - 2]}
            chosen = [j for j in range(i + 1) if j // size in selected]
            near = slice(max(0, i - window + 1), i + 1)
            for h in (2 * g, 2 * g + 1):
                query = q[0, h, i]
                far = torch.zeros(HEAD_DIM)
                if pieces:
                    far = softmax_over(
                        query, short, torch.stack([compressed(nsa.of_values, values[s]) for s in pieces])
                    )
                branches = (
                    far,
                    softmax_over(query, keys[chosen], values[chosen]),
                    softmax_over(query, keys[near], values[near]),
                )
                expected = sum(gate * branch for gate, branch in zip(gates[h], branches, strict=True))
                torch.testing.assert_close(y[0, h, i], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_dsa_attends_to_the_tokens_with_the_best_index():
    """Equations 1 and 2 of DeepSeek-AI (2025), one pair at a time, with RoPE by complex numbers."""
    dsa, (q, k, _, x) = build("dsa(k=6, index_heads=3, index_dim=4)"), given()
    q, k = torch.cat([q, dsa.ask(x)], -1), torch.cat([k, dsa.keep(x)], -1)
    places = torch.arange(LENGTH)
    chosen = dsa.chosen(q, k, places, places)
    read = linear(x[0], dsa.of_queries.weight)
    queries, weights = read[:, :12].view(LENGTH, 3, 4), read[:, 12:]
    keys = linear(x[0], dsa.of_keys.weight)
    angles = places[:, None] * 10_000.0 ** -(torch.arange(2) / 2)

    def turned(vector, place):
        return torch.complex(vector[:2], vector[2:]) * torch.exp(1j * angles[place])

    for i in range(LENGTH):
        index = {}
        for j in range(i):
            fits = [(turned(queries[i, h], i) * turned(keys[j], j).conj()).real.sum() for h in range(3)]
            index[j] = sum(float(w) * max(0.0, float(f)) for w, f in zip(weights[i], fits, strict=True))
        ranked = sorted(index, key=lambda j: -index[j])
        least = index[ranked[4]] if len(ranked) > 4 else -math.inf
        for head in range(HEADS):
            found = set(chosen[0, head, i].nonzero()[:, 0].tolist())
            assert i in found
            assert len(found) == min(6, i + 1)
            # Scores of 0, where no head fits, tie.
            assert all(index[j] >= least - 1e-6 for j in found - {i})


def with_indexer(dsa, x, tensors):
    q, k, v = tensors
    return torch.cat([q, dsa.ask(x)], -1), torch.cat([k, dsa.keep(x)], -1), v


def test_the_indexer_learns_from_its_divergence_alone_and_nothing_else_from_it():
    dsa, (*tensors, x) = build("dsa(k=6)"), given()
    tensors, x = [t.requires_grad_() for t in tensors], x.requires_grad_()
    attend(*with_indexer(dsa, x, tensors), pattern=dsa).sum().backward()
    assert x.grad is None
    found = [t.grad.clone() for t in tensors]

    # The divergence written out, through autograd.
    q, k, _ = with_indexer(dsa, x.detach(), [t.detach() for t in tensors])
    dots = q[..., :HEAD_DIM] @ k[..., :HEAD_DIM].repeat_interleave(2, 1).mT / HEAD_DIM**0.5
    future = torch.ones(LENGTH, LENGTH).triu(1).bool()
    p = dots.masked_fill(future, -math.inf).softmax(-1).mean(1)
    places = torch.arange(LENGTH)
    index = dsa.scores(q, k, places, places)[:, 0].masked_fill(future, -math.inf)
    logs = index.log_softmax(-1).masked_fill(future, 0)
    divergence = (p * (p.clamp(min=1e-30).log() - logs)).sum(-1)
    torch.testing.assert_close(dsa.divergence(q, k, places, places, HEAD_DIM**-0.5), divergence.mean(0))
    expected = torch.autograd.grad(divergence.mean(), list(dsa.parameters()))
    for p, grad in zip(dsa.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, grad, atol=1e-6, rtol=1e-4)

    # Attention over the same choice, without an indexer to teach.
    dsa.eval()
    attend(*with_indexer(dsa, x.detach(), tensors), pattern=dsa).sum().backward()
    for t, once in zip(tensors, found, strict=True):
        torch.testing.assert_close(t.grad, 2 * once)


def test_pieces_of_the_divergence_add_up(monkeypatch):
    dsa, (*tensors, x) = build("dsa(k=6)"), given()
    grads = []
    for budget in (2**22, 3 * KV_HEADS * LENGTH):
        monkeypatch.setattr("longctx.attention.selection.tokens.BUDGET", budget)
        dsa.zero_grad()
        given_now = [t.clone().requires_grad_() for t in tensors]
        attend(*with_indexer(dsa, x, given_now), pattern=dsa).sum().backward()
        grads.append([p.grad.clone() for p in dsa.parameters()])
    assert len(dsa.pieces(LENGTH, tensors[1])) == LENGTH // 3
    for whole, pieces in zip(*grads, strict=True):
        torch.testing.assert_close(pieces, whole, atol=1e-6, rtol=1e-4)


def test_training_draws_the_indexer_to_dense_attention():
    dsa, (*tensors, x) = build("dsa(k=6)"), given()
    tensors = [3 * t for t in tensors]
    optimiser, places = torch.optim.Adam(dsa.parameters(), lr=0.05), torch.arange(LENGTH)

    @torch.no_grad()
    def divergence():
        q, k, _ = with_indexer(dsa, x, tensors)
        return float(dsa.divergence(q, k, places, places, HEAD_DIM**-0.5).mean())

    before = divergence()
    for _ in range(60):
        optimiser.zero_grad()
        attend(*with_indexer(dsa, x, [t.requires_grad_() for t in tensors]), pattern=dsa).sum().backward()
        optimiser.step()
    assert divergence() < 0.6 * before


@pytest.mark.parametrize(
    ("position", "message"),
    [("alibi", "cannot serve ALiBi: a compressed block has no distance"), ("shaw", "which scores pairs")],
)
def test_nsa_refuses_what_a_compressed_block_cannot_have(position, message):
    nsa, (q, k, v, x) = build("nsa"), given()
    encoding = build_position(
        position, d_model=D_MODEL, n_heads=HEADS, n_kv_heads=KV_HEADS, head_dim=HEAD_DIM
    )
    asked = torch.cat([q, nsa.ask(x)], -1)
    with pytest.raises(ValueError, match=message):
        attend(asked, k, v, pattern=nsa, position=encoding)
    with pytest.raises(ValueError, match=message):
        ModelConfig(n_layers=1, d_model=16, n_heads=2, vocab_size=9, position=position, attention="nsa")


def test_nsa_refuses_keys_from_the_middle_of_a_text():
    nsa, (q, k, v, x) = build("nsa"), given()
    places = torch.arange(LENGTH) + 3
    with pytest.raises(ValueError, match="nsa needs keys at positions 0, 1"):
        attend(torch.cat([q, nsa.ask(x)], -1), k, v, pattern=nsa, q_pos=places, k_pos=places)


@pytest.mark.parametrize("attention", ["nsa(block_size=4, window=4)", "dsa(k=4)"])
def test_every_parameter_of_a_model_receives_a_gradient(attention):
    sizes = {"n_layers": 2, "d_model": 32, "n_heads": 4, "n_kv_heads": 2, "vocab_size": 50}
    model = build_model(ModelConfig(family="llama", attention=attention, **sizes))
    tokens = torch.randint(50, (2, 24), generator=torch.Generator().manual_seed(0))
    model(tokens).logsumexp(-1).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
