"""A run of a second, and a home of its own for every test."""

from pathlib import Path
from typing import Any

import pytest

from longctx.experiments import ExperimentSpec, Store, parse_spec

FIELDS: dict[str, Any] = {
    "model": {"n_layers": 1, "d_model": 16, "n_heads": 2, "vocab_size": 2048, "position": "rope"},
    "data": {"source": "sample"},
    "training": {"length": 16, "batch_size": 4, "steps": 6, "learning_rate": 0.01, "warmup_steps": 2},
    "evaluation": {"lengths": [16, 32], "excerpt": 64, "documents": 2},
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LONGCTX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def spec() -> ExperimentSpec:
    return parse_spec(FIELDS)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")
