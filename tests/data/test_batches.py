"""The order of the data depends on the seed and the step, and on nothing else."""

import numpy as np
import pytest
import torch

from longctx.data import batch

TOKENS = np.arange(1000, dtype=np.uint16)


def test_targets_are_the_inputs_one_token_later():
    inputs, targets = batch(TOKENS, length=16, batch_size=8, seed=0, step=0)
    assert inputs.shape == targets.shape == (8, 16)
    assert inputs.dtype == targets.dtype == torch.int64
    assert torch.equal(targets, inputs + 1)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])


def test_a_step_can_be_drawn_without_those_before_it():
    in_order = [batch(TOKENS, length=8, batch_size=4, seed=3, step=step)[0] for step in range(5)]
    assert torch.equal(batch(TOKENS, length=8, batch_size=4, seed=3, step=4)[0], in_order[4])
    torch.manual_seed(1)
    np.random.seed(1)
    assert torch.equal(batch(TOKENS, length=8, batch_size=4, seed=3, step=2)[0], in_order[2])


def test_seeds_and_steps_draw_different_windows():
    drawn = {
        tuple(batch(TOKENS, length=2, batch_size=16, seed=seed, step=step)[0][:, 0].tolist())
        for seed in range(10)
        for step in range(10)
    }
    assert len(drawn) == 100


def test_every_window_can_be_drawn_and_none_beyond_the_end():
    tokens = TOKENS[:10]
    starts = batch(tokens, length=7, batch_size=3000, seed=0, step=0)[0][:, 0]
    counts = torch.bincount(starts)
    assert counts.shape == (3,)
    # 1,000 expected of each, standard deviation 26
    assert (counts - 1000).abs().max() < 5 * 26


def test_batches_read_a_read_only_map(tmp_path):
    path = tmp_path / "tokens.bin"
    path.write_bytes(TOKENS.tobytes())
    mapped = np.memmap(path, dtype=np.uint16, mode="r")
    expected = batch(TOKENS, length=8, batch_size=4, seed=3, step=4)
    assert torch.equal(batch(mapped, length=8, batch_size=4, seed=3, step=4)[1], expected[1])


@pytest.mark.parametrize(
    ("field", "value"), [("length", 0), ("length", 1000), ("batch_size", 0), ("seed", -1), ("step", -1)]
)
def test_arguments_out_of_range_are_named(field: str, value: int):
    given = {"length": 8, "batch_size": 4, "seed": 0, "step": 0} | {field: value}
    with pytest.raises(ValueError, match=f"{field}: given {value}"):
        batch(TOKENS, **given)
