"""The environment is the same for everybody: pip, conda, and what pyproject.toml asks for."""

import json
import re
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked() -> list[Requirement]:
    """The lines of the lock, without comments and options."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def wanted() -> list[Requirement]:
    """What pyproject.toml asks for, extras included."""
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    return [Requirement(text) for group in groups for text in group]


def test_every_locked_version_is_exact_and_public() -> None:
    for requirement in locked():
        assert re.fullmatch(r"==[0-9][0-9a-z.]*", str(requirement.specifier)), requirement


@pytest.mark.parametrize("requirement", wanted(), ids=str)
def test_lock_satisfies_what_the_project_asks_for(requirement: Requirement) -> None:
    pins = [pin for pin in locked() if canonicalize_name(pin.name) == canonicalize_name(requirement.name)]
    assert pins, f"{requirement.name} is not in requirements.lock: run .ci/lock"
    for pin in pins:
        assert requirement.specifier.contains(next(iter(pin.specifier)).version, prereleases=True)


def test_installed_versions_are_the_locked_ones() -> None:
    differing = {}
    for pin in locked():
        if pin.marker is None or pin.marker.evaluate():
            try:
                present = version(pin.name).partition("+")[0]
            except PackageNotFoundError:
                present = "missing"
            if not pin.specifier.contains(present) if present != "missing" else True:
                differing[pin.name] = f"{present}, locked {pin.specifier}"
    assert differing == {}, "run make setup"


def test_conda_users_get_the_same_lock_and_the_same_pythons() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    by_pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert by_pip == ["--requirement requirements.lock", "--editable ."]
    entry = next(entry for entry in environment["dependencies"] if str(entry).startswith("python"))
    python = Requirement(entry).specifier
    allowed = [number for number in range(9, 16) if python.contains(f"3.{number}.5")]
    assert allowed == [11, 12, 13]
    pip_names = {canonicalize_name(pin.name) for pin in locked()}
    assert not pip_names & {entry for entry in environment["dependencies"] if isinstance(entry, str)}


def test_lock_of_the_site_names_no_registry_and_has_a_hash_for_everything() -> None:
    packages = json.loads((ROOT / "book" / "package-lock.json").read_text())["packages"]
    for name, package in packages.items():
        assert "resolved" not in package
        assert name == "" or package["integrity"].startswith("sha512-")
