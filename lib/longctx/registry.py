"""Names to strategies: one registry class serves position encodings and attention patterns.

A strategy is asked for by name (``"alibi"``), by a call-like string (``"rope(base=500000)"``), by a mapping
(``{"name": "rope", "base": 5e5}``) or by its config. All four lead to the same validated config.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from inspect import signature
from itertools import product
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

T = TypeVar("T")


class StrategyConfig(BaseModel):
    """The parameters of a strategy: frozen, and closed to unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str

    def __str__(self) -> str:
        return format_call(self)


C = TypeVar("C", bound=StrategyConfig)


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
        fields = fields_of(spec)
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

    def construct(self, spec: str | Mapping[str, Any] | StrategyConfig, **sizes: int) -> Any:
        """Build a strategy from its config, and from those of ``sizes`` that its constructor names.

        Raises:
            ValueError: as `parse` does.
        """
        config = self.parse(spec)
        target: Any = self[config.name].target
        wanted = signature(target).parameters
        return target(config, **{name: size for name, size in sizes.items() if name in wanted})

    def examples(self, name: str) -> list[StrategyConfig]:
        """Every valid choice from the ``examples`` that the fields of a strategy declare.

        Tests try each of them, so that a strategy is covered as soon as it is registered. A field without a
        default must declare some.
        """
        config = self[name].config
        choices = {}
        for field, info in config.model_fields.items():
            if info.examples:
                choices[field] = info.examples
            elif info.is_required():
                raise ValueError(f"{self.kind} {name!r}: field {field!r} needs examples=[…] or a default")
        found = []
        for values in product(*choices.values()):
            try:
                found.append(config.model_validate(dict(zip(choices, values, strict=True))))
            except ValidationError:
                continue
        return found

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True
        for point in entry_points(group=self.group):
            point.load()


class ConfigRegistry(Registry[type[C]], Generic[C]):
    """A catalogue of strategies that are their own configs.

    Args:
        base: what they have in common.
        kind, group: as for `Registry`.
    """

    def __init__(self, base: type[C], kind: str, group: str) -> None:
        super().__init__(kind, group)
        self.base = base

    def register_config(self, *, source: str) -> Callable[[type[C]], type[C]]:
        """Class decorator: enter a strategy under the default of its ``name`` field."""

        def enter(target: type[C]) -> type[C]:
            return self.register(target, source=source)(target)

        return enter

    def build(self, spec: str | Mapping[str, Any] | C) -> C:
        """Build a strategy from ``"name(parameter=value)"``, a mapping with its name, or itself.

        Raises:
            ValueError: unknown name or parameter, or a strategy of another kind; the message lists the valid.
        """
        built = self.parse(spec)
        if not isinstance(built, self.base):
            raise ValueError(f"{built} is no {self.kind}; known: {', '.join(entry.name for entry in self)}")
        return built


def fields_of(spec: str | Mapping[str, Any]) -> dict[str, Any]:
    """A spec that is no config yet, as a mapping."""
    return parse_call(spec) if isinstance(spec, str) else dict(spec)


#: What ``a & b`` and ``a | b`` stand for.
OPERATORS: dict[type[ast.operator], str] = {ast.BitAnd: "both", ast.BitOr: "either"}


def parse_call(text: str) -> dict[str, Any]:
    """``"rope(base=500000)"`` → ``{"name": "rope", "base": 500000}``; literals only, nothing is evaluated.

    ``a | b`` and ``a & b`` give ``{"name": "either" | "both", "left": …, "right": …}``, and a parameter may
    itself be a call.
    """
    try:
        return _fields(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError):
        raise ValueError(
            f"{text!r} is not of the form 'name', 'name(parameter=value, …)' or two of these joined by & or |"
        ) from None


def _fields(node: ast.expr) -> dict[str, Any]:
    match node:
        case ast.Name(id=name):
            return {"name": name}
        case ast.Call(func=ast.Name(id=name), args=[], keywords=keywords):
            return {"name": name, **{_keyword(k.arg): _argument(k.value) for k in keywords}}
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return {"name": OPERATORS[type(op)], "left": _fields(left), "right": _fields(right)}
    raise ValueError("not a call")


def _keyword(name: str | None) -> str:
    if name is None or name == "name":
        raise ValueError("not a parameter")
    return name


def _argument(node: ast.expr) -> Any:
    if isinstance(node, ast.Tuple | ast.List):
        elements = [_argument(element) for element in node.elts]
        return elements if isinstance(node, ast.List) else tuple(elements)
    return _fields(node) if isinstance(node, ast.Call | ast.BinOp | ast.Name) else ast.literal_eval(node)


def format_call(config: StrategyConfig) -> str:
    """The shortest string that parses back to ``config``: parameters at their default are left out."""
    fields = type(config).model_fields
    values = {k: getattr(config, k) for k in fields if k != "name"}
    given = {k: v for k, v in values.items() if v != fields[k].default}
    written = ", ".join(f"{k}={_written(v)}" for k, v in given.items())
    return config.name + (f"({written})" if written else "")


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_written, value))}{',' if len(value) == 1 else ''})"
    return str(value) if isinstance(value, StrategyConfig) else repr(value)
