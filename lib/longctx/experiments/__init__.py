"""Runs as values: specs, records, the store, and what fills it."""

from longctx.experiments.declared import declared_experiments, load_experiment
from longctx.experiments.material import validation_excerpts
from longctx.experiments.record import Evaluation, Record, Training
from longctx.experiments.run import ensure, run, trained_model
from longctx.experiments.spec import DataSpec, EvaluationSpec, ExperimentSpec, parse_spec, replace
from longctx.experiments.store import (
    DamagedRecordError,
    Store,
    committed_store,
    default_store,
    home,
    project_root,
)

__all__ = [
    "DamagedRecordError",
    "DataSpec",
    "Evaluation",
    "EvaluationSpec",
    "ExperimentSpec",
    "Record",
    "Store",
    "Training",
    "committed_store",
    "declared_experiments",
    "default_store",
    "ensure",
    "home",
    "load_experiment",
    "parse_spec",
    "project_root",
    "replace",
    "run",
    "trained_model",
    "validation_excerpts",
]
