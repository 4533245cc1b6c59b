"""A check in a notebook stops where the sides differ."""

from __future__ import annotations

import pytest
import torch

from longctx.reporting import agree


def test_agreement_is_printed_with_its_bound(capsys):
    agree("left = right", torch.tensor([1.0, 2.0]), [1.0, 2.0 + 1e-12])
    assert capsys.readouterr().out == "✓ left = right: equal within 1e-10\n"


@pytest.mark.parametrize("right", [1.0 + 1e-8, float("nan"), float("inf")])
def test_a_difference_or_a_nan_stops(right):
    with pytest.raises(AssertionError, match="differ by"):
        agree("x", torch.tensor(1.0, dtype=torch.float64), right)


def test_nan_on_both_sides_is_no_agreement():
    with pytest.raises(AssertionError):
        agree("x", [float("nan")], [float("nan")])


def test_shapes_are_not_broadcast():
    with pytest.raises(ValueError, match=r"\(3,\) and \(1,\)"):
        agree("x", torch.ones(3), torch.ones(1))
