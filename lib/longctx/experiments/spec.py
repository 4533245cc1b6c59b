"""A run is a value: frozen specs, their canonical JSON, and the hashes that name records and checkpoints."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from longctx.data import Tokenizer, corpus_digest
from longctx.data.tasks import VERSION, Task, build_task
from longctx.model import ModelConfig
from longctx.model.config import derived_fields
from longctx.model.layers import build_encoding
from longctx.positions import POSITIONS
from longctx.training import TrainingSpec

#: How a model is tested: on text through windows side by side or overlapping, on text as a stream read in one
#: of four ways, or on problems of a task.
Protocol = Literal["non_overlapping", "sliding", "window", "recomputed", "sinks", "sinks_in_text", "problems"]
#: Begins the source that is a task.
TASK = "task:"

#: Raised when the meaning of a field changes, so that old records are reported and not silently used.
SCHEMA = 1


class DataSpec(BaseModel):
    """Which text, as which tokens; or which task. Hashes are filled in, and are part of the run's name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: "docs", "sample" or "hub:NAME", as `longctx.data.open_source` reads it; or "task:" and a task, as
    #: `longctx.data.tasks.build_task` does.
    source: str = "docs"
    #: Digest of the tokenised corpus; the version of the tasks.
    corpus: str = Field(default_factory=lambda fields: _corpus(fields["source"]))
    #: SHA-256 of the tokenizer's JSON; none for a task, whose problems are tokens.
    tokenizer: str = Field(default_factory=lambda fields: _tokenizer(fields["source"]))

    @field_validator("source")
    @classmethod
    def _source(cls, value: str) -> str:
        return f"{TASK}{build_task(value.removeprefix(TASK))}" if value.startswith(TASK) else value

    @property
    def task(self) -> Task | None:
        """The task, if the source is one."""
        return build_task(self.source.removeprefix(TASK)) if self.source.startswith(TASK) else None


def _corpus(source: str) -> str:
    return f"tasks {VERSION}" if source.startswith(TASK) else corpus_digest(source)


def _tokenizer(source: str) -> str:
    return "none" if source.startswith(TASK) else Tokenizer.default().sha256


def _increasing(lengths: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(set(lengths)))


class EvaluationSpec(BaseModel):
    """Which context lengths are measured, how, and on which text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lengths: Annotated[tuple[PositiveInt, ...], Field(min_length=1), AfterValidator(_increasing)]
    protocols: tuple[Protocol, ...] = ("non_overlapping", "sliding")
    #: Target tokens taken from each document: the longest context that can be measured.
    excerpt: PositiveInt = 4096
    #: Validation documents that give an excerpt.
    documents: PositiveInt = 8
    #: Problems set at each length, if the source is a task.
    problems: PositiveInt = 256

    @model_validator(mode="after")
    def _lengths_fit(self) -> EvaluationSpec:
        if self.lengths[-1] > self.excerpt:
            raise ValueError(
                f"lengths must be at most excerpt={self.excerpt}, so that every length scores the same "
                f"target tokens; got {self.lengths[-1]}"
            )
        return self


class Start(BaseModel):
    """Trained weights to begin with: those of the run that is as this one but for what is said here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: The position encoding with which they were trained.
    position: str
    training: TrainingSpec

    @field_validator("position", mode="before")
    @classmethod
    def _position(cls, value: Any) -> str:
        return str(POSITIONS.parse(value))


class ExperimentSpec(BaseModel):
    """Everything a result depends on, and nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelConfig
    data: DataSpec = Field(default_factory=DataSpec)
    objective: Literal["causal"] = "causal"
    #: None begins with random weights.
    start: Start | None = None
    #: With a start, zero steps evaluate its weights as they are.
    training: TrainingSpec
    evaluation: EvaluationSpec
    #: Of the initial weights and of the data order.
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _begins_somewhere(self) -> ExperimentSpec:
        if self.start is None and not self.training.steps:
            raise ValueError(
                "training.steps: must be at least 1, or start must say whose weights to evaluate"
            )
        if self.start is not None and not self.start.training.steps:
            raise ValueError("start.training.steps: must be at least 1")
        if (origin := self.origin) is not None and _shapes(origin.model) != _shapes(self.model):
            raise ValueError(
                f"start.position: {origin.model.position} and {self.model.position} have other parameters, "
                "so that the weights of one are no weights of the other"
            )
        return self

    @model_validator(mode="after")
    def _is_tested_on_what_it_learns(self) -> ExperimentSpec:
        task, protocols = self.data.task, self.evaluation.protocols
        if (task is not None) != (protocols == ("problems",)) or (task is None and "problems" in protocols):
            of_text = ", ".join(p for p in get_args(Protocol) if p != "problems")
            valid = "[problems]" if task is not None else f"of {of_text}"
            raise ValueError(
                f"evaluation.protocols: must be {valid} for data.source={self.data.source}; got {protocols}"
            )
        if task is not None and self.model.vocab_size < task.vocab_size:
            raise ValueError(
                f"model.vocab_size: {task} has {task.vocab_size} tokens, given {self.model.vocab_size}"
            )
        lengths = self.training.length, *self.evaluation.lengths
        if task is not None and task.largest(min(lengths)) < 1:
            raise ValueError(f"no problem of {task} fits {min(lengths)} tokens; raise the smallest length")
        return self

    @property
    def origin(self) -> ExperimentSpec | None:
        """The run whose weights this one begins with."""
        if self.start is None:
            return None
        model = ModelConfig.model_validate({**self.model.model_dump(), "position": self.start.position})
        return self.model_copy(update={"model": model, "start": None, "training": self.start.training})

    @property
    def training_key(self) -> str:
        """Names the trained weights: the hash of all but the evaluation."""
        return digest({"schema": SCHEMA, **canonical(self, without="evaluation")})

    @property
    def weights_key(self) -> str:
        """Names the weights that are evaluated: those of the start if nothing is trained."""
        origin = self.origin
        return self.training_key if origin is None or self.training.steps else origin.training_key

    @property
    def key(self) -> str:
        """Names the result: the hash of the whole spec."""
        return digest({"schema": SCHEMA, **canonical(self)})

    def with_(self, **changes: Any) -> ExperimentSpec:
        """A copy with fields replaced by dotted name (dots written ``__``), validated anew.

        ``spec.with_(seed=1, training__steps=50)``
        """
        return replace(self, {name.replace("__", "."): value for name, value in changes.items()})


def _shapes(config: ModelConfig) -> list[tuple[str, tuple[int, ...]]]:
    """Of the parameters of the position encoding."""
    return [(name, tuple(p.shape)) for name, p in build_encoding(config).named_parameters()]


def canonical(spec: BaseModel, *, without: str | None = None) -> dict[str, Any]:
    """What a spec says beyond the defaults, so that a field added later does not rename old runs.

    Values that are computed (a digest, a default factory) are always part of it. A default therefore never
    changes its meaning; if it must, SCHEMA is raised.
    """
    derived = derived_fields(spec.model_dump(include={"family", "n_heads", "d_model", "activation"}))
    fields: dict[str, Any] = {}
    for name, field in type(spec).model_fields.items():
        value = getattr(spec, name)
        if name == without or (isinstance(spec, ModelConfig) and name in derived and value == derived[name]):
            continue
        if isinstance(value, BaseModel):
            fields[name] = canonical(value)
        elif field.is_required() or field.default_factory is not None or value != field.default:
            fields[name] = value
    return fields


def digest(value: Any) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def replace(spec: ExperimentSpec, changes: Mapping[str, Any]) -> ExperimentSpec:
    """A copy of ``spec`` with dotted fields (``"training.steps"``) replaced, validated anew.

    Raises:
        ValueError: no such field, or a value that is not valid; the message names the field.
    """
    fields = canonical(spec)
    for path, value in changes.items():
        set_field(fields, path, value)
    return parse_spec(fields)


def set_field(fields: dict[str, Any], path: str, value: Any) -> None:
    """Set the dotted ``path`` in nested mappings."""
    *parents, name = path.split(".")
    for parent in parents:
        fields = fields.setdefault(parent, {})
        if not isinstance(fields, dict):
            raise ValueError(f"{path}: {parent} has no fields")
    fields[name] = value


def parse_spec(fields: Mapping[str, Any]) -> ExperimentSpec:
    """The spec that nested mappings describe.

    Raises:
        ValueError: one line for each wrong field, with what was given and what is valid.
    """
    try:
        return ExperimentSpec.model_validate(fields)
    except ValidationError as error:
        lines = [
            (f"{'.'.join(map(str, e['loc']))}: " if e["loc"] else "")
            + _problem(e["type"], e["msg"], e["loc"], e["input"])
            for e in error.errors()
        ]
        raise ValueError("not a valid experiment:\n  " + "\n  ".join(lines)) from error


def _problem(kind: str, message: str, place: tuple[int | str, ...], given: Any) -> str:
    if kind == "extra_forbidden":
        owner: Any = ExperimentSpec
        for name in place[:-1]:
            annotation = owner.model_fields[name].annotation
            owner = next(t for t in (*get_args(annotation), annotation) if hasattr(t, "model_fields"))
        return f"no such field; there are {', '.join(owner.model_fields)}"
    named = kind == "missing" or not place  # what concerns the whole spec names its fields itself
    return message.removeprefix("Value error, ") + ("" if named else f" (given {given!r})")
