from pathlib import Path

import pytest

from longctx.experiments import declared_experiments, load_experiment

GRID = """
title: Two encodings
base:
  model: {n_layers: 1, d_model: 16, n_heads: 2, vocab_size: 2048, position: rope}
  data: {source: sample}
  training: {length: 16, batch_size: 4, steps: 9, learning_rate: 0.01, warmup_steps: 2}
  evaluation: {lengths: [16], excerpt: 64, documents: 2}
grid:
  model.position: [rope, alibi]
  seed: [0, 1, 2]
profiles:
  smoke: {base: {training.steps: 3}, grid: {seed: [0]}}
  cpu: {}
"""


@pytest.fixture
def grid(tmp_path: Path) -> str:
    (tmp_path / "mine.yaml").write_text(GRID)
    return str(tmp_path / "mine.yaml")


def test_the_grid_is_every_combination_in_the_order_written(grid: str):
    specs = load_experiment(grid)
    assert [(s.model.position, s.seed) for s in specs] == [
        (p, s) for p in ("rope", "alibi") for s in range(3)
    ]
    assert {s.training.steps for s in specs} == {9}


def test_a_profile_changes_sizes_and_axes(grid: str):
    specs = load_experiment(grid, "smoke")
    assert [(s.model.position, s.seed, s.training.steps) for s in specs] == [("rope", 0, 3), ("alibi", 0, 3)]


def test_overrides_replace_fields_and_axes_and_none_changes_nothing(grid: str):
    changes = {"seed": [7], "evaluation.lengths": [8, 24], "model.position": None}
    specs = load_experiment(grid, "cpu", changes)
    assert [(s.model.position, s.seed) for s in specs] == [("rope", 7), ("alibi", 7)]
    assert specs[0].evaluation.lengths == (8, 24)


@pytest.mark.parametrize(
    ("name", "profile", "changes", "message"),
    [
        ("nothing", "cpu", {}, "unknown experiment 'nothing'; declared: "),
        ("", "gpu", {}, "profile must be one of smoke, cpu; got 'gpu'"),
        ("", "cpu", {"seed": []}, "seed must not be empty"),
        ("", "cpu", {"training.stepz": 3}, r"training\.stepz: no such field"),
    ],
)
def test_wrong_requests_say_what_is_valid(grid: str, name: str, profile: str, changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        load_experiment(name or grid, profile, changes)


def test_a_file_that_is_no_experiment_is_refused_by_name(tmp_path: Path):
    (tmp_path / "broken.yaml").write_text("title: x\nbases: {}\n")
    with pytest.raises(ValueError, match=r"broken\.yaml is not a valid experiment"):
        load_experiment(str(tmp_path / "broken.yaml"))


@pytest.mark.parametrize("profile", ["smoke", "cpu", "gpu"])
@pytest.mark.parametrize("name", declared_experiments())
def test_declared_experiments_are_valid_at_every_profile(name: str, profile: str):
    specs = load_experiment(name, profile)
    assert specs
    keys = [spec.key for spec in specs]
    assert len(set(keys)) == len(keys), "a run is declared twice"
