"""The benchmark compares like with like, and reports every implementation."""

import pytest

from longctx.cli.benchmarks import benchmarks, load


@pytest.fixture
def benchmark():
    return load(benchmarks()["attention"])


def test_a_run_gives_a_row_for_each_implementation_and_length(benchmark):
    rows = benchmark.run(lengths=(128, 256), window=32, rounds=1, memory=False)
    names = list(benchmark.implementations(32))
    assert [(row["implementation"], row["length"]) for row in rows] == [
        (name, length) for length in (128, 256) for name in names
    ]
    assert all(row["milliseconds"] > 0 for row in rows)
    assert all(row["relative"] == 1 for row in rows if row["implementation"] == benchmark.OURS)
    assert all((row["exponent"] is None) == (row["length"] == 128) for row in rows)


def test_masks_that_differ_by_one_key_are_noticed(benchmark, monkeypatch):
    monkeypatch.setattr(benchmark, "same_mask", lambda window: [(benchmark.OURS, f"{benchmark.OURS} of 33")])
    with pytest.raises(AssertionError):
        benchmark.check_equal(32)


def test_peak_memory_counts_what_a_step_holds(benchmark):
    peak = benchmark.peak_memory("SDPA band mask", 64, 2048)
    if peak is None:
        pytest.skip("this system does not tell a process's peak memory")
    mask_as_floats = 2048**2 * 4 / 1e6
    assert peak > mask_as_floats / 2


def test_lengths_must_fill_windows(benchmark):
    with pytest.raises(ValueError, match="multiples of the window 32, got 100"):
        benchmark.run(lengths=(100,), window=32)
