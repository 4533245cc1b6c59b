"""What a run is trained and tested on: text, or the problems of a task."""

from __future__ import annotations

from functools import partial
from typing import Protocol, get_args, runtime_checkable

import numpy as np
from numpy import ndarray

from longctx.data import Corpus, batch, open_source
from longctx.data.tasks import Task
from longctx.evaluation import LengthResult, Reading, TaskResult, evaluate, evaluate_stream, evaluate_task
from longctx.experiments.spec import EvaluationSpec, ExperimentSpec
from longctx.model import Transformer
from longctx.training import Batches


@runtime_checkable
class Material(Protocol):
    """Batches to learn from, and a test."""

    def batches(self, spec: ExperimentSpec) -> Batches:
        """The inputs and targets of every forward pass of a run."""

    def evaluate(self, model: Transformer, *, length: int, protocol: str) -> LengthResult | TaskResult:
        """How well a model does at one length, by one protocol."""


class Text:
    """Windows of the training text, tested on excerpts of the validation text.

    Raises:
        ValueError: too few validation documents are long enough.
    """

    def __init__(self, corpus: Corpus, spec: EvaluationSpec) -> None:
        self.corpus = corpus
        self.excerpts = validation_excerpts(corpus, spec)

    def batches(self, spec: ExperimentSpec) -> Batches:
        """Windows drawn by the seed."""
        draw = partial(
            batch,
            self.corpus.train.tokens,
            length=spec.training.length,
            batch_size=spec.training.batch_size,
            seed=spec.seed,
        )
        return lambda step: draw(step=step)

    def evaluate(self, model: Transformer, *, length: int, protocol: str) -> LengthResult:
        """Perplexity on the excerpts."""
        if protocol in get_args(Reading):
            return evaluate_stream(model, self.excerpts, length=length, reading=protocol)  # type: ignore[arg-type]
        return evaluate(model, self.excerpts, length=length, protocol=protocol)  # type: ignore[arg-type]


class Problems:
    """Problems of a task: of every size that fits to learn from, of the largest to be tested on."""

    def __init__(self, task: Task, spec: EvaluationSpec) -> None:
        self.task, self.problems = task, spec.problems

    def batches(self, spec: ExperimentSpec) -> Batches:
        """Problems drawn by the seed."""
        draw = partial(self.task.batch, length=spec.training.length, batch_size=spec.training.batch_size)
        return lambda step: draw(names=(spec.seed, step))[:2]

    def evaluate(self, model: Transformer, *, length: int, protocol: str) -> TaskResult:
        """Accuracy on problems that are the same for every model."""
        return evaluate_task(model, self.task, length=length, problems=self.problems)


def open_material(spec: ExperimentSpec) -> Material:
    """What ``spec`` is trained and tested on.

    Raises:
        ValueError: the text here is not that of the spec, or too little of it is long enough for its test.
        CorpusError: the text cannot be had.
    """
    if (task := spec.data.task) is not None:
        return Problems(task, spec.evaluation)
    corpus = open_source(spec.data.source)
    if corpus.digest != spec.data.corpus:
        raise ValueError(
            f"data.corpus: the spec wants {spec.data.source} with digest {spec.data.corpus}, "
            f"but here it has {corpus.digest}"
        )
    return Text(corpus, spec.evaluation)


def validation_excerpts(corpus: Corpus, spec: EvaluationSpec) -> list[ndarray]:
    """The first ``excerpt`` + 1 tokens of the first validation documents that are long enough.

    Raises:
        ValueError: fewer documents than asked for are long enough.
    """
    size = spec.excerpt + 1
    long = [d for d in corpus.validation.documents if d.stop - d.start >= size]
    if len(long) < spec.documents:
        raise ValueError(
            f"evaluation.documents={spec.documents}, but only {len(long)} validation documents of this "
            f"corpus have {size} tokens; lower documents or excerpt"
        )
    tokens = corpus.validation.tokens
    return [np.asarray(tokens[d.start : d.start + size]) for d in long[: spec.documents]]
