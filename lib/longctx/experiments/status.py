"""How far an experiment is: what is done, running, failed or missing, and how long the rest takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from longctx.experiments.progress import estimated_seconds, n_parameters, name_of
from longctx.experiments.spec import ExperimentSpec
from longctx.experiments.store import DamagedRecordError, Store, home

#: done: recorded completely. running: a process of this machine holds it. failed: it was tried and stopped.
#: damaged: its record is not what was written. missing: nobody tried, or its training alone is recorded.
State = Literal["done", "running", "failed", "damaged", "missing"]

#: How the command line writes an error, and how a log is searched for it.
ERROR = "error: "


@dataclass(frozen=True)
class RunStatus:
    """The state of one run."""

    spec: ExperimentSpec
    state: State
    #: Optimiser steps that need not be repeated.
    step: int
    #: What went wrong, if it failed or is damaged.
    error: str | None = None

    @property
    def steps_left(self) -> int:
        """Optimiser steps still to take."""
        return 0 if self.state == "done" else self.spec.training.steps - self.step

    def as_json(self) -> dict[str, Any]:
        """For programs that read the status."""
        return {
            "key": self.spec.key,
            "training_key": self.spec.training_key,
            "run": name_of(self.spec),
            "state": self.state,
            "step": self.step,
            "steps": self.spec.training.steps,
            "error": self.error,
        }


@dataclass(frozen=True)
class Stale:
    """A record that was made by another schema, corpus or tokenizer, and is not used."""

    path: str
    reason: str


@dataclass(frozen=True)
class Overview:
    """The state of all runs of an experiment."""

    runs: tuple[RunStatus, ...]
    stale: tuple[Stale, ...]
    #: On `jobs` processes; None where nothing was run yet from which to tell.
    seconds_left: float | None

    def count(self, state: State) -> int:
        """How many runs are in ``state``."""
        return sum(run.state == state for run in self.runs)

    def as_json(self) -> dict[str, Any]:
        """For programs that read the status."""
        return {
            "counts": {state: self.count(state) for state in State.__args__},  # type: ignore[attr-defined]
            "seconds_left": self.seconds_left,
            "runs": [run.as_json() for run in self.runs],
            "stale": [asdict(one) for one in self.stale],
        }


def overview(specs: Sequence[ExperimentSpec], store: Store, *, jobs: int = 1) -> Overview:
    """The state of every run in ``specs``, and the time that ``jobs`` processes need for the rest."""
    runs = tuple(run_status(spec, store) for spec in specs)
    stale = tuple(Stale(str(path), reason) for path, reason in store.stale(specs))
    return Overview(runs, stale, seconds_left(runs, store, jobs=jobs))


def run_status(spec: ExperimentSpec, store: Store) -> RunStatus:
    """The state of one run."""
    steps = spec.training.steps
    try:
        if store.get(spec) is not None:
            return RunStatus(spec, "done", steps)
    except DamagedRecordError as error:
        return RunStatus(spec, "damaged", 0, str(error))
    step = steps if store.weights(spec.weights_key) is not None else _checkpointed(spec, store)
    if store.is_running(spec.training_key):
        return RunStatus(spec, "running", step)
    if (error_text := logged_error(log_file(spec))) is not None:
        return RunStatus(spec, "failed", step, error_text)
    return RunStatus(spec, "missing", step)


def seconds_left(runs: Iterable[RunStatus], store: Store, *, jobs: int) -> float | None:
    """The time that ``jobs`` processes need for what is not done.

    From the speed of the unfinished runs themselves where they have left two checkpoints, else from that of
    the runs which ``store`` holds; None without either.
    """
    left = [run for run in runs if run.steps_left]
    if not left:
        return 0.0
    pace = _pace(left, store)
    if pace is not None:
        work = sum(n_parameters(run.spec.model) * _tokens_left(run) for run in left)
        return work / pace / jobs
    whole = estimated_seconds([run.spec for run in left], store)
    if whole is None:
        return None
    return whole * sum(map(_tokens_left, left)) / sum(run.spec.training.tokens for run in left) / jobs


def log_file(spec: ExperimentSpec) -> Path:
    """Where a sweep writes what a run says."""
    return home() / "logs" / f"{spec.key}.log"


def logged_error(log: Path) -> str | None:
    """The error with which a log ends; None if there is no log."""
    if not log.exists():
        return None
    text = log.read_text(errors="replace")
    at = text.rfind(ERROR)
    if at >= 0:
        return text[at + len(ERROR) :].strip()
    last = text.strip().rpartition("\n")[2]
    return "stopped without an error message (killed, or out of memory?)" + (
        f"; last line: {last}" * bool(last)
    )


def _tokens_left(run: RunStatus) -> int:
    return run.spec.training.tokens_per_step * run.steps_left


def _checkpointed(spec: ExperimentSpec, store: Store) -> int:
    return max((step for step, _ in _checkpoints(spec, store)), default=0)


def _checkpoints(spec: ExperimentSpec, store: Store) -> list[tuple[int, float]]:
    """(step, time written) of a run's checkpoints, oldest first."""
    found = []
    for path in store.scratch(spec.training_key).glob("step-*.json"):
        try:
            found.append((int(path.stem.removeprefix("step-")), path.stat().st_mtime))
        except FileNotFoundError:
            continue  # a running process has just dropped it
    return sorted(found)


def _pace(runs: Iterable[RunStatus], store: Store) -> float | None:
    """Parameters × tokens a second of the running runs, by the times of their last two checkpoints."""
    paces = []
    for run in runs:
        written = _checkpoints(run.spec, store)[-2:]
        if run.state != "running" or len(written) < 2 or written[1][1] <= written[0][1]:
            continue
        tokens = run.spec.training.tokens_per_step * (written[1][0] - written[0][0])
        paces.append(n_parameters(run.spec.model) * tokens / (written[1][1] - written[0][1]))
    return sum(paces) / len(paces) if paces else None
