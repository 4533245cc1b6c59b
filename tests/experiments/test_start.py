"""Runs that begin with the weights of another."""

import importlib
from typing import Any

import pytest
import torch

from longctx.data import open_source
from longctx.evaluation import evaluate
from longctx.experiments import (
    ExperimentSpec,
    Store,
    ensure,
    parse_spec,
    replace,
    trained_model,
    validation_excerpts,
)
from longctx.experiments.progress import announcement, name_of, untrained
from longctx.experiments.spec import canonical
from longctx.experiments.status import run_status, seconds_left
from longctx.experiments.verify import verify
from longctx.model import build_model

run_module = importlib.import_module("longctx.experiments.run")
LONGER = "rope(scaling=linear(factor=2.0))"


@pytest.fixture
def extended(spec: ExperimentSpec) -> ExperimentSpec:
    """The weights of ``spec``, read with interpolated positions."""
    start = {"position": "rope", "training": spec.training.model_dump()}
    return replace(spec, {"model.position": LONGER, "start": start, "training.steps": 0})


def test_without_steps_the_weights_of_the_start_are_evaluated(
    spec: ExperimentSpec, extended: ExperimentSpec, store: Store
):
    (record,) = ensure([extended], store=store, progress=False)
    trained = build_model(extended.model)
    trained.load_state_dict(trained_model(spec, store).state_dict())
    excerpts = validation_excerpts(open_source("sample"), spec.evaluation)
    expected = evaluate(trained, excerpts, length=32, protocol="sliding")
    assert record.at(32, "sliding") == expected
    (plain,) = ensure([spec], store=store, progress=False)
    assert record.at(32) != plain.at(32)
    assert record.training.losses == ()
    assert extended.weights_key == spec.training_key
    assert store.weights(extended.training_key) is None, "no second copy"


def test_the_start_is_the_same_run_trained_by_itself(
    spec: ExperimentSpec, extended: ExperimentSpec, store: Store
):
    assert extended.origin == spec
    ensure([extended], store=store, progress=False)
    run = store.run(spec.training_key)
    assert run is not None
    assert len(run.training.losses) == spec.training.steps
    assert not run.evaluations, "nobody asked for them"


def test_fine_tuning_goes_on_from_the_start(spec: ExperimentSpec, extended: ExperimentSpec, store: Store):
    tuned = replace(extended, {"training.steps": 1, "training.learning_rate": 1e-9})
    random = replace(tuned, {"start": None})
    (record, fresh, _) = ensure([tuned, random, spec], store=store, progress=False)
    before, after = trained_model(spec, store), trained_model(tuned, store)
    for p, q in zip(before.parameters(), after.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-4, rtol=1e-3)
    assert len(record.training.losses) == 1
    assert record.training.losses[0] < fresh.training.losses[0] - 0.05


def test_a_start_is_trained_once(
    spec: ExperimentSpec, extended: ExperimentSpec, store: Store, monkeypatch: pytest.MonkeyPatch
):
    trained = []
    train = run_module.train
    monkeypatch.setattr(
        run_module, "train", lambda m, b, s, **k: trained.append(s.steps) or train(m, b, s, **k)
    )
    others = [replace(extended, {"model.position": f"rope(scaling=ntk(factor={f}.0))"}) for f in (2, 4)]
    ensure([*others, spec], store=store, progress=False)
    assert sorted(trained) == [0, 0, spec.training.steps]


def test_what_is_missing_is_announced_with_the_start(
    spec: ExperimentSpec, extended: ExperimentSpec, store: Store
):
    tuned = replace(extended, {"training.steps": 3})
    assert untrained([extended, tuned], store) == [spec, tuned]
    assert announcement([extended, tuned], untrained([extended, tuned], store)).startswith("2 runs to train")
    ensure([spec], store=store, progress=False)
    assert untrained([extended], store) == []
    assert announcement([extended], []) == "1 trained already, to evaluate at new lengths."
    assert run_status(extended, store).state == "missing"
    assert seconds_left([run_status(extended, store)], store, jobs=1) == 0.0
    ensure([extended], store=store, progress=False)
    assert run_status(extended, store).state == "done"


def test_the_name_of_a_run_says_how_it_began(extended: ExperimentSpec):
    assert "after L=16, seed 0" in name_of(extended)
    assert "after L=16, L=64, seed 0" in name_of(
        replace(extended, {"training.steps": 3, "training.length": 64})
    )


def test_verification_trains_the_start_too(extended: ExperimentSpec, store: Store):
    ensure([extended], store=store, progress=False)
    run = store.run(extended.training_key)
    assert run is not None
    verdict = verify(run, progress=False)
    assert verdict.bit_identical
    assert verdict.agrees
    assert len(verdict.differences) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": None}, "training.steps: must be at least 1"),
        ({"start.training.steps": 0}, "start.training.steps: must be at least 1"),
        ({"start.position": "alibi(learned=True)"}, "other parameters"),
        ({"start.position": "rop"}, "unknown position encoding"),
        ({"start.lenght": 3}, "no such field; there are position, training"),
        ({"start.training.lenght": 3}, "no such field; there are length"),
    ],
)
def test_a_start_that_cannot_be_is_refused(extended: ExperimentSpec, changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        replace(extended, changes)


def test_a_start_survives_the_canonical_form(extended: ExperimentSpec):
    assert parse_spec(canonical(extended)) == extended
    longer = replace(extended, {"start.position": "rope(base=10000)"})
    assert longer.key == extended.key, "one meaning, one key"
