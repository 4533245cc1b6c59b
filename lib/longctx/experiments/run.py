"""Running specs: train what is missing, evaluate what is missing, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from longctx.experiments.material import Material, open_material
from longctx.experiments.progress import Watch, watch
from longctx.experiments.record import Evaluation, Record, Training, peak_megabytes, provenance
from longctx.experiments.spec import ExperimentSpec
from longctx.experiments.store import Store, default_store
from longctx.model import Transformer, build_model
from longctx.training import Checkpoints, deterministic, load_weights, save_weights, train

#: Training tokens between two checkpoints: about half a minute of the default model, lost if it is killed.
CHECKPOINT_TOKENS = 200_000


def ensure(
    specs: Sequence[ExperimentSpec], *, store: Store | None = None, progress: bool = True
) -> list[Record]:
    """A record for each spec: read if it exists, else computed and kept.

    Only what is missing is computed: a new context length is evaluated with the stored weights; a new seed
    or model is trained. With ``progress``, what is missing and how long it should take is said first.

    Raises:
        DamagedRecordError: a stored record does not hold what was written.
        RuntimeError: some runs failed; every other one was finished and kept first.
    """
    store = store or default_store()
    failures: list[str] = []
    with watch(specs, store, enabled=progress) as watching:
        for spec in specs:
            if store.get(spec) is None:
                try:
                    run(spec, store, watching)
                except (ArithmeticError, ValueError, OSError) as error:
                    failures.append(f"{spec.key} ({spec.model.position}, seed {spec.seed}): {error}")
    if failures:
        raise RuntimeError(f"{len(failures)} of {len(specs)} runs failed:\n  " + "\n  ".join(failures))
    return [record for spec in specs if (record := store.get(spec)) is not None]


def run(spec: ExperimentSpec, store: Store, watching: Watch | None = None) -> Record:
    """Train and evaluate one spec, as far as ``store`` does not hold it yet.

    A second process that asks for the same run waits for the first, and finds it done.
    """
    with store.lock(spec.training_key):
        return _run(spec, store, watching)


def _run(spec: ExperimentSpec, store: Store, watching: Watch | None) -> Record:
    material = open_material(spec)
    training = _trained(spec, material, store, watching)
    model = trained_model(spec, store)
    for length, protocol in store.missing(spec):
        started = datetime.now(UTC)
        with deterministic(spec.training.threads):
            result = material.evaluate(model, length=length, protocol=protocol)
        evaluation = Evaluation(
            excerpt=spec.evaluation.excerpt,
            documents=spec.evaluation.documents,
            problems=spec.evaluation.problems,
            result=result,
            provenance=provenance(started, spec.training.threads),
        )
        store.put(spec, training, [evaluation])
        if watching is not None:
            watching.evaluated(spec, length)
    record = store.get(spec)
    assert record is not None
    return record


def _trained(spec: ExperimentSpec, material: Material, store: Store, watching: Watch | None) -> Training:
    """Train what is not trained yet, the run whose weights this one begins with first."""
    checkpoints = _checkpoints(spec, store)
    known = store.run(spec.training_key)
    if known is not None and store.weights(spec.weights_key) is not None:
        checkpoints.clear()  # those that a kill has left
        return known.training
    if (origin := spec.origin) is not None and store.weights(origin.training_key) is None:
        with store.lock(origin.training_key):
            _trained(origin, material, store, watching)
    fresh = _train(spec, material, store, checkpoints, watching)
    training = known.training if known is not None else fresh
    store.put(spec, training, [])
    checkpoints.clear()  # not earlier: a kill just before would cost the whole run
    return training


def _checkpoints(spec: ExperimentSpec, store: Store) -> Checkpoints:
    every = max(1, CHECKPOINT_TOKENS // spec.training.tokens_per_step)
    return Checkpoints(store.scratch(spec.training_key), key=spec.training_key, every=every)


def _train(
    spec: ExperimentSpec, material: Material, store: Store, checkpoints: Checkpoints, watching: Watch | None
) -> Training:
    started = datetime.now(UTC)
    model = build_model(spec.model, seed=spec.seed)
    if (origin := spec.origin) is not None:
        load_weights(_weights(origin, store), model)
    shown = watching.training(spec) if watching is not None else None
    rate = 0.0

    def after_step(*, tokens_per_second: float, **state: Any) -> None:
        nonlocal rate
        rate = tokens_per_second
        if shown is not None:
            shown(tokens_per_second=tokens_per_second, **state)

    losses = train(
        model,
        material.batches(spec),
        spec.training,
        seed=spec.seed,
        checkpoints=checkpoints,
        progress=after_step,
    )
    where = provenance(started, spec.training.threads)
    if spec.training.steps:
        save_weights(store.weights_to_write(spec.training_key), model, {"training_key": spec.training_key})
    return Training(
        losses=tuple(losses),
        n_parameters=model.n_parameters(),
        tokens_per_second=round(rate, 1),
        peak_megabytes=peak_megabytes(),
        provenance=where,
    )


def trained_model(spec: ExperimentSpec, store: Store | None = None) -> Transformer:
    """The finished model of a run, in evaluation mode.

    Raises:
        FileNotFoundError: no store holds its weights; `ensure` trains them.
    """
    model = build_model(spec.model, seed=spec.seed)
    load_weights(_weights(spec, store or default_store()), model)
    return model.eval()


def _weights(spec: ExperimentSpec, store: Store) -> Path:
    if (path := store.weights(spec.weights_key)) is None:
        raise FileNotFoundError(f"no weights of run {spec.weights_key}; ensure([spec]) trains them")
    return path
