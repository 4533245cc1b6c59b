import shutil
from pathlib import Path

import pytest

from longctx.experiments import ExperimentSpec, Store, replace
from longctx.experiments.status import RunStatus
from longctx.experiments.sweep import plan, snakemake_log, sweep


def test_a_failing_run_stops_no_other_and_a_second_sweep_does_the_rest(
    spec: ExperimentSpec, store: Store, home: Path
):
    # Positions past its table make the learned encoding fail once the lengths are evaluated.
    fails = replace(spec, {"model.position": "learned(max_length=16)"})
    specs = [fails, spec]
    seen: list[list[RunStatus]] = []
    runs = sweep(specs, store, name="test", jobs=2, watching=seen.append)
    assert [run.state for run in runs] == ["failed", "done"], snakemake_log("test").read_text()
    assert "max_length=16" in (runs[0].error or ""), "the error is that of the run, not Snakemake's"
    assert seen, "progress is shown while it runs"

    mended = [replace(fails, {"evaluation.lengths": [16]}), replace(spec, {"evaluation.lengths": [16, 48]})]
    before = {path: path.stat().st_mtime_ns for path in (store.layers[0] / "checkpoints").iterdir()}
    assert len(before) == 2, "the failing run was trained; only its evaluation failed"
    runs = sweep(mended, store, name="test", jobs=2)
    assert [run.state for run in runs] == ["done", "done"], snakemake_log("test").read_text()
    after = {path: path.stat().st_mtime_ns for path in (store.layers[0] / "checkpoints").iterdir()}
    assert after == before, "a new length must not train again"

    shutil.rmtree(home / "sweeps")
    assert all(run.state == "done" for run in sweep(mended, store, name="test"))
    assert not (home / "sweeps").exists(), "with nothing to do, nothing is started"


def test_a_plan_makes_a_run_due_again(spec: ExperimentSpec, store: Store, home: Path):
    (home / "done").mkdir(parents=True)
    (home / "done" / spec.key).touch()
    plan([spec], store, name="again")
    assert not (home / "done" / spec.key).exists()
    assert (home / "specs" / f"{spec.key}.json").is_file()


def test_a_sweep_without_snakemake_says_what_to_install(
    spec: ExperimentSpec, store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"pip install 'longctx\[sweep\]'"):
        sweep([spec], store, name="test")
