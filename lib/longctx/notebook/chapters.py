"""Which notebooks there are, and which parameters each has."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat

from longctx.experiments.declared import Profile
from longctx.experiments.store import project_root
from longctx.notebook.parameters import PARAMETERS, ParameterError, unknown, validate


def notebooks() -> dict[str, Path]:
    """Every chapter by its name (``"04_position_encodings"``), in the order of the book."""
    found = (project_root() / "notebooks").rglob("*.ipynb")
    return {path.stem: path for path in sorted(found, key=lambda p: p.stem) if not _hidden(path)}


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(project_root()).parts)


def find_notebook(name: str) -> Path:
    """The chapter with this name, number (``"04"`` or ``"4"``) or name without number; or a path.

    Raises:
        ValueError: no chapter fits, or several do; the message names them.
    """
    if name.endswith(".ipynb"):
        if not Path(name).is_file():
            raise ValueError(f"no notebook {name}")
        return Path(name)
    known = notebooks()
    fitting = [stem for stem in known if name in (stem, *_short_names(stem))]
    if len(fitting) == 1:
        return known[fitting[0]]
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]}? " if close else ""
    there = ", ".join(fitting or known) or "none here"
    raise ValueError(f"unknown notebook {name!r}; {hint}there are {there}")


def _short_names(stem: str) -> tuple[str, ...]:
    number, _, rest = stem.partition("_")
    return (number, number.lstrip("0"), rest) if number.isdigit() else ()


def defaults(path: Path) -> dict[str, Any]:
    """The parameters of a notebook, with what its parameters cell sets.

    Raises:
        ParameterError: not one cell is tagged ``parameters``, or it holds more than assignments of literals
            to names of the vocabulary.
    """
    cells = nbformat.read(path, 4).cells
    tagged = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise ParameterError(f"{path.name}: one cell must have the tag 'parameters'; {len(tagged)} have it")
    found: dict[str, Any] = {}
    try:
        for statement in ast.parse(tagged[0]).body:
            name, value = _assignment(statement)
            found[name] = ast.literal_eval(value)
    except (ValueError, SyntaxError) as error:
        raise ParameterError(
            f"{path.name}: the parameters cell may hold only lines like name = literal: {error}"
        ) from None
    if strangers := [name for name in found if name not in PARAMETERS]:
        raise ParameterError(f"{path.name}: " + "\n".join(unknown(name, PARAMETERS) for name in strangers))
    return found


def _assignment(statement: ast.stmt) -> tuple[str, ast.expr]:
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            return name, value
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            return name, value
    raise ValueError(f"line {statement.lineno} is another statement")


def chosen(path: Path, given: Mapping[str, Any], profile: Profile | None = None) -> dict[str, Any]:
    """What to run a notebook with: the parameters that differ from its own, all of them checked.

    Args:
        given: by name; a text is read as the command line spells the parameter's values.
        profile: sets the parameter of that name, where the notebook has one.

    Raises:
        ParameterError: one line for each problem: an unknown name, a wrong type or value, values that do not
            fit together.
    """
    own = defaults(path)
    if strangers := [name for name in given if name not in own]:
        raise ParameterError("\n".join(f"{path.stem}: {unknown(name, own)}" for name in strangers))
    values = {
        name: PARAMETERS[name].read(value) if isinstance(value, str) else value
        for name, value in given.items()
    }
    if profile is not None and "profile" in own:
        values.setdefault("profile", profile)
        if values["profile"] != profile:
            raise ParameterError(f"parameter profile: {values['profile']!r} and --profile {profile} differ")
    checked = validate(**{**own, **values})
    return {name: checked[name] for name in values}
