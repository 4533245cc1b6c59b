"""Positions drawn for training: in range, in order, evenly spread, and refused before anything runs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from longctx.model import ModelConfig, build_model
from longctx.positions.sampling import SAMPLINGS, build_sampling
from longctx.streams import stream
from longctx.training import TrainingSpec
from longctx.training.loop import Stepper

SPECS = [str(config) for entry in SAMPLINGS for config in SAMPLINGS.examples(entry.name)]
MANY = 2000


def drawn(spec, length, many=MANY):
    sampling = build_sampling(spec)
    return np.stack([sampling.positions(length, seed=1, step=step).numpy() for step in range(many)])


@pytest.mark.parametrize("spec", SPECS)
@given(length=st.integers(4, 60), seed=st.integers(0, 2**32), step=st.integers(0, 10**6))
@settings(max_examples=40, derandomize=True)
def test_positions_are_increasing_and_within_reach(spec, length, seed, step):
    sampling = build_sampling(spec)
    positions = sampling.positions(length, seed=seed, step=step)
    assert positions.shape == (length,)
    assert (positions.diff() > 0).all()
    assert 0 <= positions[0] <= positions[-1] < sampling.reach(length)
    assert torch.equal(positions, sampling.positions(length, seed=seed, step=step))


@pytest.mark.parametrize("spec", SPECS)
def test_the_draw_of_a_step_is_a_stream_of_its_own_that_records_depend_on(spec):
    sampling = build_sampling(spec)
    found = sampling.positions(30, seed=3, step=5)
    assert found.tolist() == sampling.draw(30, stream(3, 5, 1)).tolist()


def test_a_range_of_the_length_holds_it():
    sampling = build_sampling("randomized(max_length=30)")
    assert sampling.reach(30) == 30
    assert sampling.positions(30, seed=0, step=0).tolist() == list(range(30))
    with pytest.raises(ValueError, match="max_length=30 holds no 31 positions"):
        sampling.reach(31)


@pytest.mark.parametrize("spec", SPECS)
def test_seeds_and_steps_draw_anew(spec):
    sampling = build_sampling(spec)
    draws = {tuple(sampling.positions(30, seed=a, step=b).tolist()) for a in range(4) for b in range(4)}
    assert len(draws) > 8


@pytest.mark.parametrize("spec", SPECS)
def test_the_whole_reach_is_drawn(spec):
    found = drawn(spec, 10)
    assert found.min() == 0
    assert found.max() == build_sampling(spec).reach(10) - 1


def test_randomized_takes_every_position_equally_often():
    counts = np.bincount(drawn("randomized(max_length=40)", 10).ravel(), minlength=40)
    assert chisquare(counts).pvalue > 0.001


def test_shape_shifts_evenly_and_keeps_distances():
    found = drawn("shape(max_shift=19)", 6)
    assert (np.diff(found) == 1).all()
    assert chisquare(np.bincount(found[:, 0], minlength=20)).pvalue > 0.001


@pytest.mark.parametrize("chunks", [2, 3, 5])
def test_pose_skips_between_as_many_chunks_as_it_says(chunks):
    found = drawn(f"pose(max_length=5000, chunks={chunks})", 40)
    gaps = np.diff(found) > 1
    assert (found[:, 0] == 0).all()
    assert gaps.sum(1).max() == chunks - 1
    assert (gaps.sum(1) == chunks - 1).mean() > 0.9  # now and then a skip is 0
    if chunks == 2:
        where = gaps.argmax(1)[gaps.any(1)]
        assert chisquare(np.bincount(where, minlength=39)).pvalue > 0.001
        skips = found[:, -1] - 39
        assert kstest(skips / 4960, "uniform").pvalue > 0.001


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("randomized(max_length=15)", r"randomized\(max_length=15\): max_length=15 holds no 16 positions"),
        ("pose(max_length=15)", r"max_length=15 holds no 16 positions"),
        ("pose(chunks=17)", r"16 tokens make no 17 chunks"),
        ("shape(max_shift=0)", "max_shift: .*greater than or equal to 1"),
        ("shift", "unknown position sampling 'shift'; known: pose, randomized, shape"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_the_spec(spec, message):
    with pytest.raises(ValueError, match=message):
        TrainingSpec(length=16, batch_size=1, steps=1, learning_rate=1e-3, warmup_steps=0, positions=spec)


def test_a_step_trains_at_the_drawn_positions_of_each_micro_batch(monkeypatch):
    model = build_model(ModelConfig(n_layers=1, d_model=16, n_heads=2, vocab_size=20, position="rope"))
    seen, hidden = [], model.hidden

    def watched(tokens, positions=None, cache=None):
        seen.append(positions)
        return hidden(tokens, positions, cache)

    monkeypatch.setattr(model, "hidden", watched)
    tokens = torch.randint(20, (2, 16), generator=torch.Generator().manual_seed(0))
    spec = {"length": 16, "batch_size": 2, "steps": 9, "learning_rate": 1e-3, "warmup_steps": 0}
    sampled = TrainingSpec(**spec, accumulate=2, positions="randomized(max_length=64)")
    Stepper(model, sampled, seed=7).step(lambda part: (tokens, tokens), 3)
    expected = [build_sampling(sampled.positions).positions(16, seed=7, step=part) for part in (6, 7)]
    assert all(torch.equal(a, b) for a, b in zip(seen, expected, strict=True))
    Stepper(model, TrainingSpec(**spec)).step(lambda part: (tokens, tokens))
    assert seen[-1] is None
