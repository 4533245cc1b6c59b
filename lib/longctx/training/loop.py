"""The training loop: a pure function of model, batches and spec, that may be killed at any instant."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from longctx.model import Transformer
from longctx.objectives import causal_loss
from longctx.positions.sampling import build_sampling
from longctx.training.checkpoints import Checkpoints, restore, snapshot
from longctx.training.environment import deterministic, keep_freed_memory
from longctx.training.optimiser import TrainingSpec, build_optimiser, learning_rate

#: (step) -> inputs and targets of that forward pass; a pure function, so that a resumed run sees the same.
Batches = Callable[[int], tuple[Int[Tensor, "batch length"], Int[Tensor, "batch length"]]]


@runtime_checkable
class Progress(Protocol):
    """What watches a run: called after every step."""

    def __call__(self, *, step: int, steps: int, loss: float, tokens_per_second: float) -> None: ...


def train(
    model: Transformer,
    batches: Batches,
    spec: TrainingSpec,
    *,
    seed: int = 0,
    checkpoints: Checkpoints | None = None,
    progress: Progress | None = None,
) -> list[float]:
    """Train ``model`` in place; the loss of every step, in nats a token.

    The seed is that of the positions, if the spec samples them.

    With checkpoints, an interrupted run goes on from the last sound one and ends with the same bits as one
    that was never interrupted.

    Raises:
        FloatingPointError: the loss is not finite; the message names the step.
    """
    stepper = Stepper(model, spec, seed)
    losses = restore(model, stepper.optimiser, checkpoints) if checkpoints is not None else []
    with deterministic(spec.threads):
        began, start = time.perf_counter(), len(losses)
        for step in range(start, spec.steps):
            losses.append(stepper.step(batches, step))
            if checkpoints is not None and checkpoints.due(step + 1) and step + 1 < spec.steps:
                checkpoints.save(step + 1, snapshot(model, stepper.optimiser), losses)
            if progress is not None:
                done = (step + 1 - start) * spec.tokens_per_step
                rate = done / (time.perf_counter() - began)
                progress(step=step + 1, steps=spec.steps, loss=losses[-1], tokens_per_second=rate)
    return losses


class Stepper:
    """One optimiser step after another; what `train` repeats, and what benchmarks time."""

    def __init__(self, model: Transformer, spec: TrainingSpec, seed: int = 0) -> None:
        keep_freed_memory()
        model.train()
        self.model, self.spec, self.seed = model, spec, seed
        self._sampling = None if spec.positions is None else build_sampling(spec.positions)
        self.optimiser = build_optimiser(model, spec)
        self._loss = torch.compile(causal_loss) if spec.compile else causal_loss
        self._device = model.embedding.weight.device.type

    def step(self, batches: Batches, step: int = 0) -> float:
        """Take optimiser step number ``step``; its loss in nats a token.

        Raises:
            FloatingPointError: the loss is not finite; the weights are left as they were.
        """
        spec, total = self.spec, 0.0
        for part in range(spec.accumulate):
            inputs, targets = batches(step * spec.accumulate + part)
            with torch.autocast(self._device, torch.bfloat16, enabled=spec.precision == "bfloat16"):
                where = self._positions(step * spec.accumulate + part, inputs.device)
                loss = self._loss(self.model, inputs, targets, where) / spec.accumulate
            loss.backward()
            total += loss.item()
        if not math.isfinite(total):
            raise FloatingPointError(f"the loss is {total} at step {step}")
        if spec.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), spec.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(spec, step)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return total

    def _positions(self, part: int, device: torch.device) -> Int[Tensor, " length"] | None:
        if self._sampling is None:
            return None
        return self._sampling.positions(self.spec.length, seed=self.seed, step=part).to(device)
