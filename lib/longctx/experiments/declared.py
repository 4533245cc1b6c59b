"""The experiments that the book declares: one YAML file each, at three sizes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from longctx.experiments.spec import ExperimentSpec, parse_spec, set_field
from longctx.experiments.store import project_root

#: smoke: seconds, for CI. cpu: two cores, what the book shows. gpu: real sizes.
Profile = Literal["smoke", "cpu", "gpu"]


class Sizes(BaseModel):
    """What a profile changes: dotted fields of the base spec, and axes of the grid."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, list[Any]] = Field(default_factory=dict)


class Experiment(BaseModel):
    """A comparison: a base spec, and the axes along which it is varied."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    base: dict[str, Any]
    grid: dict[str, list[Any]]
    profiles: dict[Profile, Sizes]

    def specs(self, profile: Profile, overrides: Mapping[str, Any] | None = None) -> list[ExperimentSpec]:
        """Every combination of the grid, in the order in which it is written.

        Args:
            overrides: dotted fields; a list given for an axis of the grid replaces the axis, and None leaves
                what the profile says.

        Raises:
            ValueError: an unknown profile or field, or a value that is not valid.
        """
        if profile not in self.profiles:
            raise ValueError(f"profile must be one of {', '.join(self.profiles)}; got {profile!r}")
        sizes = self.profiles[profile]
        grid = {**self.grid, **sizes.grid}
        fields = deepcopy(self.base)
        given = {path: value for path, value in (overrides or {}).items() if value is not None}
        for path, value in {**sizes.base, **given}.items():
            if path in grid:
                grid[path] = list(value)
            else:
                set_field(fields, path, value)
        if empty := [axis for axis, values in grid.items() if not values]:
            raise ValueError(f"{', '.join(empty)} must not be empty")
        specs = []
        for values in itertools.product(*grid.values()):
            one = deepcopy(fields)
            for path, value in zip(grid, values, strict=True):
                for name, part in _axis(path, value).items():
                    set_field(one, name, part)
            specs.append(parse_spec(one))
        return specs


def _axis(path: str, value: Any) -> dict[str, Any]:
    """An axis varies one field, or several together when its values are mappings of dotted fields."""
    return dict(value) if isinstance(value, Mapping) else {path: value}


def folder() -> Path:
    """Where the declared experiments lie."""
    return project_root() / "experiments"


def declared_experiments() -> list[str]:
    """The names of all declared experiments."""
    return sorted(path.stem for path in folder().glob("*.yaml"))


def read_experiment(name: str) -> Experiment:
    """The experiment ``name``, as its file declares it.

    Args:
        name: of a declared experiment, or the path of another YAML file.

    Raises:
        ValueError: no such experiment, or a file that is not valid; the message says which and why.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else folder() / f"{name}.yaml"
    if not path.is_file():
        declared = ", ".join(declared_experiments()) or "none"
        raise ValueError(
            f"unknown experiment {name!r}; declared: {declared}, or give the path of a .yaml file"
        )
    try:
        return Experiment.model_validate(yaml.safe_load(path.read_text()))
    except (yaml.YAMLError, ValidationError) as error:
        raise ValueError(f"{path} is not a valid experiment: {error}") from error


def load_experiment(
    name: str, profile: Profile = "cpu", overrides: Mapping[str, Any] | None = None
) -> list[ExperimentSpec]:
    """The specs of a declared experiment at one profile, with ``overrides`` by dotted field or axis.

    ``load_experiment("positions", "cpu", {"seed": [0, 1], "evaluation.lengths": [128, 1024]})``

    Raises:
        ValueError: as `read_experiment` and `Experiment.specs`.
    """
    if profile not in get_args(Profile):
        raise ValueError(f"profile must be one of {', '.join(get_args(Profile))}; got {profile!r}")
    return read_experiment(name).specs(profile, overrides)
