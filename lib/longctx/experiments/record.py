"""The record of a run: what was asked, what came out, and where and when it was made."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict

from longctx.evaluation import LengthResult, TaskResult
from longctx.experiments.spec import EvaluationSpec, ExperimentSpec, Protocol


class Provenance(BaseModel):
    """Where, when and with what something was computed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    started: datetime
    wall_seconds: float
    machine: str
    threads: int
    versions: dict[str, str]
    #: The commit of the source tree; ends in "+" if it had uncommitted changes to the library.
    commit: str | None


class Training(BaseModel):
    """What training gave."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    #: Loss of every step on its own batch, in nats a token.
    losses: tuple[float, ...]
    n_parameters: int
    tokens_per_second: float
    #: Largest resident memory of the process that trained.
    peak_megabytes: float
    provenance: Provenance


class Evaluation(BaseModel):
    """What one evaluation of the trained model gave, at one length by one protocol."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    excerpt: int
    documents: int
    problems: int = 256
    result: LengthResult | TaskResult

    @property
    def test(self) -> tuple[int, int, int]:
        """On how much it was tested."""
        return self.excerpt, self.documents, self.problems

    provenance: Provenance


class Record(BaseModel):
    """A run's spec, its training, and the evaluations its spec asks for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: ExperimentSpec
    training: Training
    evaluations: tuple[Evaluation, ...]

    @property
    def key(self) -> str:
        """The spec's key."""
        return self.spec.key

    def at(self, length: int, protocol: Protocol = "non_overlapping") -> LengthResult:
        """The result on text at one context length.

        Raises:
            KeyError: the spec does not ask for it; the message says what it asks for.
        """
        result = self._result(length, protocol)
        assert isinstance(result, LengthResult)
        return result

    def solved(self, length: int) -> TaskResult:
        """The result on problems of one length.

        Raises:
            KeyError: as `at`.
        """
        result = self._result(length, "problems")
        assert isinstance(result, TaskResult)
        return result

    def _result(self, length: int, protocol: Protocol) -> LengthResult | TaskResult:
        for evaluation in self.evaluations:
            if (evaluation.result.length, evaluation.result.protocol) == (length, protocol):
                return evaluation.result
        known = ", ".join(f"{e.result.length} {e.result.protocol}" for e in self.evaluations)
        raise KeyError(f"no evaluation at {length} {protocol}; this record holds {known}")


def wanted(spec: EvaluationSpec) -> list[tuple[int, Protocol]]:
    """The (length, protocol) pairs that a spec asks for."""
    return [(length, protocol) for protocol in spec.protocols for length in spec.lengths]


def provenance(started: datetime, threads: int) -> Provenance:
    """The provenance of something that began at ``started`` and ends now."""
    return Provenance(
        started=started,
        wall_seconds=round((datetime.now(UTC) - started).total_seconds(), 2),
        machine=machine(),
        threads=threads,
        versions=versions(),
        commit=_commit(),
    )


def machine() -> str:
    """This machine, in a line."""
    return f"{platform.system()} {platform.machine()}, {cpu_name()}, {os.cpu_count()} cores"


def versions() -> dict[str, str]:
    """The versions that a result may depend on."""
    packages = ("longctx", "torch", "numpy", "tokenizers")
    return {"python": platform.python_version()} | {p: importlib.metadata.version(p) for p in packages}


def peak_megabytes() -> float:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def cpu_name() -> str:
    """The processor, and the widest instructions that torch uses on it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown CPU"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    widest = torch.backends.cpu.get_cpu_capability()
    return f"{names[0] if names else 'unknown CPU'} ({widest})"


def _commit() -> str | None:
    folder = Path(__file__).parent
    try:
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--", ".."],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+" if changed else "")
