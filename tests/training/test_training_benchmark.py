"""The training benchmark times all contestants on the same task, and compares them in pairs."""

import importlib.util
import math
import sys
from pathlib import Path

import pytest


@pytest.fixture
def benchmark(monkeypatch):
    path = Path(__file__).parents[2] / "benchmarks" / "training.py"
    spec = importlib.util.spec_from_file_location("training_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


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
def test_contestants_start_from_ignorance_and_learn(benchmark, name):
    contestant = benchmark.Contestant(name, 256, 64)
    losses = [contestant.step()[1] for _ in range(2)]
    contestant.close()
    assert losses[0] == pytest.approx(math.log(64), abs=0.5)
    assert losses[1] != losses[0]


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
