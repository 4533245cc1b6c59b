"""Where records and finished weights lie: one file a run, committed ones under those made here."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from longctx.experiments.record import Evaluation, Record, Training, wanted
from longctx.experiments.spec import SCHEMA, ExperimentSpec, canonical, digest, parse_spec
from longctx.training.checkpoints import write_atomically


class DamagedRecordError(ValueError):
    """A record's file does not hold what was written."""


class StoredRun(BaseModel):
    """One file of the store: a training run and every evaluation made of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    training_key: str
    #: Without its evaluation, which belongs to each request.
    spec: dict[str, Any]
    training: Training
    evaluations: tuple[Evaluation, ...]


class Store:
    """Records by key, in layers: what is found first counts, and only the first layer is written.

    Args:
        layers: folders that hold ``KEY.json`` and ``checkpoints/KEY.safetensors``.
        unfinished: where runs keep what they need to go on after an interruption; by default
            ``runs`` in `home`.
    """

    def __init__(self, *layers: Path, unfinished: Path | None = None) -> None:
        if not layers:
            raise ValueError("a store needs at least one folder")
        self.layers = tuple(Path(layer) for layer in layers)
        self.unfinished = Path(unfinished) if unfinished is not None else home() / "runs"

    def get(self, spec: ExperimentSpec) -> Record | None:
        """The record of ``spec``, or None if its training or any of its evaluations is missing."""
        run = self.run(spec.training_key)
        if run is None or self.missing(spec):
            return None
        return Record(spec=spec, training=run.training, evaluations=_asked_for(spec, run.evaluations))

    def missing(self, spec: ExperimentSpec) -> list[tuple[int, str]]:
        """The (length, protocol) pairs that ``spec`` asks for and no layer holds."""
        run = self.run(spec.training_key)
        held = _asked_for(spec, run.evaluations) if run is not None else ()
        have = {(e.result.length, e.result.protocol) for e in held}
        return [pair for pair in wanted(spec.evaluation) if pair not in have]

    def run(self, training_key: str) -> StoredRun | None:
        """Training and evaluations of a run, merged over the layers."""
        runs = [_read(path) for layer in self.layers if (path := layer / f"{training_key}.json").exists()]
        if not runs:
            return None
        merged = _merge(e for run in runs for e in run.evaluations)
        return runs[-1].model_copy(update={"evaluations": merged})

    def put(self, spec: ExperimentSpec, training: Training, evaluations: Iterable[Evaluation]) -> None:
        """Write a run, or add evaluations to it; what was there already stays."""
        path = self.layers[0] / f"{spec.training_key}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            known = _read(path) if path.exists() else None
            run = StoredRun(
                training_key=spec.training_key,
                spec=json.loads(json.dumps(canonical(spec, without="evaluation"))),
                training=training if known is None else known.training,
                evaluations=_merge([*(known.evaluations if known is not None else ()), *evaluations]),
            )
            body = run.model_dump(mode="json")
            text = json.dumps({"schema": SCHEMA, "digest": digest(body), "run": body})
            write_atomically(path, (text + "\n").encode())

    def runs(self) -> list[StoredRun]:
        """Every sound run of this schema, over all layers."""
        keys = {path.stem for layer in self.layers for path in layer.glob("*.json")}
        found = []
        for key in sorted(keys):
            with suppress(DamagedRecordError):
                found.append(self.run(key))
        return [run for run in found if run is not None]

    def weights(self, training_key: str) -> Path | None:
        """The finished weights of a run, if any layer holds them."""
        paths = (layer / "checkpoints" / f"{training_key}.safetensors" for layer in self.layers)
        return next((path for path in paths if path.exists()), None)

    def weights_to_write(self, training_key: str) -> Path:
        """Where the finished weights of a run go."""
        return self.layers[0] / "checkpoints" / f"{training_key}.safetensors"

    def scratch(self, training_key: str) -> Path:
        """Where an unfinished run keeps its checkpoints."""
        return self.unfinished / training_key

    def lock(self, training_key: str) -> FileLock:
        """Held while a run is computed, so that no other process trains it too; even kill −9 frees it."""
        self.unfinished.mkdir(parents=True, exist_ok=True)
        return FileLock(self.unfinished / f"{training_key}.lock")

    def is_running(self, training_key: str) -> bool:
        """Whether a process on this machine is computing a run."""
        if not (self.unfinished / f"{training_key}.lock").exists():
            return False
        try:
            with self.lock(training_key).acquire(timeout=0):
                return False
        except Timeout:
            return True

    def stale(self, specs: Iterable[ExperimentSpec]) -> list[tuple[Path, str]]:
        """Records that would be those of ``specs``, but were made by another schema, corpus or tokenizer."""
        asked = {spec.training_key: _timeless(canonical(spec, without="evaluation")) for spec in specs}
        found = []
        for path in sorted(p for layer in self.layers for p in layer.glob("*.json")):
            try:
                content = _parse(path)
            except DamagedRecordError:
                continue  # reported by whoever asks for it
            if path.stem in asked and content.get("schema") == SCHEMA:
                continue
            if _timeless(content.get("run", {}).get("spec", {})) in asked.values():
                same = content.get("schema") == SCHEMA
                found.append((path, "other text or tokenizer" if same else f"schema {content.get('schema')}"))
        return found


def _timeless(spec: dict[str, Any]) -> str:
    data = {k: v for k, v in spec.get("data", {}).items() if k not in ("corpus", "tokenizer")}
    return digest({**spec, "data": data})


def _asked_for(spec: ExperimentSpec, evaluations: Iterable[Evaluation]) -> tuple[Evaluation, ...]:
    """Those of ``evaluations`` that ``spec`` asks for, in its order."""
    pairs = wanted(spec.evaluation)
    asked = spec.evaluation
    test = (asked.excerpt, asked.documents, asked.problems)
    matching = [e for e in evaluations if e.test == test and (e.result.length, e.result.protocol) in pairs]
    return tuple(sorted(matching, key=lambda e: pairs.index((e.result.length, e.result.protocol))))


def _merge(evaluations: Iterable[Evaluation]) -> tuple[Evaluation, ...]:
    """One evaluation a (test, length, protocol): the last, so that committed ones win."""
    by_what = {(*e.test, e.result.protocol, e.result.length): e for e in evaluations}
    return tuple(by_what[what] for what in sorted(by_what))


def _parse(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DamagedRecordError(
            f"record {path} cannot be read: {error}; delete it to compute it again"
        ) from error
    if not isinstance(content, dict):
        raise DamagedRecordError(f"record {path} is not a JSON object; delete it to compute it again")
    return content


def _read(path: Path) -> StoredRun:
    """The run that ``path`` holds.

    Raises:
        DamagedRecordError: unreadable, altered, or not the run that its name says.
    """
    content = _parse(path)
    if content.get("schema") != SCHEMA:
        raise DamagedRecordError(
            f"record {path} has schema {content.get('schema')!r}, this version reads {SCHEMA}; "
            "delete it to compute it again"
        )
    body = content.get("run")
    if content.get("digest") != digest(body):
        raise DamagedRecordError(
            f"record {path} was altered after it was written; delete it to compute it again"
        )
    try:
        run = StoredRun.model_validate(body)
    except ValidationError as error:
        raise DamagedRecordError(f"record {path} is not valid: {error}") from error
    if run.training_key != path.stem:
        raise DamagedRecordError(f"record {path} holds run {run.training_key}; files are named by their run")
    return run


def spec_of(run: StoredRun, evaluation: dict[str, Any]) -> ExperimentSpec:
    """The spec of a stored run, with the evaluation that is asked for."""
    return parse_spec({**run.spec, "evaluation": evaluation})


def home() -> Path:
    """Where this machine keeps its own records, weights and unfinished runs: LONGCTX_HOME, or .longctx."""
    return Path(os.environ.get("LONGCTX_HOME") or project_root() / ".longctx")


def project_root() -> Path:
    """The source tree that this library runs from; the current folder if it was installed without one."""
    root = Path(__file__).resolve().parents[3]
    return root if (root / "experiments").is_dir() and (root / "results").is_dir() else Path.cwd()


def default_store() -> Store:
    """What notebooks read and write: this machine's records over the committed ones."""
    return Store(home() / "results", project_root() / "results")


def committed_store() -> Store:
    """What sweeps write: the committed records."""
    return Store(project_root() / "results")
