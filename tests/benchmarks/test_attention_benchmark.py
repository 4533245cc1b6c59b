"""The benchmark compares like with like, and reports every implementation."""

import math

import pytest
import torch

from longctx.attention import MIXERS, list_patterns
from longctx.cli.benchmarks import benchmarks, load


@pytest.fixture(scope="module")
def benchmark():
    return load(benchmarks()["attention"])


@pytest.fixture(scope="module")
def quick(benchmark):
    """All that need no compiler."""
    return [name for name in benchmark.implementations(32) if "compiled" not in name]


@pytest.fixture(scope="module")
def rows(benchmark, quick):
    return benchmark.run(lengths=(128, 256), window=32, rounds=1, memory=False, only=quick)


def test_every_pattern_and_selection_and_every_peer_has_a_row_at_every_length(benchmark, quick, rows):
    assert [(row["implementation"], row["length"]) for row in rows] == [
        (name, length) for length in (128, 256) for name in quick
    ]
    names = {name.removeprefix("longctx ") for name in quick}
    assert {*list_patterns(), *(entry.name for entry in MIXERS)} <= names
    assert all(row["milliseconds"] > 0 for row in rows)


def test_ratios_are_of_times_at_the_same_length(benchmark, rows):
    times = {(row["implementation"], row["length"]): row["milliseconds"] for row in rows}
    for row in rows:
        name, length, own = row["implementation"], row["length"], row["milliseconds"]
        assert row["relative"] == pytest.approx(own / times[benchmark.OURS, length])
        if row["gradient"]:
            assert row["relative_to_dense"] == pytest.approx(own / times[benchmark.DENSE, length])
        if row["same_as"]:
            assert row["relative_to_same"] == pytest.approx(own / times[row["same_as"], length])
        assert (row["exponent"] is None) == (length == 128)
        if row["exponent"] is not None:
            assert 2 ** row["exponent"] == pytest.approx(own / times[name, 128])


def test_the_ideal_is_the_ratio_of_pairs(rows):
    window = next(row for row in rows if row["implementation"] == "longctx sliding_window of 33")
    # 128 queries: the first 33 see 1, 2, … 33 keys, the others 33. One tile of 128 × 128 holds them all.
    assert window["pairs_allowed"] == 33 * 34 // 2 + 95 * 33
    assert window["pairs_computed"] == 128**2
    speed_up = 1 / window["relative_to_dense"]
    assert window["of_allowed_ideal"] == pytest.approx(speed_up / (128 * 129 / 2 / window["pairs_allowed"]))
    assert window["of_computed_ideal"] == pytest.approx(speed_up / (128 * 129 / 2 / 128**2))


def test_predictions_start_from_the_times_of_two_patterns_and_follow_the_work(benchmark, rows):
    by_name = {(row["implementation"], row["length"]): row for row in rows}
    both = [by_name[name, 256] for name in benchmark.CALIBRATION]
    assert math.prod(row["predicted_milliseconds"] / row["milliseconds"] for row in both) == pytest.approx(1)
    reference, other = by_name[benchmark.OURS, 128], by_name["longctx longnet", 256]
    ratio = other["predicted_milliseconds"] / reference["predicted_milliseconds"]
    assert ratio == pytest.approx(other["work"] / reference["work"])
    assert ratio > 1
    # Outputs, normalisers and three gradients of 4 heads of 32 are held at least.
    assert reference["predicted_mb"] > 4 * 256 * (4 * 32 + 1) * 4 / 1e6


def test_outputs_that_differ_by_one_key_are_noticed(benchmark, monkeypatch):
    wrong = dict(benchmark.implementations(32))
    band = wrong["SDPA band mask"]
    wrong["SDPA band mask"] = benchmark.Implementation(band.build, same_as=f"{benchmark.OURS} of 33")
    monkeypatch.setattr(benchmark, "implementations", lambda window: wrong)
    with pytest.raises(AssertionError, match="SDPA band mask"):
        benchmark.check_equal(32, ["SDPA band mask"])


def test_gradients_that_differ_are_noticed(benchmark, monkeypatch):
    wrong = dict(benchmark.implementations(32))
    name = "Hugging Face Longformer"

    def without_gradient_of_values(length):
        attention = right.build(length)
        return lambda q, k, v: attention(q, k, v.detach() + 0 * v)

    right = wrong[name]
    wrong[name] = benchmark.Implementation(without_gradient_of_values, same_as=right.same_as)
    monkeypatch.setattr(benchmark, "implementations", lambda window: wrong)
    with pytest.raises(AssertionError, match=name):
        benchmark.check_equal(32, [name])


def test_bigbird_without_probabilities_builds_no_matrix_of_all_pairs(benchmark):
    class Largest(torch.overrides.TorchFunctionMode):
        pairs = 0

        def __torch_function__(self, func, types, args=(), kwargs=None):
            made = func(*args, **(kwargs or {}))
            if torch.is_tensor(made):
                self.pairs = max(self.pairs, made.numel())
            return made

    counted = {}
    for name in ("Hugging Face BigBird", "Hugging Face BigBird, no probabilities"):
        attention = benchmark.implementations(32)[name].build(1024)
        with Largest() as largest:
            attention(*benchmark.inputs(1024))
        counted[name] = largest.pairs
    full, without = counted.values()
    assert full == benchmark.HEADS * 1024**2
    assert without < full / 2


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [([0.5, 0.8, 1.25, 2.0], math.sqrt(200 * 400)), ([2.0, 0.5, 2.0, 3.0], math.sqrt(200 * 400)),
     ([1.1, 1.2, 1.3, 1.4], 0.0), ([2.0, 1.5, 1.2, 0.9], None)],
)  # fmt: skip
def test_break_even_is_where_the_last_loss_ends(benchmark, ratios, expected):
    found = benchmark.crossing((100, 200, 400, 800), ratios)
    assert found == (expected if expected is None else pytest.approx(expected))


def test_break_even_is_looked_for_on_the_whole_grid(benchmark):
    name = "longctx sliding_window"
    (row,) = benchmark.break_even([name], window=32, grid=(64, 128), rounds=1)
    assert (row["implementation"], row["grid"], len(row["ratios"])) == (name, [64, 128], 2)


def test_peak_memory_counts_what_a_step_holds(benchmark):
    peaks = benchmark.peak_memory(["SDPA band mask", benchmark.OURS], 64, 4096)
    if peaks[benchmark.OURS] is None:
        pytest.skip("this system does not tell a process's peak memory")
    mask_as_floats = 4096**2 * 4 / 1e6
    assert peaks["SDPA band mask"] > mask_as_floats / 2
    assert peaks[benchmark.OURS] < mask_as_floats / 2


def test_one_step_tells_time_and_peak(benchmark):
    row = benchmark.one_step(8192, 64)
    held = 4 * 8192 * 4 * 32 * 4 / 1e6  # an output and three gradients
    assert row["seconds"] > 0
    assert row["peak_mb"] is None or 0.5 * held < row["peak_mb"] < 5 * held


def test_lengths_must_fill_windows(benchmark):
    with pytest.raises(ValueError, match="multiples of the window 32, got 100"):
        benchmark.run(lengths=(100,), window=32)


def test_the_table_shows_every_row_and_break_even(benchmark, rows):
    even = [{"implementation": "longctx moba", "length": 555.5, "grid": [256, 1024], "ratios": [0.5, 2.0]}]
    lines = list(benchmark.report(rows, even))
    assert all(any(line.startswith(row["implementation"]) for line in lines) for row in rows)
    assert lines[-1] == "faster than causal SDPA: longctx moba, 556 tokens"
