"""The training benchmark times all contestants on the same task, and compares them in pairs."""

import math

import pytest

from longctx.cli.benchmarks import benchmarks, load


@pytest.fixture
def benchmark():
    return load(benchmarks()["training"])


def test_rows_hold_times_and_ratios_to_each_baseline(benchmark):
    names = ["minimal loop", "longctx", "Hugging Face Llama"]
    rows = benchmark.measure(256, 64, names, rounds=2, warm_up=0)
    assert [(row["contestant"], row["length"], row["vocab_size"]) for row in rows] == [
        (name, 256, 64) for name in names
    ]
    for row in rows:
        assert row["tokens_per_second"] == pytest.approx(4096 / row["seconds"], rel=0.01)
        assert set(row["ratio_to"]) == set(benchmark.BASELINES)
        own = row["ratio_to"].get(row["contestant"])
        assert own is None or set(own.values()) == {1.0}


@pytest.mark.parametrize("name", ["minimal loop", "longctx"])
def test_contestants_start_from_ignorance(benchmark, name):
    contestant = benchmark.Contestant(name, 256, 64)
    _, loss = contestant.step()
    contestant.close()
    assert loss == pytest.approx(math.log(64), abs=0.5)


def test_a_contestant_that_fails_is_named(benchmark):
    with pytest.raises(RuntimeError, match="nobody ended early"):
        benchmark.Contestant("nobody", 256, 64)


@pytest.mark.parametrize(
    ("option", "value"), [("--rounds", "1"), ("--vocab-sizes", "1"), ("--lengths", "100")]
)
def test_what_cannot_be_measured_is_refused(benchmark, capsys, option, value):
    with pytest.raises(SystemExit):
        benchmark.main([option, value])
    assert f"argument {option}: " in capsys.readouterr().err
