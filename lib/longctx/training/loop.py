"""The training loop: a pure function of model, batches and spec, that may be killed at any instant."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import torch
from jaxtyping import Int
from torch import Tensor

from longctx.model import Transformer
from longctx.objectives import causal_loss
from longctx.training.checkpoints import Checkpoints, restore, snapshot
from longctx.training.environment import deterministic, keep_freed_memory
from longctx.training.optimiser import TrainingSpec, build_optimiser, learning_rate

#: (step) -> inputs and targets of that forward pass; a pure function, so that a resumed run sees the same.
Batches = Callable[[int], tuple[Int[Tensor, "batch length"], Int[Tensor, "batch length"]]]


class Progress(Protocol):
    """What watches a run: called after every step."""

    def __call__(self, *, step: int, steps: int, loss: float, tokens_per_second: float) -> None: ...


def train(
    model: Transformer,
    batches: Batches,
    spec: TrainingSpec,
    *,
    checkpoints: Checkpoints | None = None,
    progress: Progress | None = None,
) -> list[float]:
    """Train ``model`` in place; the loss of every step, in nats a token.

    With checkpoints, an interrupted run goes on from the last sound one and ends with the same bits as one
    that was never interrupted.

    Raises:
        FloatingPointError: the loss is not finite; the message names the step.
    """
    keep_freed_memory()
    device = model.embedding.weight.device.type
    optimiser = build_optimiser(model, spec)
    losses = restore(model, optimiser, checkpoints) if checkpoints is not None else []
    loss_of = torch.compile(causal_loss) if spec.compile else causal_loss
    with deterministic(spec.threads):
        model.train()
        began, start = time.perf_counter(), len(losses)
        for step in range(start, spec.steps):
            total = 0.0
            for part in range(spec.accumulate):
                inputs, targets = batches(step * spec.accumulate + part)
                with torch.autocast(device, torch.bfloat16, enabled=spec.precision == "bfloat16"):
                    loss = loss_of(model, inputs, targets) / spec.accumulate
                loss.backward()
                total += loss.item()
            if total != total or total == float("inf"):
                raise FloatingPointError(f"the loss is {total} at step {step}; nothing was saved from it")
            if spec.clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), spec.clip)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(spec, step)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            losses.append(total)
            if checkpoints is not None and checkpoints.due(len(losses)) and len(losses) < spec.steps:
                checkpoints.save(len(losses), snapshot(model, optimiser), losses)
            if progress is not None:
                done = (step + 1 - start) * spec.length * spec.batch_size * spec.accumulate
                rate = done / (time.perf_counter() - began)
                progress(step=step + 1, steps=spec.steps, loss=total, tokens_per_second=rate)
    return losses
