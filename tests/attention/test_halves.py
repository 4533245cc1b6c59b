"""Full causal attention by halves equals dense, refuses what it cannot do, and holds nothing quadratic."""

import pytest
import torch
from comparisons import HEAD_DIM, HEADS, Largest, build, inputs, values_and_gradients
from torch.utils.flop_counter import FlopCounterMode

from longctx.attention import attend
from longctx.attention.executors import halves

#: Below two tiles, around one, two and four of them, primes, and lengths that need padding at every level.
LENGTHS = [1, 63, 64, 127, 128, 129, 191, 257, 509, 520]


@pytest.mark.parametrize("kv_heads", [6, 2, 1])
@pytest.mark.parametrize("length", LENGTHS)
def test_halves_equal_dense(length, kv_heads):
    for position in ("nope", "rope"):
        tensors = inputs(length, kv_heads=kv_heads)
        dense, halved = (
            values_and_gradients(executor, "full", build(position), tensors)
            for executor in ("dense", "halves")
        )
        for expected, actual in zip(dense, halved, strict=True):
            torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_halves_agree_with_float64_products():
    tensors = inputs(400, dtype=torch.float64)
    q, k, v = (x.detach() for x in tensors)
    k, v = (x.repeat_interleave(HEADS // 2, dim=1) for x in (k, v))
    logits = q @ k.mT / HEAD_DIM**0.5
    logits += torch.full((400, 400), float("-inf"), dtype=torch.float64).triu(1)
    y = attend(*tensors, pattern="full", executor="halves")
    torch.testing.assert_close(y.detach(), logits.softmax(-1) @ v, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 100.0])
def test_halves_are_merged_right_however_sharp_attention_is(scale):
    q, k, v = inputs(300, dtype=torch.float64)
    sharp = [(scale * q).detach().requires_grad_(), k, v]
    dense, halved = (values_and_gradients(e, "full", build("nope"), sharp) for e in ("dense", "halves"))
    for expected, actual in zip(dense, halved, strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-10, rtol=1e-10)


def test_mixed_precision_halves_are_as_close_to_float32_as_dense():
    q, k, v = inputs(600)
    exact = attend(q, k, v, pattern="full", executor="dense")
    with torch.autocast("cpu", torch.bfloat16):
        found = {e: attend(q, k, v, pattern="full", executor=e) for e in ("dense", "halves")}
    assert all(y.dtype == torch.bfloat16 for y in found.values())
    error = {e: (y.float() - exact).abs().max().item() for e, y in found.items()}
    assert error["halves"] <= 1.5 * error["dense"] < 0.1
    found["halves"].float().sum().backward()
    assert q.grad.dtype == torch.float32


def test_halves_hold_nothing_quadratic():
    largest = {}
    for length in (2048, 8192):
        tensors = inputs(length, batch=1)
        with Largest() as seen:
            attend(*tensors, pattern="full", executor="halves").sum().backward()
        largest[length] = seen.numbers
    assert largest[8192] <= 4 * largest[2048] < 2048**2 / 4


@pytest.mark.parametrize("length", LENGTHS)
def test_the_pairs_that_are_computed_are_counted(length):
    operation = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    pairs = []

    def count(q, k, *_, **__):
        pairs.append(q[0] * q[2] * k[2])
        return 0

    with FlopCounterMode(display=False, custom_mapping={operation: count}), torch.no_grad():
        attend(*inputs(length, batch=1), pattern="full", executor="halves")
    assert sum(pairs) == halves.pairs(length)


@pytest.mark.parametrize("length", [halves.SMALLEST, 700])
def test_the_same_call_gives_the_same_bits(length):
    first, second = (values_and_gradients("halves", "full", build("rope"), inputs(length)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_tensors_of_any_layout_give_the_same():
    q, k, v = inputs(200)
    turned = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v)]
    arguments = {"pattern": "full", "executor": "halves"}
    torch.testing.assert_close(attend(*turned, **arguments), attend(q, k, v, **arguments))


@pytest.mark.parametrize(
    "change",
    [
        {"pattern": "full(causal=False)"},
        {"pattern": "sliding_window(window=64)"},
        {"position": build("alibi")},
        {"q_pos": torch.arange(200) + 3, "k_pos": torch.arange(200) + 3},
    ],
)
def test_what_halves_cannot_do_is_refused(change):
    with pytest.raises(ValueError, match="full causal attention without a bias"):
        attend(*inputs(200), **{"pattern": "full", "executor": "halves", **change})
