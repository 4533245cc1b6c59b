"""How many problems of a task a model solves, by length and by distance."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from longctx.data.tasks import IGNORED, Task
from longctx.evaluation.perplexity import BATCH_TOKENS, position_edges
from longctx.model import Transformer
from longctx.objectives import judged

#: Names the stream of the problems with which models are tested; training names a seed and a step.
TEST = (20_177, 0, 2)


class TaskResult(BaseModel):
    """How well a model solves the largest problems that fit one length."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    length: int
    protocol: Literal["problems"] = "problems"
    #: Mean −log p of the answers' tokens, in nats.
    loss: float
    #: Tokens asked for.
    targets: int
    #: Share of them that are right, each given the true ones before it.
    accuracy: float
    #: Share of problems without a mistake.
    solved: float
    #: Share that is right by the distance to the evidence: bin k holds distances below `edges[k]` and not
    #: below `edges[k-1]`.
    edges: tuple[int, ...]
    accuracy_by_distance: tuple[float, ...]


def evaluate_task(model: Transformer, task: Task, *, length: int, problems: int) -> TaskResult:
    """Set the largest problems of ``task`` that fit ``length`` tokens, the same ones to every model.

    Raises:
        ValueError: no problem fits.
    """
    edges = position_edges(length + 1)
    right, count = np.zeros(len(edges)), np.zeros(len(edges), dtype=np.int64)
    loss, solved = 0.0, 0
    was_training = model.training
    model.eval()
    rows = max(1, BATCH_TOKENS // length)
    for start in range(0, problems, rows):
        size = min(rows, problems - start)
        batch = task.batch(length=length, batch_size=size, names=(*TEST, start), hardest=True)
        losses, correct = judged(model, batch.inputs, batch.targets)
        asked = batch.targets != IGNORED
        loss += losses.double().sum().item()
        solved += int((correct | ~asked).all(1).sum())
        bins = np.searchsorted(edges, batch.distances[asked].numpy(), side="right")
        np.add.at(right, bins, correct[asked].numpy())
        np.add.at(count, bins, 1)
    model.train(was_training)
    kept = count > 0
    return TaskResult(
        length=length,
        loss=loss / int(count.sum()),
        targets=int(count.sum()),
        accuracy=float(right.sum() / count.sum()),
        solved=solved / problems,
        edges=tuple(np.asarray(edges)[kept].tolist()),
        accuracy_by_distance=tuple((right[kept] / count[kept]).tolist()),
    )
