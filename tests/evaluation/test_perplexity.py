"""Both protocols score every target once, with the context they promise."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx.evaluation import evaluate, perplexity, position_edges
from longctx.model import ModelConfig, build_model


@pytest.fixture(scope="module")
def model():
    return build_model(
        ModelConfig(n_layers=1, d_model=16, n_heads=2, vocab_size=40, position="rope", init_std=0.3)
    )


def excerpts(*sizes: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 40, size, dtype=np.uint16) for size in sizes]


def brute_force(model, texts, length: int, protocol: str) -> float:
    """Every target by itself, its window cut from the definition."""
    losses = []
    for text in texts:
        tokens = torch.from_numpy(text.astype(np.int64))
        for i in range(1, len(text)):
            if protocol == "non_overlapping":
                start = (i - 1) // length * length
            else:
                stride = length // 2
                start = 0 if i <= length else -(-(i - length) // stride) * stride
            logits = model(tokens[None, start:i])[0, -1]
            losses.append(torch.nn.functional.cross_entropy(logits, tokens[i]).item())
    return float(np.mean(losses))


@pytest.mark.parametrize("protocol", ["non_overlapping", "sliding"])
@pytest.mark.parametrize("length", [2, 7, 16, 30])
def test_the_loss_is_that_of_every_target_scored_by_itself(model, length: int, protocol: str) -> None:
    texts = excerpts(31, 45)
    result = evaluate(model, texts, length=length, protocol=protocol)
    assert result.targets == 30 + 44
    assert result.loss == pytest.approx(brute_force(model, texts, length, protocol), abs=1e-5)


@given(
    tokens=st.integers(1, 300),
    length=st.integers(1, 300),
    protocol=st.sampled_from(["non_overlapping", "sliding"]),
)
@settings(max_examples=200, deadline=None)
def test_every_target_is_scored_exactly_once(tokens: int, length: int, protocol: str) -> None:
    scored = []
    for start, stop, first in perplexity._windows(tokens, length, protocol):
        assert stop - start <= length
        assert first >= 0
        if protocol == "sliding" and start > 0:
            assert first >= min(length // 2, length - 1)
        scored += range(start + first, stop)
    assert scored == list(range(tokens))


@given(length=st.integers(1, 10_000))
def test_position_bins_cover_the_window(length: int) -> None:
    edges = position_edges(length)
    assert edges == sorted(set(edges))
    assert edges[-1] == length


def test_loss_by_position_averages_to_the_loss(model) -> None:
    result = evaluate(model, excerpts(33), length=8, protocol="non_overlapping")
    widths = np.diff([0, *result.edges])
    assert np.average(result.loss_by_position, weights=widths) == pytest.approx(result.loss, abs=1e-9)


@pytest.mark.parametrize("length", [0, -4, 31])
def test_a_length_that_the_text_cannot_give_is_refused(model, length: int) -> None:
    with pytest.raises(ValueError, match=f"between 1 and 30 .*got {length}"):
        evaluate(model, excerpts(31, 60), length=length, protocol="sliding")


def test_evaluation_leaves_the_model_as_it_was(model) -> None:
    model.train()
    evaluate(model, excerpts(20), length=8, protocol="sliding")
    assert model.training
