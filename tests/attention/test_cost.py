"""What is counted before a run is what the run computes and holds."""

import pytest
import torch
from comparisons import PATTERN_SPECS, Held, inputs

from longctx.attention import attend, build_pattern
from longctx.attention.executors import blocks, kernel
from longctx.attention.executors.cost import allowed_pairs, bytes_held, work

#: One part in natural order, of adjacent key blocks and not; parts of columns and rows; other orders.
HELD = [
    "sliding_window(window=40)",
    "full",
    "bigbird(block_size=16, random_blocks=2, length=2048)",
    "longformer(window=40, global_positions=(500, 1000))",
    "dilated_window(window=40, dilation=4)",
    "strided(stride=16)",
    "longnet(segments=(32, 128), dilations=(1, 4))",
]


@pytest.mark.parametrize("pattern", PATTERN_SPECS)
def test_allowed_pairs_are_those_of_the_predicate(pattern):
    where = torch.arange(300)
    built = build_pattern(pattern)
    assert allowed_pairs(built, 300) == int(built.allows(where, where).sum())


@pytest.mark.parametrize("pattern", PATTERN_SPECS)
def test_computed_pairs_and_groups_are_those_that_the_kernel_is_given(monkeypatch, pattern):
    given = []

    def forward(q, k, v, bias, scale):
        given.append(len(q) * q.shape[2] * k.shape[2])
        return compute(q, k, v, bias, scale)

    compute = kernel.forward
    monkeypatch.setattr(kernel, "forward", forward)
    one_head = (x[:, :1] for x in inputs(300, batch=1))
    attend(*one_head, pattern=pattern, executor="blocks")
    counted = work(build_pattern(pattern), 300)
    assert counted.computed == sum(given)
    assert counted.groups == len(given)


@pytest.mark.parametrize("pattern", HELD)
@pytest.mark.parametrize(("batch", "kv_heads"), [(1, 6), (2, 2)])
def test_bytes_held_are_those_of_the_tensors_that_a_step_makes(monkeypatch, pattern, batch, kv_heads):
    # A budget as small beside these sequences as the usual one is beside long ones.
    monkeypatch.setattr(blocks, "BUDGET", 2**16)
    tensors = inputs(2048, batch=batch, kv_heads=kv_heads)
    with Held() as held:
        y = attend(*tensors, pattern=pattern, executor="blocks")
        torch.autograd.grad(y, tensors, y.detach())
    sizes = {"batch": batch, "heads": tensors[0].shape[1], "kv_heads": kv_heads, "head_dim": 8}
    assert bytes_held(build_pattern(pattern), 2048, **sizes) == pytest.approx(held.peak, rel=0.25)
