"""Checkpoints that survive being killed: written whole or not at all, refused if damaged."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

log = logging.getLogger(__name__)


class DamagedCheckpointError(ValueError):
    """A checkpoint's bytes are not those that were written."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` so that ``path`` holds all of it or what it held before, even after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Checkpoints:
    """The checkpoints of one run: a folder of ``step-N.safetensors``, each with a manifest beside it.

    A checkpoint counts once its manifest, written last, holds the SHA-256 of its bytes, its run and its
    step. The last two are kept, so that one damaged file costs a few steps and not the run.

    Args:
        folder: where they lie; created when the first is written.
        key: names the run; checkpoints of another run are refused.
        every: optimiser steps between two checkpoints.
    """

    def __init__(self, folder: Path, *, key: str, every: int) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1 step, got {every}")
        self.folder, self.key, self.every = Path(folder), key, every

    def due(self, step: int) -> bool:
        """Whether a checkpoint is wanted after ``step`` steps."""
        return step % self.every == 0

    def save(self, step: int, tensors: Mapping[str, Tensor], losses: list[float]) -> None:
        """Write the state after ``step`` steps, then drop all but the last two."""
        content = save({**tensors, "losses": torch.tensor(losses, dtype=torch.float64)})
        manifest = {"sha256": self._digest(step, content)}
        write_atomically(self._file(step), content)
        write_atomically(self._file(step).with_suffix(".json"), json.dumps(manifest).encode())
        self._drop_all_but(self.steps()[-2:])

    def steps(self) -> list[int]:
        """The steps whose checkpoints have a manifest, oldest first."""
        return sorted(int(path.stem.removeprefix("step-")) for path in self.folder.glob("step-*.json"))

    def latest(self) -> tuple[dict[str, Tensor], list[float]] | None:
        """The newest sound checkpoint: tensors and losses so far. Damaged ones are logged and passed over."""
        for step in reversed(self.steps()):
            try:
                return self._load(step)
            except DamagedCheckpointError as error:
                log.warning("%s; trying the one before", error)
        return None

    def clear(self) -> None:
        """Delete the run's checkpoints, once its result is kept elsewhere."""
        self._drop_all_but([])
        if self.folder.exists() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _drop_all_but(self, steps: list[int]) -> None:
        """Delete the files of other steps, and those that a kill has left half written."""
        kept = {self._file(step).stem for step in steps}
        # A manifest goes before what it vouches for.
        for path in sorted(self.folder.glob("*step-*"), key=lambda path: path.suffix != ".json"):
            if path.stem not in kept:
                path.unlink(missing_ok=True)

    def _load(self, step: int) -> tuple[dict[str, Tensor], list[float]]:
        path = self._file(step)
        try:
            expected = json.loads(path.with_suffix(".json").read_bytes())["sha256"]
            content = path.read_bytes()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedCheckpointError(f"{path} or its manifest cannot be read: {error!r}") from error
        if self._digest(step, content) != expected:
            raise DamagedCheckpointError(
                f"{path} is damaged or of another run: its SHA-256 is not the one in its manifest"
            )
        tensors = load(content)
        return tensors, tensors.pop("losses").tolist()

    def _digest(self, step: int, content: bytes) -> str:
        return _digest(f"{self.key} {step} ".encode() + content)

    def _file(self, step: int) -> Path:
        return self.folder / f"step-{step:07d}.safetensors"


def _state(model: nn.Module) -> dict[str, Tensor]:
    """Parameters, a tied one once, and what else a model has learned: buffers of its state dict."""
    kept = model.state_dict().keys()
    return {**dict(model.named_parameters()), **{n: b for n, b in model.named_buffers() if n in kept}}


def snapshot(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Everything a run needs to go on: the model's state, and the optimiser's moments by parameter name."""
    tensors = {f"model.{name}": value.detach() for name, value in _state(model).items()}
    for name, parameter in model.named_parameters():
        for moment, value in optimiser.state[parameter].items():
            tensors[f"optimiser.{moment}.{name}"] = value
    return tensors


def restore(model: nn.Module, optimiser: torch.optim.Optimizer, checkpoints: Checkpoints) -> list[float]:
    """Load the newest sound checkpoint into model and optimiser; the losses so far (none: an empty list)."""
    if (found := checkpoints.latest()) is None:
        return []
    tensors, losses = found
    with torch.no_grad():
        for name, value in _state(model).items():
            value.copy_(tensors[f"model.{name}"])
        for name, parameter in model.named_parameters():
            for key in [k for k in tensors if k.startswith("optimiser.") and k.split(".", 2)[2] == name]:
                optimiser.state[parameter][key.split(".", 2)[1]] = tensors[key]
    return losses


def save_weights(path: Path, model: nn.Module, metadata: Mapping[str, str]) -> None:
    """Write a model's state in float16, the form in which finished runs are kept and evaluated.

    Raises:
        OverflowError: a weight does not fit float16.
    """
    tensors = {name: value.detach().to(torch.float16).cpu() for name, value in _state(model).items()}
    if broken := [name for name, t in tensors.items() if not t.isfinite().all()]:
        raise OverflowError(f"not finite in float16: {', '.join(broken)}")
    content = save(tensors)
    write_atomically(path, save(tensors, metadata={**metadata, "sha256": _digest(content)}))


def load_weights(path: Path, model: nn.Module) -> nn.Module:
    """Load what `save_weights` wrote, widened to the model's dtype.

    Raises:
        DamagedCheckpointError: the bytes changed since they were written, or belong to another model.
    """
    content = Path(path).read_bytes()
    try:
        tensors = load(content)
        size = int.from_bytes(content[:8], "little")
        metadata: dict[str, Any] = json.loads(content[8 : 8 + size]).get("__metadata__", {})
    except Exception as error:
        raise DamagedCheckpointError(f"{path} cannot be read: {error}") from error
    if _digest(save(tensors)) != metadata.get("sha256"):
        raise DamagedCheckpointError(f"{path} is damaged: its SHA-256 is not the one it was written with")
    state = _state(model)
    if set(state) != set(tensors) or any(state[n].shape != t.shape for n, t in tensors.items()):
        raise DamagedCheckpointError(f"{path} does not hold the parameters of this model")
    with torch.no_grad():
        for name, value in state.items():
            value.copy_(tensors[name])
    return model


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
