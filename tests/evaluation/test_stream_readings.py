"""Every reading of a stream scores the targets it says, with exactly the tokens it may hold."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from longctx.evaluation import evaluate, evaluate_stream
from longctx.evaluation.streaming import recomputed
from longctx.model import ModelConfig, build_model

SIZES = {"n_layers": 2, "d_model": 16, "n_heads": 2, "vocab_size": 40, "init_std": 0.3}
EXCERPTS = list(np.random.default_rng(0).integers(0, 40, (3, 66), dtype=np.uint16))


def model_of(attention="full"):
    return build_model(ModelConfig(position="rope", attention=attention, **SIZES), seed=2)


def scored(logits_at):
    """Mean loss over the targets behind every eighth token, of a function of text and place."""
    texts = [torch.from_numpy(e.astype(np.int64)) for e in EXCERPTS]
    return np.mean([cross_entropy(logits_at(x, i), x[i + 1]).item() for x in texts for i in range(7, 65, 8)])


@torch.no_grad()
def test_recomputation_is_a_fresh_pass_over_the_last_tokens_for_every_target():
    model = model_of()
    expected = scored(lambda x, i: model(x[None, max(0, i - 11) : i + 1])[0, -1])
    assert evaluate_stream(model, EXCERPTS, length=12, reading="recomputed").loss == pytest.approx(
        expected, abs=1e-5
    )


@torch.no_grad()
def test_recomputed_states_are_those_of_each_window_whatever_the_places():
    model, tokens = model_of(), torch.from_numpy(np.stack(EXCERPTS).astype(np.int64))
    places = torch.tensor([0, 4, 5, 6, 40, 41, 65])
    found = recomputed(model, tokens, 6, places)
    for column, place in enumerate(places.tolist()):
        alone = model.hidden(tokens[:, max(0, place - 5) : place + 1])[:, -1]
        torch.testing.assert_close(found[:, column], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("reading", "pattern"),
    [("window", "sliding_window(window=12)"), ("sinks_in_text", "sinks(window=8, sinks=4)")],
)
@torch.no_grad()
def test_kept_keys_are_those_that_a_mask_would_show(reading, pattern):
    masked = model_of(pattern)
    expected = scored(lambda x, i: masked(x[None, :-1])[0, i])
    assert evaluate_stream(model_of(), EXCERPTS, length=12, reading=reading).loss == pytest.approx(
        expected, abs=1e-5
    )


@torch.no_grad()
def test_a_window_of_the_whole_excerpt_is_the_full_forward_pass():
    model = model_of()
    expected = scored(lambda x, i: model(x[None, :-1])[0, i])
    found = evaluate_stream(model, EXCERPTS, length=65, reading="window")
    assert found.loss == pytest.approx(expected, abs=1e-5)
    whole = evaluate(model, EXCERPTS, length=65, protocol="non_overlapping")
    assert found.loss != pytest.approx(whole.loss, abs=1e-5)  # which scores every target, not every eighth


@pytest.mark.parametrize("reading", ["window", "recomputed", "sinks", "sinks_in_text"])
def test_all_readings_score_the_same_targets_and_bins_hold_them_all(reading):
    model = model_of()
    found = evaluate_stream(model, EXCERPTS, length=12, reading=reading)
    assert found.targets == 3 * 8
    assert found.protocol == reading
    places = np.arange(7, 65, 8)
    counts = np.bincount(np.searchsorted(found.edges, places, side="right"), minlength=len(found.edges))
    assert np.average(found.loss_by_position, weights=counts) == pytest.approx(found.loss)
    assert model.training


@pytest.mark.parametrize(("length", "reading"), [(66, "window"), (0, "recomputed"), (4, "sinks")])
def test_lengths_that_hold_no_window_are_refused(length, reading):
    with pytest.raises(ValueError, match="excerpts must be equally long, and length lie between"):
        evaluate_stream(model_of(), EXCERPTS, length=length, reading=reading)
    with pytest.raises(ValueError, match="equally long"):
        evaluate_stream(model_of(), [*EXCERPTS, EXCERPTS[0][:-1]], length=12, reading="window")
