"""Checking committed records: train them again, from nothing, and compare."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from longctx.experiments.progress import watch
from longctx.experiments.record import Evaluation, Provenance
from longctx.experiments.run import run
from longctx.experiments.spec import ExperimentSpec
from longctx.experiments.store import Store, StoredRun, spec_of

#: Largest difference of a loss, in nats a token, between a record and its retraining on another machine.
#: Sums in another order differ in their last bits, and training amplifies that; on the same machine the
#: bits are equal. One record made with AVX-512 and retrained without it
#: differed by less than 0.0001.
TOLERANCE = 0.02


@dataclass(frozen=True)
class Difference:
    """One number of a record, and what retraining gave for it."""

    what: str
    recorded: float
    retrained: float

    @property
    def size(self) -> float:
        """Absolute difference, in nats a token."""
        return abs(self.recorded - self.retrained)


@dataclass(frozen=True)
class Verdict:
    """What retraining one record gave."""

    run: StoredRun
    differences: tuple[Difference, ...]
    #: Versions and machine, as record and retraining name them, are equal.
    same_machine: bool
    #: Every loss of the training curve and every evaluation has the same bits.
    bit_identical: bool

    @property
    def largest(self) -> Difference:
        """The largest difference."""
        return max(self.differences, key=lambda difference: difference.size)

    @property
    def agrees(self) -> bool:
        """Whether every loss lies within `TOLERANCE`."""
        return self.largest.size <= TOLERANCE

    def as_json(self) -> dict[str, Any]:
        """For programs that read the verdict."""
        return {
            "training_key": self.run.training_key,
            "agrees": self.agrees,
            "tolerance": TOLERANCE,
            "same_machine": self.same_machine,
            "bit_identical": self.bit_identical,
            "differences": [
                {"what": d.what, "recorded": d.recorded, "retrained": d.retrained} for d in self.differences
            ],
        }


def verify(recorded: StoredRun, *, progress: bool = True) -> Verdict:
    """Train and evaluate a recorded run again, in a folder of its own that is deleted afterwards.

    Raises:
        ValueError: the text or tokenizer here are not those of the record.
    """
    with tempfile.TemporaryDirectory() as folder:
        scratch = Store(Path(folder) / "results", unfinished=Path(folder) / "runs")
        specs = evaluated_specs(recorded)
        with watch(specs, scratch, enabled=progress) as watching:
            for spec in specs:
                run(spec, scratch, watching)
        retrained = scratch.run(recorded.training_key)
    assert retrained is not None
    return compare(recorded, retrained)


def evaluated_specs(run: StoredRun) -> list[ExperimentSpec]:
    """The specs that ask for exactly what a run holds."""
    tests: dict[tuple[tuple[int, int, int], str], set[int]] = {}
    for e in run.evaluations:
        tests.setdefault((e.test, e.result.protocol), set()).add(e.result.length)
    return [
        spec_of(
            run,
            {
                "lengths": sorted(lengths),
                "protocols": [protocol],
                "excerpt": excerpt,
                "documents": documents,
                "problems": problems,
            },
        )
        for ((excerpt, documents, problems), protocol), lengths in tests.items()
    ]


def compare(recorded: StoredRun, retrained: StoredRun) -> Verdict:
    """Every loss by length of one run beside that of the other."""
    again = {_what(e): e for e in retrained.evaluations}
    differences = [
        Difference(_what(e), e.result.loss, again[_what(e)].result.loss) for e in recorded.evaluations
    ]
    if recorded.training.losses:
        tail = max(1, len(recorded.training.losses) // 10)
        curves = [np.asarray(r.training.losses) for r in (recorded, retrained)]
        ends = (float(curve[-tail:].mean()) for curve in curves)
        differences.append(Difference("training, last tenth", *ends))
    return Verdict(
        run=recorded,
        differences=tuple(differences),
        same_machine=_place(recorded.training.provenance) == _place(retrained.training.provenance),
        bit_identical=recorded.training.losses == retrained.training.losses
        and all(e.result == again[_what(e)].result for e in recorded.evaluations),
    )


def pick(runs: Sequence[StoredRun], n: int, *, seed: int) -> list[StoredRun]:
    """``n`` of the runs, drawn without replacement; all of them if there are fewer."""
    order = np.random.default_rng(seed).permutation(len(runs))
    return [runs[i] for i in sorted(order[:n])]


def _what(e: Evaluation) -> str:
    test = e.problems if e.result.protocol == "problems" else f"{e.documents} × {e.excerpt} tokens"
    return f"{e.result.length} {e.result.protocol}, {test}"


def _place(where: Provenance) -> tuple[Any, ...]:
    versions = {name: version for name, version in where.versions.items() if name != "longctx"}
    return where.machine, where.threads, versions
