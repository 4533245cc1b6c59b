"""Blocks and flex equal dense, for every registered pattern with every registered encoding."""

import pytest
import torch
from comparisons import (
    COMBINATIONS,
    HEADS,
    PATTERN_SPECS,
    POSITION_SPECS,
    THOROUGH,
    Largest,
    build,
    inputs,
    values_and_gradients,
    with_observed,
)

from longctx.attention import attend, build_pattern
from longctx.attention.executors import blocks, kernel, plan
from longctx.positions import PositionEncoding

BLOCK = 32
#: Length, batch, kv heads: one token, a block and its neighbours, primes; MHA, GQA and MQA.
CASES = [(1, 2, 2), (31, 1, 6), (32, 2, 1), (33, 2, 2), (67, 1, 6), (67, 2, 1), (101, 1, 2)]
#: Enough for what changes neither the layout of blocks nor that of heads.
FEW = [(33, 2, 2), (67, 1, 6), (101, 1, 1)]
ONE = [(67, 2, 2)]


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 32, so that short sequences have many."""
    monkeypatch.setattr(plan, "DEFAULT_BLOCK", BLOCK)


def assert_blocks_equal_dense(pattern, position, tensors, tolerance=1e-5):
    dense = values_and_gradients("dense", pattern, position, tensors)
    sparse = values_and_gradients("blocks", pattern, position, tensors)
    # What is learned has a sum over all pairs as its gradient; some of these sums are 0 but for rounding, as
    # that of a constant added to all logits. So their errors are held against the largest of them.
    largest = max([1.0, *(float(grad.abs().max()) for grad in dense[4:])])
    for place, (expected, actual) in enumerate(zip(dense, sparse, strict=True)):
        atol = tolerance * (largest if place >= 4 else 1)
        torch.testing.assert_close(actual, expected, atol=atol, rtol=tolerance)


@pytest.mark.parametrize(("pattern", "position"), COMBINATIONS)
def test_blocks_equal_dense(small_blocks, pattern, position):
    if build(position).causal_only and not build_pattern(pattern).causal:
        for executor in ("dense", "blocks"):
            with pytest.raises(ValueError, match="no query looks to its right"):
                values_and_gradients(executor, pattern, build(position), inputs(8))
        return
    cases = CASES if position == "alibi" else FEW if position in THOROUGH else ONE
    for length, batch, kv_heads in cases:
        assert_blocks_equal_dense(pattern, build(position, kv_heads), inputs(length, batch, kv_heads))


@pytest.mark.parametrize("pattern", PATTERN_SPECS)
def test_blocks_equal_dense_without_the_cpu_kernel(small_blocks, monkeypatch, pattern):
    """The products that other devices use."""
    monkeypatch.setattr(kernel, "has_flash", lambda q: False)
    for length, batch, kv_heads in [(67, 2, 2), (32, 1, 6)]:
        assert_blocks_equal_dense(pattern, build("alibi"), inputs(length, batch, kv_heads))


@pytest.mark.parametrize("position", ["alibi", "alibi(learned=True)"])
@pytest.mark.parametrize("pattern", PATTERN_SPECS)
def test_blocks_equal_dense_when_work_is_split(small_blocks, monkeypatch, pattern, position):
    monkeypatch.setattr(blocks, "BUDGET", 1)
    assert_blocks_equal_dense(pattern, build(position), inputs(101))


@pytest.mark.parametrize("pattern", ["full", "sliding_window(window=200)", "block_local(block_size=300)"])
def test_blocks_equal_dense_at_the_real_block(pattern):
    for position in ("rope", "alibi(learned=True)"):
        assert_blocks_equal_dense(pattern, build(position), inputs(700, batch=1), tolerance=2e-5)


class Aperiodic(plan.Pattern):
    """A window and a first token that everyone sees: no period, and gaps between touched blocks."""

    name: str = "aperiodic"

    def allows(self, q_pos, k_pos):
        i, j = q_pos[..., :, None], k_pos[..., None, :]
        return (j <= i) & ((i - j < 20) | (j == 0))

    def touched(self, n_blocks, block):
        return [torch.tensor(sorted({0, *range(max(0, b - 1), b + 1)})) for b in range(n_blocks)]


@pytest.mark.parametrize("position", POSITION_SPECS)
def test_blocks_equal_dense_for_a_pattern_without_period(small_blocks, position):
    for length, batch, kv_heads in FEW:
        assert_blocks_equal_dense(Aperiodic(), build(position, kv_heads), inputs(length, batch, kv_heads))


@pytest.mark.parametrize("executor", ["dense", "blocks"])
def test_the_gradient_of_learned_slopes_equals_finite_differences(small_blocks, executor):
    position = build("alibi(learned=True)").double()
    tensors = [x.detach() for x in inputs(40, batch=1, dtype=torch.float64)]

    def output(log_slopes):
        with torch.no_grad():
            position.log_slopes.copy_(log_slopes)
        return attend(
            *tensors, pattern="sliding_window(window=24)", position=position, executor=executor
        ).sum()

    start, step = position.log_slopes.detach().clone(), 1e-6
    (analytic,) = torch.autograd.grad(output(start), [position.log_slopes])
    for h in range(HEADS):
        nudge = torch.zeros(HEADS, dtype=torch.float64)
        nudge[h] = step
        numeric = (output(start + nudge) - output(start - nudge)) / (2 * step)
        torch.testing.assert_close(analytic[h], numeric.detach(), atol=1e-7, rtol=1e-5)


# Tracing each combination takes longer than its arithmetic: every pattern once, every encoding once.
@pytest.mark.parametrize(
    ("pattern", "position"),
    [(pattern, "alibi") for pattern in PATTERN_SPECS]
    + [("sliding_window(window=40)", position) for position in POSITION_SPECS],
)
def test_flex_equals_dense(flex_traceable, pattern, position):
    encoding = build(position)
    q, k, v = with_observed(encoding, *inputs(150, batch=1))
    with torch.no_grad():
        if type(encoding).score is not PositionEncoding.score:
            with pytest.raises(ValueError, match="scores pairs in its own way; use dense or blocks"):
                attend(q, k, v, pattern=pattern, position=encoding, executor="flex")
            return
        dense = attend(q, k, v, pattern=pattern, position=encoding, executor="dense")
        flex = attend(q, k, v, pattern=pattern, position=encoding, executor="flex")
    torch.testing.assert_close(flex, dense, atol=1e-5, rtol=1e-5)


def test_flex_says_that_a_cpu_has_no_gradient():
    with pytest.raises(ValueError, match="no gradient on a CPU"):
        attend(*inputs(8), pattern="full", executor="flex")


@pytest.mark.parametrize("position", ["rope", "alibi", "alibi(learned=True)"])
@pytest.mark.parametrize("pattern", ["sliding_window(window=64)", "block_local(block_size=64)"])
def test_blocks_hold_nothing_quadratic(pattern, position):
    largest = {}
    for length in (2048, 8192):
        q, k, v = inputs(length, batch=1)
        with Largest() as seen:
            attend(q, k, v, pattern=pattern, position=build(position), executor="blocks").sum().backward()
        largest[length] = seen.numbers
    assert largest[8192] <= max(4 * largest[2048], blocks.BUDGET)
    assert largest[8192] < 8192**2 / 16


@pytest.mark.parametrize("position", ["rope", "alibi", "pope", "cope", "fox", "shaw", "dual_chunk"])
def test_mixed_precision_blocks_are_as_close_to_float32_as_dense(position):
    encoding, given = build(position), inputs(300, batch=1)
    q, k, v = with_observed(encoding, *given)
    arguments = {"pattern": "sliding_window(window=64)", "position": encoding}
    exact = attend(q, k, v, executor="dense", **arguments)
    with torch.autocast("cpu", torch.bfloat16):
        found = {e: attend(q, k, v, executor=e, **arguments) for e in ("dense", "blocks")}
    assert all(y.dtype == torch.bfloat16 for y in found.values())
    error = {e: (y.float() - exact).abs().max().item() for e, y in found.items()}
    assert error["blocks"] <= 1.5 * error["dense"] < 0.1
    found["blocks"].float().sum().backward()
    assert given[0].grad.dtype == torch.float32


@pytest.mark.parametrize("executor", ["dense", "blocks"])
def test_tensors_of_any_layout_give_the_same(executor):
    q, k, v = inputs(65)
    turned = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v)]
    arguments = {"pattern": "sliding_window(window=20)", "position": build("rope"), "executor": executor}
    torch.testing.assert_close(attend(*turned, **arguments), attend(q, k, v, **arguments))


def test_the_same_call_gives_the_same_bits():
    results = [
        values_and_gradients("blocks", "sliding_window(window=64)", build("alibi(learned=True)"), inputs(600))
        for _ in range(2)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
