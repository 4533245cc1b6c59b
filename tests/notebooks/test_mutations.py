"""One wrong sign or constant in an encoding is noticed, by pytest and by nbval alike."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from longctx.experiments import project_root
from longctx.notebook import find_notebook

COPIED = ("lib", "experiments", "results", "tests/positions", "tests/conftest.py", "tests/nbval_sanitize.cfg")
CHAPTER = "04"

#: File, what stands there, and what a slip of the hand would make of it.
MUTATIONS = {
    "rope turns the wrong way": ("rope.py", "b, sin, value=-1", "b, sin, value=1"),
    "alibi's slopes fall half as fast": (
        "alibi.py",
        "2 ** (-8 * (h + 1) / lower)",
        "2 ** (-4 * (h + 1) / lower)",
    ),
}


def copy_of_the_tree(folder: Path) -> Path:
    root = project_root()
    for name in (*COPIED, "pyproject.toml", str(find_notebook(CHAPTER).relative_to(root))):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (root / name).is_dir():
            shutil.copytree(root / name, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(root / name, target)
    return folder


def python(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(tree / "lib"), "LONGCTX_HOME": str(tree / "home")}
    # Those of the pytest that runs this test are not for the one that it starts.
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTEST_CURRENT_TEST"):
        environment.pop(name, None)
    return subprocess.run(
        [sys.executable, *arguments], cwd=tree, env=environment, capture_output=True, text=True, check=False
    )


def units(tree: Path) -> subprocess.CompletedProcess[str]:
    return python(tree, "-m", "pytest", "tests/positions", "-x", "-q", "-p", "no:cacheprovider")


def chapter(tree: Path) -> subprocess.CompletedProcess[str]:
    options = ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", "tests/nbval_sanitize.cfg"]
    return python(tree, "-m", "pytest", "notebooks", *options, "-x", "-q", "-p", "no:cacheprovider")


def test_an_unchanged_copy_passes(tmp_path: Path):
    # Otherwise the failures below would prove nothing.
    tree = copy_of_the_tree(tmp_path)
    for result in (units(tree), chapter(tree)):
        assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-1000:]


@pytest.mark.parametrize("mutation", MUTATIONS.values(), ids=MUTATIONS)
def test_a_mutation_fails_in_pytest_and_in_nbval(tmp_path: Path, mutation: tuple[str, str, str]):
    tree = copy_of_the_tree(tmp_path)
    name, right, wrong = mutation
    file = tree / "lib" / "longctx" / "positions" / name
    source = file.read_text()
    assert source.count(right) == 1, f"{name} no longer reads {right!r}: choose another mutation"
    file.write_text(source.replace(right, wrong))
    imported = python(tree, "-c", "import longctx.positions as p; print(p.__file__)").stdout.strip()
    assert imported == str(tree / "lib" / "longctx" / "positions" / "__init__.py"), "not the copy is imported"
    for result in (units(tree), chapter(tree)):
        # 1 is "some test failed"; anything higher would be a usage error or a crash.
        assert result.returncode == 1, result.stdout[-3000:] + result.stderr[-1000:]
        assert "1 failed" in result.stdout, result.stdout[-3000:]
