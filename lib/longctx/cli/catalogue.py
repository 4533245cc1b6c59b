"""What there is: strategies, experiments, notebooks, and this machine."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args, get_origin

import torch
import typer
from rich.padding import Padding
from rich.text import Text

from longctx import data
from longctx.attention import ARRANGEMENTS, MIXERS, PATTERNS
from longctx.attention.arrangements import Arrangement
from longctx.cli.app import app, out, print_json, print_table
from longctx.cli.runs import JsonOption
from longctx.data.tasks import TASKS
from longctx.experiments import declared_experiments, default_store, home, project_root
from longctx.experiments.declared import read_experiment
from longctx.experiments.record import machine, versions
from longctx.model.config import FAMILIES
from longctx.notebook import defaults, notebooks
from longctx.objectives import causal
from longctx.positions import POSITIONS
from longctx.positions.sampling import SAMPLINGS
from longctx.positions.scaling import SCALINGS
from longctx.registry import Entry, Registry, StrategyConfig

Kind = Literal["positions", "patterns", "families", "tasks", "objectives", "experiments", "notebooks"]
Rows = list[dict[str, Any]]


def _strategies(
    registry: Registry[Any],
    kind: str | None = None,
    further: Callable[[Entry[Any]], dict[str, Any]] = lambda entry: {},
) -> Rows:
    return [
        {
            "name": entry.name,
            **({"kind": named} if (named := kind or getattr(entry.target, "kind", None)) else {}),
            "source": entry.source,
            "summary": _plain(entry.summary),
            **further(entry),
            "parameters": {
                name: None if field.is_required() else _default(field.default)
                for name, field in entry.config.model_fields.items()
                if name != "name"
            },
        }
        for entry in registry
    ]


def _sight_and_cost(entry: Entry[Any]) -> dict[str, Any]:
    """Whether queries may look ahead, and how many keys each sees."""
    if issubclass(entry.target, Arrangement):
        return {"looks": "as its members do", "keys to a query": "the mean over its members"}
    field = entry.config.model_fields.get("causal")
    fixed = field is None or get_origin(field.annotation) is Literal
    looks = "either way" if not fixed else "to the left" if field is None or field.default else "ahead too"
    return {"looks": looks, "keys to a query": entry.target.cost}


def _default(value: Any) -> Any:
    return str(value) if isinstance(value, StrategyConfig) else value


def _plain(summary: str) -> str:
    """A docstring's sentence as a terminal shows it."""
    text = re.sub(":math:`([^`]*)`", r"\1", summary)
    for tex, plain in ((r"\,", " "), ("``", ""), (r"\leftarrow", "←"), (r"\theta", "θ")):
        text = text.replace(tex, plain)
    return text


def _experiments() -> Rows:
    read = {name: read_experiment(name) for name in declared_experiments()}
    return [
        {
            "name": name,
            "title": experiment.title,
            "runs": {profile: len(experiment.specs(profile)) for profile in experiment.profiles},
        }
        for name, experiment in read.items()
    ]


CATALOGUES: dict[str, Callable[[], Rows]] = {
    "positions": lambda: (
        _strategies(POSITIONS) + _strategies(SCALINGS, "scaling of rope") + _strategies(SAMPLINGS, "sampling")
    ),
    "patterns": lambda: (
        _strategies(PATTERNS, "fixed", _sight_and_cost)
        + _strategies(MIXERS, None, _sight_and_cost)
        + _strategies(ARRANGEMENTS, "arrangement", _sight_and_cost)
    ),
    "families": lambda: [{"name": name, "defaults": fields} for name, fields in FAMILIES.items()],
    "tasks": lambda: _strategies(TASKS),
    "objectives": lambda: [{"name": "causal", "summary": (causal.__doc__ or "").strip()}],
    "experiments": _experiments,
    "notebooks": lambda: [{"name": name, "parameters": defaults(path)} for name, path in notebooks().items()],
}


@app.command("list", rich_help_panel="Look around")
def list_(
    kind: Annotated[Kind, typer.Argument(help=" | ".join(get_args(Kind)), metavar="KIND")],
    as_json: JsonOption = False,
) -> None:
    """Say what there is to choose from, plug-ins included.

    Examples:

        longctx list positions

        longctx list notebooks --json
    """
    rows = CATALOGUES[kind]()
    if as_json:
        print_json(rows)
        return
    if not rows:
        raise ValueError(f"there are no {kind} here; run from the source tree")
    heads = {name: max(len(str(row.get(name, ""))) for row in rows) for name in ("name", "kind")}
    for row in rows:
        head = [f"{row.get(name, ''):{width}}" for name, width in heads.items() if width]
        source = str(row.get("source", "")).removeprefix("https://")
        out.print("  ".join([*head, source]).rstrip(), style="bold", markup=False, highlight=False)
        for name in (name for name in row if row[name] and name not in {*heads, "source"}):
            text = _cell(row[name])
            detail = text if name in ("summary", "title") else f"{name}: {text}"
            out.print(Padding(Text(detail), (0, 0, 0, 4), expand=False))
    out.print(f"{len(rows)} {kind}")


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(k if v is None else f"{k}={v}" for k, v in value.items()) or "–"
    return str(value).removeprefix("https://")


@app.command(rich_help_panel="Look around")
def info(as_json: JsonOption = False) -> None:
    """Say which versions, machine and folders are in use.

    Example:

        longctx info --json
    """
    store = default_store()
    facts = {
        "versions": versions(),
        "machine": machine(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "threads": torch.get_num_threads(),
        "source tree": str(project_root()),
        "home (LONGCTX_HOME)": str(home()),
        "text cache": str(data.cache_folder()),
        "records": {str(layer): len(list(layer.glob("*.json"))) for layer in store.layers},
    }
    if as_json:
        print_json(facts)
        return
    print_table("longctx", ["what", "value"], [[name, _cell(value)] for name, value in facts.items()])
