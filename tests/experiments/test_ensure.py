import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from longctx.experiments import ExperimentSpec, Record, Store, ensure, parse_spec, replace, trained_model
from longctx.experiments.spec import canonical

run_module = importlib.import_module("longctx.experiments.run")
material_module = importlib.import_module("longctx.experiments.material")


def metrics(record: Record) -> dict[str, Any]:
    return {
        "losses": list(record.training.losses),
        "evaluations": [e.result.model_dump(mode="json") for e in record.evaluations],
    }


IN_ANOTHER_PROCESS = """
import json, sys
from longctx.experiments import Store, ensure, parse_spec
(record,) = ensure([parse_spec(json.loads(sys.argv[1]))], store=Store(sys.argv[2]), progress=False)
print(json.dumps({"losses": record.training.losses,
                  "evaluations": [e.result.model_dump(mode="json") for e in record.evaluations]}))
"""


def test_the_same_spec_gives_the_same_bits_in_another_process(spec: ExperimentSpec, tmp_path: Path):
    (here,) = ensure([spec], store=Store(tmp_path / "here"), progress=False)
    there = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS, json.dumps(canonical(spec)), str(tmp_path / "there")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(there.stdout) == json.loads(json.dumps(metrics(here)))
    a, b = (trained_model(spec, Store(tmp_path / place)) for place in ("here", "there"))
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_another_seed_gives_other_numbers(spec: ExperimentSpec, store: Store):
    a, b = ensure([spec, replace(spec, {"seed": 1})], store=store, progress=False)
    assert metrics(a)["losses"] != metrics(b)["losses"]


def test_a_new_length_is_evaluated_without_training(
    spec: ExperimentSpec, store: Store, monkeypatch: pytest.MonkeyPatch
):
    (old,) = ensure([spec], store=store, progress=False)

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(run_module, "train", forbidden)
    seen: list[int] = []
    evaluate = material_module.evaluate
    monkeypatch.setattr(
        material_module, "evaluate", lambda *a, **k: seen.append(k["length"]) or evaluate(*a, **k)
    )
    (new,) = ensure([replace(spec, {"evaluation.lengths": [16, 24, 32]})], store=store, progress=False)
    assert seen == [24, 24], "once by each protocol, and nothing that was known"
    assert new.training == old.training
    assert new.at(16) == old.at(16)
    assert new.at(24).length == 24


def test_a_length_evaluated_later_has_the_bits_of_one_evaluated_at_once(spec: ExperimentSpec, tmp_path: Path):
    at_once, later = Store(tmp_path / "a"), Store(tmp_path / "b")
    (a,) = ensure([spec], store=at_once, progress=False)
    ensure([replace(spec, {"evaluation.lengths": [16]})], store=later, progress=False)
    (b,) = ensure([spec], store=later, progress=False)
    assert metrics(a) == metrics(b)


def test_a_complete_record_is_only_read(spec: ExperimentSpec, store: Store, monkeypatch: pytest.MonkeyPatch):
    (first,) = ensure([spec], store=store, progress=False)
    monkeypatch.setattr(run_module, "open_material", lambda *_: pytest.fail("the text is not needed"))
    assert ensure([spec], store=store, progress=False) == [first]


def test_one_failing_run_stops_no_other(spec: ExperimentSpec, store: Store, monkeypatch: pytest.MonkeyPatch):
    specs = [replace(spec, {"seed": seed}) for seed in (0, 1, 2)]
    build = run_module.build_model

    def broken(config: Any, *, seed: int) -> Any:
        model = build(config, seed=seed)
        if seed == 1:
            with torch.no_grad():
                model.embedding.weight.fill_(float("nan"))
        return model

    monkeypatch.setattr(run_module, "build_model", broken)
    with pytest.raises(RuntimeError, match=r"1 of 3 runs failed:\n.*seed 1\): the loss is nan at step 0"):
        ensure(specs, store=store, progress=False)
    assert [store.get(s) is not None for s in specs] == [True, False, True]


def test_text_other_than_the_spec_names_is_refused(spec: ExperimentSpec, store: Store):
    other = replace(spec, {"data.corpus": "0" * 16})
    with pytest.raises(RuntimeError, match="wants sample with digest 0000000000000000, but here it has"):
        ensure([other], store=store, progress=False)


def test_too_few_long_documents_are_an_error_before_anything_is_trained(
    spec: ExperimentSpec, store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(run_module, "train", lambda *_, **__: pytest.fail("trained for nothing"))
    many = replace(spec, {"evaluation.documents": 10_000})
    with pytest.raises(RuntimeError, match=r"evaluation\.documents=10000, but only \d+ .* lower documents"):
        ensure([many], store=store, progress=False)


def test_checkpoints_left_by_a_kill_after_the_record_was_written_are_cleared(
    spec: ExperimentSpec, store: Store
):
    ensure([spec], store=store, progress=False)
    left = store.scratch(spec.training_key) / "step-0000004.safetensors"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"left")
    ensure([replace(spec, {"evaluation.lengths": [24]})], store=store, progress=False)
    assert not left.exists()


def test_the_stored_weights_are_those_that_were_evaluated(spec: ExperimentSpec, store: Store):
    ensure([spec], store=store, progress=False)
    model = trained_model(spec, store)
    assert not model.training
    rounded = [p.detach().half().float() for p in model.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(rounded, model.parameters(), strict=True))


def test_a_run_that_is_being_computed_elsewhere_is_waited_for(spec: ExperimentSpec, store: Store):
    assert not store.is_running(spec.training_key)
    with store.lock(spec.training_key):
        assert store.is_running(spec.training_key)
    assert not store.is_running(spec.training_key)


def test_ensure_keeps_the_order_of_its_specs(spec: ExperimentSpec, store: Store):
    specs = [replace(spec, {"seed": seed}) for seed in (1, 0)]
    assert [record.spec.seed for record in ensure(specs, store=store, progress=False)] == [1, 0]
    assert parse_spec(canonical(specs[0])) == specs[0]
