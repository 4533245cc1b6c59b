"""`make` alone tells what can be done, and every promised habit is there."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROMISED = {"setup", "book", "serve", "test", "lint", "notebooks", "run", "sweep", "verify", "bench", "clean"}


def test_help_lists_every_target_with_a_word_on_it() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    described = dict(re.findall(r"make (\w+) +(\S.*)", shown))
    assert set(described) - {"help"} == PROMISED


def test_recipes_stay_short() -> None:
    recipe = 0
    for line in (ROOT / "Makefile").read_text().splitlines():
        recipe = recipe + 1 if line.startswith("\t") else 0
        assert recipe <= 2, f"the work belongs in a tool: {line}"


def test_a_warm_setup_has_nothing_to_do() -> None:
    asked = subprocess.run(["make", "--question", "setup"], cwd=ROOT, capture_output=True)
    fresh = (ROOT / ".venv" / ".ready").exists()
    assert asked.returncode == (0 if fresh else 1)
