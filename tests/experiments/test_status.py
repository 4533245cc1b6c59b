import json
import os
import re
import time
from pathlib import Path

import pytest
import torch

from longctx.experiments import ExperimentSpec, Store, ensure, replace
from longctx.experiments.progress import announcement, estimated_seconds, n_parameters
from longctx.experiments.status import log_file, logged_error, overview, run_status
from longctx.model import build_model
from longctx.training import Checkpoints


def test_every_state_is_told_apart(spec: ExperimentSpec, store: Store):
    specs = [replace(spec, {"seed": seed}) for seed in range(5)]
    done, running, failed, damaged, _ = specs
    ensure([done, damaged], store=store, progress=False)
    record = store.layers[0] / f"{damaged.training_key}.json"
    record.write_text(record.read_text().replace('"schema": 1', '"schema": 1, "x": 2')[:-20])
    log_file(failed).parent.mkdir(parents=True)
    log_file(failed).write_text("some progress\nerror: the loss is nan at step 3\n")
    with store.lock(running.training_key):
        state = overview(specs, store)
        assert [run.state for run in state.runs] == ["done", "running", "failed", "damaged", "missing"]
        assert state.runs[2].error == "the loss is nan at step 3"
        assert str(record) in (state.runs[3].error or "")
    assert run_status(running, store).state == "missing", "a lock that nobody holds means nothing"
    assert json.loads(json.dumps(state.as_json()))["counts"] == dict.fromkeys(
        ["done", "running", "failed", "damaged", "missing"], 1
    )


def test_a_log_without_an_error_tells_of_a_kill(tmp_path: Path):
    assert logged_error(tmp_path / "none.log") is None
    (tmp_path / "a.log").write_text("3/6 rope: step 3/6\n")
    assert re.search("killed.*step 3/6", logged_error(tmp_path / "a.log") or "")


def test_a_run_with_a_length_missing_is_not_done_but_trained(spec: ExperimentSpec, store: Store):
    ensure([spec], store=store, progress=False)
    status = run_status(replace(spec, {"evaluation.lengths": [16, 48]}), store)
    assert (status.state, status.step, status.steps_left) == ("missing", 6, 0)


def test_checkpoints_count_as_progress(spec: ExperimentSpec, store: Store):
    checkpoints = Checkpoints(store.scratch(spec.training_key), key=spec.training_key, every=2)
    checkpoints.save(4, {"model.x": torch.ones(1)}, [1.0] * 4)
    status = run_status(spec, store)
    assert (status.step, status.steps_left) == (4, 2)


def test_stale_records_are_reported(spec: ExperimentSpec, store: Store):
    ensure([spec], store=store, progress=False)
    newer = replace(spec, {"data.corpus": "another digest"})
    state = overview([newer], store)
    assert state.runs[0].state == "missing"
    assert [one.reason for one in state.stale] == ["other text or tokenizer"]


def test_the_estimate_is_work_over_speed(spec: ExperimentSpec, store: Store):
    assert estimated_seconds([spec], store) is None, "nothing was run from which to tell"
    (record,) = ensure([spec], store=store, progress=False)
    twice = replace(spec, {"training.steps": 12})
    one = estimated_seconds([spec], store)
    assert one == pytest.approx(spec.training.tokens / record.training.tokens_per_second)
    assert estimated_seconds([twice, spec], store) == pytest.approx(3 * one)
    assert overview([spec, twice], store, jobs=2).seconds_left == pytest.approx(2 * one / 2)
    assert overview([spec], store).seconds_left == 0


def test_a_running_run_is_estimated_from_its_own_checkpoints(spec: ExperimentSpec, store: Store):
    checkpoints = Checkpoints(store.scratch(spec.training_key), key=spec.training_key, every=1)
    now = time.time()
    for step in (2, 4):
        checkpoints.save(step, {"model.x": torch.ones(1)}, [1.0] * step)
        at = now - 100 + 10 * step
        os.utime(checkpoints.folder / f"step-{step:07d}.json", (at, at))
    with store.lock(spec.training_key):
        assert overview([spec], store).seconds_left == pytest.approx(20), "2 steps took 20 s, and 2 are left"


def test_parameters_are_counted_without_building_the_model(spec: ExperimentSpec):
    assert n_parameters(spec.model) == build_model(spec.model, seed=0).n_parameters()


def test_what_will_be_computed_is_said_without_times(spec: ExperimentSpec):
    other = replace(spec, {"seed": 1})
    assert announcement([spec, other], [spec]) == (
        "1 run to train on 0.00 M tokens; 1 trained already, to evaluate at new lengths."
    )
