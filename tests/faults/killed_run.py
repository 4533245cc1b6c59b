"""Run one spec in child processes that are killed at random moments; print what came of it as JSON.

The children are forked, so that torch is imported once. Usage: killed_run.py FOLDER KILLS
"""

import importlib
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from longctx.experiments import ExperimentSpec, Store, parse_spec, run, trained_model
from longctx.experiments.progress import Watch

SPEC = {
    "model": {"n_layers": 1, "d_model": 16, "n_heads": 2, "vocab_size": 2048, "position": "alibi"},
    "data": {"source": "sample"},
    "training": {"length": 16, "batch_size": 4, "steps": 40, "learning_rate": 0.01, "warmup_steps": 2},
    "evaluation": {"lengths": [16, 32], "excerpt": 64, "documents": 2},
}


def start(spec: ExperimentSpec, store: Store) -> tuple[int, int]:
    """A child that computes the run, and a pipe on which it writes a byte after every step and evaluation."""
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        run(spec, store, Watch(lambda done, text: os.write(write, b".")))
        os._exit(0)
    os.close(write)
    return child, read


def kill_after(child: int, pipe: int, marks: int, seconds: float) -> None:
    """Kill −9 some time after a number of marks, wherever the child is then."""
    for _ in range(marks):
        if not os.read(pipe, 1):
            return
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)


def outcome(spec: ExperimentSpec, store: Store) -> Any:
    """Everything that must not depend on having been killed."""
    record = store.get(spec)
    assert record is not None
    weights = [p.tolist() for p in trained_model(spec, store).parameters()]
    return record.training.losses, [e.result for e in record.evaluations], weights


def main(folder: Path, kills: int) -> dict[str, Any]:
    """Kill until ``kills`` children have died of it; compare each finished run with an undisturbed one."""
    importlib.import_module("longctx.experiments.run").CHECKPOINT_TOKENS = 4 * 64  # every four steps
    spec = parse_spec(SPEC)
    store = Store(folder / "undisturbed", unfinished=folder / "undisturbed-runs")
    run(spec, store)
    expected = outcome(spec, store)
    chance = random.Random(0)
    report: dict[str, Any] = {"kills": 0, "resumed": 0, "compared": 0, "different": []}
    store, unfinished = Store(folder / "killed", unfinished=folder / "killed-runs"), False
    while report["kills"] < kills or unfinished:
        child, pipe = start(spec, store)
        if report["kills"] < kills:
            kill_after(child, pipe, chance.randrange(14), chance.uniform(0, 0.02))
        _, status = os.waitpid(child, 0)
        os.close(pipe)
        if os.WIFSIGNALED(status):
            report["kills"] += 1
            report["resumed"] += any(store.scratch(spec.training_key).glob("step-*.json"))
            unfinished = True
            continue
        report["compared"] += 1
        if outcome(spec, store) != expected:
            report["different"].append(report["kills"])
        shutil.rmtree(folder / "killed")
        unfinished = False
    return report


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
