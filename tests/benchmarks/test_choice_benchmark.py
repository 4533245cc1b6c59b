"""What "auto" chooses is held against recorded times: it never loses much to dense, and gains the rest."""

import json

import pytest
import torch

from longctx.cli.benchmarks import benchmarks, load
from longctx.experiments import project_root


@pytest.fixture(scope="module")
def benchmark():
    return load(benchmarks()["choice"])


@pytest.fixture(scope="module")
def recorded(benchmark):
    """The rows of the committed run, each with what is chosen by today's rule."""
    rows = json.loads((project_root() / "results" / "benchmarks" / "choice.json").read_text())["rows"]
    for row in rows:
        q = torch.empty(1, benchmark.HEADS, row["length"], benchmark.HEAD_DIM)
        row["chosen"] = benchmark.chosen(row["pattern"], q)
    return rows


def test_the_record_holds_every_pattern_at_every_length(benchmark, recorded):
    kept = {(row["pattern"], row["length"]) for row in recorded}
    assert kept == {(spec, length) for length in benchmark.LENGTHS for spec in benchmark.specs(length)}


def test_auto_is_never_slower_than_dense_by_more_than_a_twentieth(recorded):
    slower = [row for row in recorded if row[f"{row['chosen']}_ms"] > 1.05 * row["dense_ms"]]
    assert slower == []


def test_auto_leaves_little_of_what_blocks_could_gain(recorded):
    for length in {row["length"] for row in recorded}:
        rows = [row for row in recorded if row["length"] == length]
        best = sum(min(row["dense_ms"], row["blocks_ms"]) for row in rows)
        assert sum(row[f"{row['chosen']}_ms"] for row in rows) < 1.06 * best


def test_what_is_chosen_is_what_runs(benchmark, monkeypatch):
    from longctx.attention import attend
    from longctx.attention.executors import EXECUTORS

    taken = []
    for name in list(EXECUTORS):
        monkeypatch.setitem(EXECUTORS, name, lambda q, k, v, task, name=name: taken.append(name) or q)
    q = torch.empty(1, benchmark.HEADS, 512, benchmark.HEAD_DIM)
    specs = benchmark.specs(512)
    for spec in specs:
        attend(q, q, q, pattern=spec)
    assert taken == [benchmark.chosen(spec, q) for spec in specs]
    assert set(taken) == {"dense", "blocks"}


def test_a_run_times_both_executors_on_every_pattern(benchmark):
    rows = benchmark.run(lengths=(128,), rounds=1)
    assert [row["pattern"] for row in rows] == benchmark.specs(128)
    assert all(row["dense_ms"] > 0 and row["blocks_ms"] > 0 for row in rows)
