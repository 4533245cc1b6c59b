import json

import pytest

from longctx.experiments import ExperimentSpec, Store, ensure, replace
from longctx.experiments.spec import digest
from longctx.experiments.verify import TOLERANCE, pick, verify


def test_a_true_record_is_reproduced_to_the_bit(spec: ExperimentSpec, store: Store):
    ensure([spec], store=store, progress=False)
    recorded = store.run(spec.training_key)
    assert recorded is not None
    verdict = verify(recorded, progress=False)
    assert verdict.agrees
    assert verdict.same_machine
    assert verdict.bit_identical
    assert len(verdict.differences) == 2 * 2 + 1, "two lengths by two protocols, and the training curve"


@pytest.mark.parametrize("part", ["evaluation", "curve"])
def test_a_record_with_other_numbers_is_found_out(spec: ExperimentSpec, store: Store, part: str):
    ensure([spec], store=store, progress=False)
    path = store.layers[0] / f"{spec.training_key}.json"
    content = json.loads(path.read_text())
    run = content["run"]
    if part == "curve":
        run["training"]["losses"] = [loss - 2 * TOLERANCE for loss in run["training"]["losses"]]
    else:
        run["evaluations"][1]["result"]["loss"] -= 2 * TOLERANCE
    path.write_text(json.dumps({**content, "digest": digest(run)}))
    recorded = store.run(spec.training_key)
    assert recorded is not None
    verdict = verify(recorded, progress=False)
    assert not verdict.agrees
    assert not verdict.bit_identical
    assert verdict.largest.size == pytest.approx(2 * TOLERANCE)


def test_verifying_leaves_nothing_behind_and_uses_nothing_that_lies_about(
    spec: ExperimentSpec, store: Store, home: object
):
    ensure([spec], store=store, progress=False)
    recorded = store.run(spec.training_key)
    assert recorded is not None
    before = sorted(store.layers[0].rglob("*"))
    verify(recorded, progress=False)
    assert sorted(store.layers[0].rglob("*")) == before
    assert not list(store.unfinished.glob("step-*"))


def test_the_sample_is_drawn_by_seed(spec: ExperimentSpec, store: Store):
    specs = [replace(spec, {"seed": seed}) for seed in range(4)]
    for one in specs:
        (record,) = ensure([replace(one, {"training.steps": 1})], store=store, progress=False)
        assert record.training.losses
    runs = store.runs()
    drawn = {tuple(run.training_key for run in pick(runs, 2, seed=seed)) for seed in range(20)}
    assert all(len(keys) == len(set(keys)) == 2 for keys in drawn)
    assert len(drawn) > 1
    assert pick(runs, 2, seed=3) == pick(runs, 2, seed=3)
    assert len(pick(runs, 99, seed=0)) == 4
