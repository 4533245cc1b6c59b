"""Names to strategies: one registry class serves position encodings and attention patterns.

A strategy is asked for by name (``"alibi"``), by a call-like string (``"rope(base=500000)"``), by a mapping
(``{"name": "rope", "base": 5e5}``) or by its config. All four lead to the same validated config.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

T = TypeVar("T")


class StrategyConfig(BaseModel):
    """The parameters of a strategy: frozen, and closed to unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str


@dataclass(frozen=True)
class Entry(Generic[T]):
    """What the registry knows of one strategy."""

    name: str
    config: type[StrategyConfig]
    target: T
    source: str

    @property
    def summary(self) -> str:
        """The first sentence of the strategy's docstring."""
        return (self.target.__doc__ or "").strip().partition("\n\n")[0].replace("\n    ", " ")


class Registry(Generic[T]):
    """A catalogue of strategies, open to other packages through an entry-point group.

    Args:
        kind: what is catalogued, in words, for error messages: ``"position encoding"``.
        group: entry-point group; each entry point is a module or callable whose import registers.
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind, self.group = kind, group
        self._entries: dict[str, Entry[T]] = {}
        self._discovered = False

    def register(self, config: type[StrategyConfig], *, source: str) -> Callable[[T], T]:
        """Class decorator: enter a strategy under the default of its config's ``name`` field."""
        name = config.model_fields["name"].default
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"{config.__name__}.name must default to an identifier, got {name!r}")

        def enter(target: T) -> T:
            known = self._entries.get(name)
            if known is not None and known.target.__module__ != target.__module__:
                raise ValueError(f"{self.kind} {name!r} is already registered by {known.target.__module__}")
            self._entries[name] = Entry(name, config, target, source)
            return target

        return enter

    def __iter__(self) -> Iterator[Entry[T]]:
        self._discover()
        return iter(sorted(self._entries.values(), key=lambda entry: entry.name))

    def __getitem__(self, name: str) -> Entry[T]:
        self._discover()
        if name not in self._entries:
            raise ValueError(f"unknown {self.kind} {name!r}; known: {', '.join(sorted(self._entries))}")
        return self._entries[name]

    def parse(self, spec: str | Mapping[str, Any] | StrategyConfig) -> StrategyConfig:
        """The validated config that ``spec`` stands for.

        Raises:
            ValueError: unknown name, unknown or ill-typed parameter; the message lists what is valid.
        """
        if isinstance(spec, StrategyConfig):
            return spec
        fields = parse_call(spec) if isinstance(spec, str) else dict(spec)
        if "name" not in fields:
            raise ValueError(f"a {self.kind} needs a 'name'; got {dict(fields)!r}")
        config = self[fields["name"]].config
        try:
            return config.model_validate(fields)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, e['loc'])) or 'parameters'}: {e['msg']} (given {e['input']!r})"
                for e in error.errors()
            )
            valid = ", ".join(name for name in config.model_fields if name != "name") or "none"
            raise ValueError(
                f"{self.kind} {fields['name']!r}: {problems}. Its parameters: {valid}"
            ) from error

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True
        for point in entry_points(group=self.group):
            point.load()


def parse_call(text: str) -> dict[str, Any]:
    """``"rope(base=500000)"`` → ``{"name": "rope", "base": 500000}``; literals only, nothing is evaluated."""
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return {"name": node.id}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
            arguments = {str(k.arg): ast.literal_eval(k.value) for k in node.keywords if k.arg is not None}
            if len(arguments) == len(node.keywords):
                return {"name": node.func.id, **arguments}
    except (SyntaxError, ValueError):
        pass
    raise ValueError(f"{text!r} is not of the form 'name' or 'name(parameter=value, …)'")


def format_call(config: StrategyConfig) -> str:
    """The shortest string that parses back to ``config``: parameters at their default are left out."""
    given = {
        k: v for k, v in config.model_dump().items() if k != "name" and v != type(config).model_fields[k].default
    }
    return config.name + (f"({', '.join(f'{k}={v!r}' for k, v in given.items())})" if given else "")
