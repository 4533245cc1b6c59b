"""What is committed: small files, honest names, nothing of the machine it was written on."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = {".py", ".js", ".css", ".sh", ".toml", ".yml", ".yaml", ".smk", ""}
GENERATED = {"requirements.lock", "LICENSE", "LICENSE-prose", "package-lock.json"}
DRAWERS = {"utils", "util", "helpers", "helper", "common", "misc"}
MEBIBYTE = 2**20

# Written in pieces, so that this file does not contain what it forbids.
HOSTS = ["pypi" + ".org", "python" + "hosted", "registry." + "npmjs", "npmjs" + ".org", "deb." + "debian"]
FOLDERS = ["/" + name + "/" for name in ("work", "tmp", "root", "home", "Users")]
FORBIDDEN = re.compile(
    "|".join([re.escape(host) for host in HOSTS] + [rf"(?<![\w.}}*/~-]){folder}" for folder in FOLDERS])
)


def committed() -> list[Path]:
    """Every file that git tracks or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def texts() -> list[tuple[Path, str]]:
    """The committed text files with their contents."""
    found = []
    for path in committed():
        raw = path.read_bytes()
        if b"\0" not in raw[:8192]:
            found.append((path.relative_to(ROOT), raw.decode("utf-8")))
    return found


def test_nothing_names_this_machine_or_a_registry() -> None:
    faults = [
        f"{path}:{number}: {match.group()}"
        for path, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if (match := FORBIDDEN.search(line))
    ]
    assert faults == []


@pytest.mark.parametrize("line", ["see /" + "tmp/x", "'/" + "home/me/x'", "https://" + HOSTS[0] + "/simple"])
def test_the_forbidden_is_recognised(line: str) -> None:
    assert FORBIDDEN.search(line)


def test_source_files_are_read_in_one_sitting() -> None:
    lengths = {
        path: text.count("\n") for path, text in texts() if path.suffix in CODE and path.name not in GENERATED
    }
    assert {str(path): length for path, length in lengths.items() if length > 300} == {}


def test_no_drawer_for_odds_and_ends() -> None:
    named = {
        path
        for path in committed()
        if DRAWERS & {part.removesuffix(".py") for part in path.relative_to(ROOT).parts}
    }
    assert named == set()


def test_checkpoints_and_files_stay_small() -> None:
    sizes = {path: path.stat().st_size for path in committed()}
    weights = sum(size for path, size in sizes.items() if path.suffix == ".safetensors")
    assert weights <= 40 * MEBIBYTE, "committed checkpoints: at most 40 MB in all"
    large = {
        path: size for path, size in sizes.items() if path.suffix != ".safetensors" and size > 2 * MEBIBYTE
    }
    assert large == {}


def test_nothing_is_pickled() -> None:
    assert [
        path for path in committed() if path.suffix in {".pkl", ".pickle", ".pt", ".pth", ".bin", ".npy"}
    ] == []
