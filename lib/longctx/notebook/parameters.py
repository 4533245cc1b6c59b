"""The parameters that notebooks may have: one vocabulary, checked before anything runs."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import torch
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StrictInt,
    StrictStr,
    TypeAdapter,
    ValidationError,
)

from longctx.attention import build_attention
from longctx.experiments.declared import Profile
from longctx.model.config import FAMILIES
from longctx.positions import POSITIONS, build_position


class ParameterError(ValueError):
    """A notebook was given a parameter that it does not have, or a value that it cannot take."""


@dataclass(frozen=True)
class Parameter:
    """One word of the vocabulary."""

    name: str
    #: What pydantic checks.
    type: Any
    #: What is valid, in words: the end of every error message.
    meaning: str

    def check(self, value: Any) -> Any:
        """The value, if it is valid.

        Raises:
            ParameterError: what was given, and what is valid.
        """
        try:
            return TypeAdapter(self.type).validate_python(value)
        except ValidationError as error:
            problems = "; ".join(
                (f"entry {e['loc'][0]}: " if e["loc"] and isinstance(e["loc"][0], int) else "")
                + e["msg"].removeprefix("Value error, ")
                for e in error.errors()
            )
            raise ParameterError(
                f"parameter {self.name}: {problems} (given {value!r}); it takes {self.meaning}"
            ) from None

    @property
    def is_list(self) -> bool:
        """Whether it takes several values."""
        return str(self.type).startswith("typing.Annotated[list")

    def read(self, text: str) -> Any:
        """The value that a command line spells: ``128,256`` or ``[128, 256]`` for a list."""
        if text.strip().lower() in ("none", "null"):
            return None
        if self.is_list:
            inner = text.strip()
            inner = inner[1:-1] if inner.startswith("[") and inner.endswith("]") else inner
            return [_literal(part) for part in split_outside_brackets(inner)]
        return text if self.type is Text else _literal(text)


def split_outside_brackets(text: str) -> list[str]:
    """``"a(x=1, y=2), b"`` → ``["a(x=1, y=2)", "b"]``."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        return text.strip()


def _distinct(values: list[Any]) -> list[Any]:
    if twice := sorted({str(v) for v in values if values.count(v) > 1}):
        raise ValueError(f"{', '.join(twice)} given twice")
    return values


def _list_of(item: Any) -> Any:
    return Annotated[list[item], Field(min_length=1), AfterValidator(_distinct), BeforeValidator(_as_list)]


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | range) else value


def _spec(parse: Callable[[str], object]) -> Any:
    def known(text: str) -> str:
        parse(text)
        return text

    return Annotated[StrictStr, AfterValidator(known)]


def _number(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise ValueError("should be a number")
    return value


Count = Annotated[StrictInt, Field(ge=1)]
Seed = Annotated[StrictInt, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(_number)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(_number)]
Text = Annotated[StrictStr, Field(min_length=1)]
Encoding, Attention = _spec(POSITIONS.parse), _spec(build_attention)

_COUNT, _SEED = "a positive integer", "an integer, 0 or more"
_ENCODING = "a position encoding, such as rope, rope(base=500000) or alibi (longctx list positions)"
_PATTERN = "an attention pattern, such as full or sliding_window(window=64) (longctx list patterns)"

#: Every parameter that a notebook may have. A new chapter that needs another word adds it here.
PARAMETERS: dict[str, Parameter] = {
    name: Parameter(name, kind, meaning)
    for name, kind, meaning in [
        ("profile", Profile, "one of " + ", ".join(get_args(Profile))),
        ("seed", Seed, _SEED),
        ("seeds", _list_of(Seed), "distinct integers, 0 or more, such as 0,1,2"),
        ("length", Count, _COUNT + ": tokens of context"),
        ("lengths", _list_of(Count), "distinct positive integers, such as 128,256: tokens of context"),
        ("encoding", Encoding, _ENCODING),
        ("encodings", _list_of(Encoding), "a list of distinct entries, each " + _ENCODING),
        ("pattern", Attention, _PATTERN),
        ("patterns", _list_of(Attention), "a list of distinct entries, each " + _PATTERN),
        ("window", Count, _COUNT + ": keys that a query sees"),
        ("windows", _list_of(Count), "distinct positive integers: keys that a query sees"),
        ("block_size", Count, _COUNT + ": tokens in a block"),
        ("family", Literal[tuple(FAMILIES)], "one of " + ", ".join(FAMILIES)),
        *(
            (name, Count, _COUNT)
            for name in ("n_layers", "d_model", "n_heads", "n_kv_heads", "head_dim", "d_ff", "vocab_size")
        ),
        ("source", Text, "a text corpus: docs, sample or hub:NAME"),
        ("steps", Count, _COUNT + ": optimiser steps"),
        ("batch_size", Count, _COUNT + ": sequences in a forward pass"),
        ("learning_rate", Positive, "a positive number"),
        ("documents", Count, _COUNT + ": validation documents that are scored"),
        ("repeats", Count, _COUNT + ": measurements of each time"),
        ("peak", Positive, "a positive number: 10^12 operations a second that a machine can do"),
        ("bandwidth", Positive, "a positive number: 10^9 bytes a second between memory and processor"),
        ("prompt", Text, "a text, not empty"),
        ("n_tokens", Count, _COUNT + ": tokens to write"),
        ("temperature", NonNegative, "a number, 0 (greedy) or more"),
        ("top_k", Count, _COUNT + ": likeliest tokens to draw from"),
    ]
}


def validate(**parameters: Any) -> dict[str, Any]:
    """Check the parameters of a notebook; every chapter calls it right after its parameters cell.

    None stands for "as the profile says" and is valid for every parameter but the profile.

    Returns:
        The same values, tuples and ranges as lists.

    Raises:
        ParameterError: an unknown name, a value of the wrong type or range, or values that do not fit
            together; one line for each, with what was given and what is valid.
    """
    problems: list[str] = []
    values: dict[str, Any] = {}
    for name, value in parameters.items():
        if name not in PARAMETERS:
            problems.append(unknown(name, PARAMETERS))
        elif value is None and name != "profile":
            values[name] = None
        else:
            try:
                values[name] = PARAMETERS[name].check(value)
            except ParameterError as error:
                problems.append(str(error))
    if not problems:
        problems = [problem for rule in RULES for problem in rule(values)]
    if problems:
        raise ParameterError("\n".join(problems))
    return values


def unknown(name: str, known: Mapping[str, Any]) -> str:
    """The message for a parameter that is not among ``known``."""
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"unknown parameter {name!r}; {hint}valid are {', '.join(known) or 'none'}"


def _heads_divide(values: Mapping[str, Any]) -> list[str]:
    found = []
    for whole, part in (("d_model", "n_heads"), ("n_heads", "n_kv_heads")):
        a, b = values.get(whole), values.get(part)
        if a is not None and b is not None and a % b:
            found.append(f"parameter {whole}: {a} must be a multiple of {part}={b}")
    return found


def _encodings_reach(values: Mapping[str, Any]) -> list[str]:
    """Some encodings end somewhere: ask each for the last position of the longest length."""
    lengths = [*(values.get("lengths") or ()), *([values["length"]] if values.get("length") else ())]
    encodings = [*(values.get("encodings") or ()), *([values["encoding"]] if values.get("encoding") else ())]
    if not lengths:
        return []
    found = []
    for spec in encodings:
        try:
            build_position(spec, d_model=16, n_heads=2, head_dim=8).embed(torch.tensor([max(lengths) - 1]))
        except ValueError as error:
            found.append(f"parameter lengths: {max(lengths)} is too long for {spec}: {error}")
    return found


#: What must hold between parameters; each gives the problems it finds.
RULES: tuple[Callable[[Mapping[str, Any]], list[str]], ...] = (_heads_divide, _encodings_reach)
