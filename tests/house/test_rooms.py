"""A room imports only from the rooms above it, and a break of that is noticed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the package below ``folder``/lib."""
    program = Path(sys.executable).parent / "lint-imports"
    environment = {**os.environ, "PYTHONPATH": str(folder / "lib")}
    command = [str(program), "--no-cache", "--config", str(folder / "pyproject.toml")]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_rooms_keep_their_order() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout


def test_an_import_from_a_lower_room_is_found(tmp_path: Path) -> None:
    shutil.copytree(
        ROOT / "lib", tmp_path / "lib", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__")
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "lib" / "longctx" / "registry.py").open("a") as file:
        file.write("\nimport longctx.training\n")
    done = lint_imports(tmp_path)
    assert done.returncode != 0
    assert "longctx.registry is not allowed to import longctx.training" in done.stdout
