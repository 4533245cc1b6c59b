"""Filling a store with many runs, several at a time: Snakemake decides what runs when and where."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from longctx.experiments.spec import ExperimentSpec, canonical
from longctx.experiments.status import RunStatus, log_file, run_status
from longctx.experiments.store import Store, home, project_root
from longctx.training.checkpoints import write_atomically

#: Seconds between two looks at how far the runs are.
LOOK = 2.0


def sweep(
    specs: Sequence[ExperimentSpec],
    store: Store,
    *,
    name: str,
    jobs: int = 1,
    executor: str | None = None,
    options: Sequence[str] = (),
    watching: Callable[[list[RunStatus]], None] | None = None,
) -> list[RunStatus]:
    """Compute what ``store`` is missing of ``specs``; the state of every run afterwards.

    Each run is a process of its own. One that fails is tried once more and stops none of the others; one
    that was interrupted goes on from its last checkpoint.

    Args:
        store: where records go; its first layer is written.
        name: of the files that hold the plan and what Snakemake says.
        jobs: runs at a time.
        executor: a Snakemake executor plug-in ("slurm", "kubernetes"); None runs on this machine.
        options: further arguments for Snakemake.
        watching: called every few seconds with the state of every run.

    Raises:
        ValueError: Snakemake is not installed, or there is no workflow here.
    """
    runs = [run_status(spec, store) for spec in specs]
    todo = {run.spec.key: run.spec for run in runs if run.state not in ("done", "damaged")}
    if not todo:
        return runs
    command = _snakemake(plan(todo.values(), store, name=name), jobs, executor, options)
    environment = {**os.environ, "LONGCTX_HOME": str(home().resolve())}
    with snakemake_log(name).open("w") as log:
        engine = subprocess.Popen(
            command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            while True:
                try:
                    engine.wait(LOOK)
                    break
                except subprocess.TimeoutExpired:
                    if watching is not None:
                        runs = [run if run.state == "done" else run_status(run.spec, store) for run in runs]
                        watching(runs)
        except BaseException:
            os.killpg(engine.pid, signal.SIGINT)  # also its jobs; what they have done is in their checkpoints
            engine.wait()
            raise
    return [run_status(spec, store) for spec in specs]


def plan(specs: Iterable[ExperimentSpec], store: Store, *, name: str) -> Path:
    """Write a file for each spec, and the plan that lists them for the workflow."""
    runs = {}
    for spec in specs:
        (home() / "done" / spec.key).unlink(missing_ok=True)
        log_file(spec).unlink(missing_ok=True)
        write_atomically(
            home() / "specs" / f"{spec.key}.json", json.dumps(canonical(spec), indent=1).encode()
        )
        runs[spec.key] = {"threads": spec.training.threads}
    written = {"python": sys.executable, "store": str(store.layers[0].resolve()), "runs": runs}
    path = home() / "sweeps" / f"{name}.json"
    write_atomically(path, json.dumps(written, indent=1).encode())
    return path


def snakemake_log(name: str) -> Path:
    """Where what Snakemake says about a sweep is kept."""
    return home() / "sweeps" / f"{name}.log"


def _snakemake(plan: Path, jobs: int, executor: str | None, options: Sequence[str]) -> list[str]:
    if importlib.util.find_spec("snakemake") is None:
        raise ValueError("sweeps need Snakemake: pip install 'longctx[sweep]'")
    workflow = project_root() / "workflow" / "Snakefile"
    if not workflow.is_file():
        raise ValueError(f"no workflow at {workflow}; sweeps run from the source tree")
    where = ["--cores", str(jobs)] if executor is None else ["--executor", executor, "--jobs", str(jobs)]
    return [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(workflow)),
        *("--directory", str(home().resolve()), "--config", f"plan={plan.resolve()}"),
        # Runs are locked one by one and resume by themselves; Snakemake's lock would only outlive a kill.
        *("--keep-going", "--nolock", "--rerun-incomplete", "--rerun-triggers", "mtime", "--nocolor"),
        *where,
        *options,
    ]
