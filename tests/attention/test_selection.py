"""What must hold for attention that chooses its keys."""

import pytest
import torch
from torch.nn.functional import normalize
from x_transformers.attend import sparse_topk_attn

from longctx.attention import MIXERS, Selection, attend, build_mixer
from longctx.positions import build_position

SPECS = [
    str(config)
    for entry in MIXERS
    if issubclass(entry.target, Selection)
    for config in MIXERS.examples(entry.name)
]
HEADS, HEAD_DIM = 4, 8
SIZES = {"d_model": HEADS * HEAD_DIM, "n_heads": HEADS, "head_dim": HEAD_DIM}
#: One token, a block of 8 and its neighbours, a prime; MHA, GQA, MQA.
CASES = [(1, 2), (7, 4), (8, 1), (9, 2), (61, 4), (64, 1), (61, 2)]


def inputs(length, kv_heads, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    heads = (HEADS, kv_heads, kv_heads)
    return [
        torch.randn(2, h, length, HEAD_DIM, generator=generator, dtype=dtype).requires_grad_() for h in heads
    ]


def build(spec, kv_heads=HEADS):
    """Anew each time: a selection may learn from what it attends to."""
    torch.manual_seed(0)
    return build_mixer(spec, **SIZES, n_kv_heads=kv_heads)


def states(length, seed=2, batch=2):
    return torch.randn(batch, length, SIZES["d_model"], generator=torch.Generator().manual_seed(seed))


def beside(selection, tensors, x):
    """Queries and keys with what the selection reads off the states of their tokens."""
    q, k, v = tensors
    asked, kept = selection.ask(x), selection.keep(x)
    q = q if asked is None else torch.cat([q, asked[:, :, -q.shape[2] :]], -1)
    return q, k if kept is None else torch.cat([k, kept], -1), v


def values_and_gradients(selection, tensors, x, **options):
    y = attend(*beside(selection, tensors, x), pattern=selection, **options)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    sources = [*tensors, *selection.parameters()]
    grads = torch.autograd.grad((y * weight).sum(), sources, allow_unused=True)
    return [y, *(g for g in grads if g is not None)]


@pytest.mark.parametrize("position", ["nope", "rope", "pope"])
@pytest.mark.parametrize("spec", SPECS)
def test_rounds_equal_dense(spec, position):
    for length, kv_heads in CASES:
        tensors, selection = inputs(length, kv_heads), build(spec, kv_heads)
        encoding = build_position(position, **SIZES, n_kv_heads=kv_heads)
        if (spec.partition("(")[0], position) == ("nsa", "pope"):
            with pytest.raises(ValueError, match="keys of head_dim=8 channels; PoPE makes them 16"):
                attend(*beside(selection, tensors, states(length)), pattern=selection, position=encoding)
            continue
        options = {"position": encoding}
        found = [
            values_and_gradients(build(spec, kv_heads), tensors, states(length), executor=executor, **options)
            for executor in ("dense", "rounds")
        ]
        for expected, actual in zip(*found, strict=True):
            torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("spec", SPECS)
def test_a_single_sequence_with_its_heads_innermost_is_served(spec):
    """As a projection hands it over: with one sequence, a view of it cannot be flattened."""
    shape = (1, 61, HEADS, HEAD_DIM)
    q, k, v = (torch.randn(shape).transpose(1, 2).requires_grad_() for _ in range(3))
    found = [
        values_and_gradients(build(spec), [q, k, v], states(61, batch=1), executor=executor)
        for executor in ("dense", "rounds")
    ]
    for expected, actual in zip(*found, strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("spec", SPECS)
def test_rounds_hold_each_chosen_pair_once_and_a_query_in_one_row(spec):
    for length, kv_heads in CASES:
        selection = build(spec, kv_heads)
        q, k, _ = beside(selection, inputs(length, kv_heads), states(length))
        places = torch.arange(length)
        chosen = selection.chosen(q, k, places, places).flatten(0, 1)
        seen = torch.zeros_like(chosen, dtype=torch.int)
        for number, one in enumerate(selection.rounds(q, k)):
            for n in range(len(chosen)):
                listed = one.queries[n][one.queries[n] >= 0]
                assert len(listed) == len(listed.unique())
                for row, (queries, keys) in enumerate(zip(one.queries[n], one.keys[n], strict=True)):
                    pairs = (queries >= 0)[:, None] & (keys >= 0)
                    if one.allowed is not None:
                        pairs &= one.allowed[n, row]
                        assert not (one.allowed[n, row] & (keys < 0)).any(), "what fills a row up is allowed"
                    i, j = pairs.nonzero(as_tuple=True)
                    seen[n].index_put_(
                        (queries[i], keys[j]), torch.ones((), dtype=torch.int), accumulate=True
                    )
            assert number > 0 or seen.diagonal(dim1=1, dim2=2).all(), (
                "the first round holds each query itself"
            )
        assert torch.equal(seen, chosen.int())


@pytest.mark.parametrize("executor", ["dense", "rounds"])
@pytest.mark.parametrize("spec", SPECS)
def test_the_future_changes_nothing(spec, executor):
    before, selection = inputs(61, 2), build(spec, 2)
    after = [torch.cat([x[:, :, :37], torch.randn_like(x[:, :, 37:])], dim=2) for x in before]
    known, unknown = states(61), states(61, seed=9)
    given = (before, known), (after, torch.cat([known[:, :37], unknown[:, 37:]], dim=1))
    y, z = (
        attend(*beside(selection, *one), pattern=selection, executor=executor)[:, :, :37] for one in given
    )
    torch.testing.assert_close(y, z, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("spec", SPECS)
def test_queries_at_the_end_choose_as_in_the_whole(spec):
    """As decoding with a cache asks."""
    selection, rope = build(spec, 2), build_position("rope", **SIZES, n_kv_heads=2)
    q, k, v = beside(selection, inputs(61, 2), states(61))
    whole = attend(q, k, v, pattern=selection, position=rope)
    places = torch.arange(61)
    for last in (1, 5):
        some = attend(
            q[:, :, -last:], k, v, pattern=selection, position=rope, q_pos=places[-last:], k_pos=places
        )
        torch.testing.assert_close(some, whole[:, :, -last:], atol=1e-5, rtol=1e-5)


def test_moba_chooses_the_blocks_with_the_best_mean_key():
    """By loops, from the paper's equations 5 and 6."""
    (q, k, _), size = inputs(45, 2), 8
    chosen = build("moba(block_size=8, blocks=3)", 2).chosen(q, k, torch.arange(45), torch.arange(45))
    means = [k[0, :, c * size : (c + 1) * size].mean(1).detach() for c in range(45 // size)]
    for head in range(HEADS):
        for i in range(45):
            scores = {c: float(q[0, head, i].detach() @ means[c][head // 2]) for c in range(i // size)}
            picked = {i // size, *sorted(scores, key=scores.get)[-2:]}
            expected = [j for j in range(i + 1) if j // size in picked]
            assert chosen[0, head, i].nonzero()[:, 0].tolist() == expected


def test_top_k_chooses_the_largest_logits_and_the_query_itself():
    q, k, _ = inputs(45, 2)
    chosen = build("top_k(k=6)", 2).chosen(q, k, torch.arange(45), torch.arange(45))
    for head in range(HEADS):
        for i in range(45):
            logits = {j: float(q[0, head, i].detach() @ k[0, head // 2, j].detach()) for j in range(i)}
            expected = {i, *sorted(logits, key=logits.get)[-5:]}
            assert set(chosen[0, head, i].nonzero()[:, 0].tolist()) == expected


def test_all_blocks_or_all_keys_are_full_attention():
    tensors = inputs(61, 2)
    full = attend(*tensors, pattern="full")
    for spec in ("moba(block_size=8, blocks=8)", "top_k(k=61)"):
        for executor in ("dense", "rounds"):
            y = attend(*tensors, pattern=build(spec, 2), executor=executor)
            torch.testing.assert_close(y, full, atol=1e-5, rtol=1e-5)


def test_what_a_selection_cannot_do_is_refused():
    tensors, selection = inputs(9, HEADS), build("moba")
    with pytest.raises(ValueError, match="rounds executor adds no bias to logits yet; use dense"):
        attend(*tensors, pattern=selection, position=build_position("alibi", **SIZES), executor="rounds")
    with pytest.raises(ValueError, match="runs on the executors auto, dense and rounds; got 'flex'"):
        attend(*tensors, pattern=selection, executor="flex")
    with pytest.raises(ValueError, match="MoBA cannot serve Shaw, which scores pairs"):
        attend(*tensors, pattern=selection, position=build_position("shaw", **SIZES))
    moved = {"q_pos": torch.arange(1, 10), "k_pos": torch.arange(1, 10)}
    with pytest.raises(ValueError, match="rounds executor needs queries and keys at positions 0"):
        attend(*tensors, pattern=selection, **moved, executor="rounds")
    with pytest.raises(ValueError, match="a pattern runs on the executors auto"):
        attend(*tensors, pattern="full", executor="rounds")
    with pytest.raises(ValueError, match=r"unknown mixer 'mobby'; known: .*moba"):
        build_mixer("mobby", **SIZES)


@pytest.mark.parametrize("spec", ["moba(block_size=8, blocks=2)", "top_k(k=3)"])
def test_a_bias_is_added_to_what_is_chosen(spec):
    q, k, v = inputs(30, HEADS)
    selection, alibi, places = build(spec), build_position("alibi", **SIZES), torch.arange(30)
    logits = q @ k.mT / HEAD_DIM**0.5 + alibi.bias(places, places)
    expected = logits.masked_fill(~selection.chosen(q, k, places, places), float("-inf")).softmax(-1) @ v
    torch.testing.assert_close(
        attend(q, k, v, pattern=selection, position=alibi), expected, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("spec", "length"), [("moba(block_size=8)", 512), ("top_k(k=2)", 128), ("top_k(k=100)", 4097)]
)
def test_auto_goes_by_rounds_from_the_length_where_these_are_faster(spec, length, monkeypatch):
    taken = []
    monkeypatch.setattr(
        "longctx.attention.selection.base.attend_rounds", lambda q, *rest: taken.append(q.shape[2]) or q
    )
    for n in (length - 1, length):
        q = torch.zeros(1, 1, n, 2)
        attend(q, q, q, pattern=spec)
    assert taken == [length]


def of_the_detach_trick(q, k, v, chosen, bias):
    """Full attention's weights as far as a gradient can see, those of the chosen keys as values."""
    k, v = (x.repeat_interleave(HEADS // x.shape[1], 1) for x in (k, v))
    logits = q @ k.mT / HEAD_DIM**0.5 + bias
    future = torch.ones(logits.shape[-2:], dtype=torch.bool).triu(1)
    full = logits.masked_fill(future, float("-inf")).softmax(-1)
    some = logits.masked_fill(~chosen, float("-inf")).softmax(-1)
    return (some.detach() + full - full.detach()) @ v


@pytest.mark.parametrize(
    ("position", "executor"),
    [("nope", "dense"), ("nope", "rounds"), ("rope", "rounds"), ("alibi(learned=True)", "dense")],
)
def test_the_gradient_goes_straight_through_to_full_attentions_weights(position, executor):
    tensors, places = inputs(45, 2), torch.arange(45)
    selection = build("top_k(k=6, straight_through=True)", 2)
    encoding = build_position(position, **SIZES, n_kv_heads=2)
    learned = [*tensors, *encoding.parameters()]
    y = attend(*tensors, pattern=selection, position=encoding, executor=executor)
    q, k = encoding.rotate(*tensors[:2], places, places)
    bias = encoding.bias(places, places)
    z = of_the_detach_trick(
        q, k, tensors[2], selection.chosen(q, k, places, places), 0 if bias is None else bias
    )
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    found = [[x, *torch.autograd.grad((x * weight).sum(), learned)] for x in (y, z)]
    for actual, expected in zip(*found, strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_straight_through_agrees_with_x_transformers():
    """Whose k best need not hold the query itself: here no key suits it as well as its own."""
    q, _, v = inputs(45, HEADS)
    k = (8 * normalize(q.detach(), dim=-1)).requires_grad_()
    future = torch.ones(45, 45, dtype=torch.bool).triu(1)
    logits = (q @ k.mT / HEAD_DIM**0.5).masked_fill(future, -torch.finfo(torch.float32).max)
    expected = sparse_topk_attn(logits, 6, straight_through=True) @ v
    actual = attend(q, k, v, pattern="top_k(k=6, straight_through=True)")
    found = [[y, *torch.autograd.grad(y.square().sum(), [q, k, v])] for y in (actual, expected)]
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_straight_through_changes_gradients_and_no_value():
    tensors = inputs(45, 2)
    q, k, _ = tensors
    k_of_nobody = ~build("top_k(k=2)", 2).chosen(q, k, torch.arange(45), torch.arange(45))
    plain, through = (
        attend(*tensors, pattern=f"top_k(k=2, straight_through={flag})") for flag in (False, True)
    )
    assert torch.equal(plain, through)
    # What only the last query could choose, and did not.
    grads = [torch.autograd.grad(y[:, :, -1].square().sum(), k)[0] for y in (plain, through)]
    left_out = k_of_nobody[:, :, -1].unflatten(1, (2, 2)).all(2)
    assert left_out.any()
    assert not grads[0][left_out].any()
    assert grads[1][left_out].any(-1).all()
