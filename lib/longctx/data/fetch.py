"""Pinned source distributions: from the cache, or once through pip's own client.

pip knows the reader's mirrors, proxies, credentials and offline folders, so no index is named here. An
archive put into ``sdists/`` of the cache by hand serves as well as a fetched one: its hash decides.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock
from rich.console import Console
from rich.progress import Progress

from longctx.data import _build_backend
from longctx.data.sources import CorpusError, Source
from longctx.data.tokenfile import file_sha256

TIMEOUT_S = 600
BACKENDS = ("setuptools/build_meta.py", "hatchling/build.py", "flit_core/buildapi.py")


def cache_folder() -> Path:
    """``$LONGCTX_CACHE``, else ``longctx`` in the user's cache (``$XDG_CACHE_HOME`` or ``~/.cache``)."""
    if given := os.environ.get("LONGCTX_CACHE"):
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "longctx"


def fetch_archives(sources: Sequence[Source]) -> list[Path]:
    """Paths of verified archives, fetched where the cache lacks them.

    Raises:
        CorpusError: an archive cannot be fetched, or is not the pinned one.
    """
    folder = cache_folder() / "sdists"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CorpusError(
            f"{folder}: cannot be created ({error}); set LONGCTX_CACHE to a writable folder"
        ) from error
    console = Console(stderr=True)
    with (
        FileLock(folder / ".lock"),
        Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task("source texts", total=len(sources))
        paths = []
        for source in sources:
            progress.update(task, description=f"{source.project} {source.version}")
            paths.append(fetch_archive(source, folder))
            progress.advance(task)
    return paths


def fetch_archive(source: Source, folder: Path) -> Path:
    """One verified archive in ``folder``; the caller holds the folder's lock.

    Raises:
        CorpusError: it cannot be fetched, or is not the pinned one.
    """
    path = folder / source.archive
    if path.exists():
        _check(path, source, f"delete {path} to fetch it again, or put the right archive there")
        return path
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as temporary:
        fetched = _pip_download(source, Path(temporary), path)
        _check(
            fetched,
            source,
            "the index serves another archive: use another index, or put the right archive at {path}",
        )
        with fetched.open("rb") as file:
            os.fsync(file.fileno())
        fetched.rename(path)
    return path


def _check(path: Path, source: Source, advice: str) -> None:
    found = file_sha256(path)
    if found != source.sha256:
        raise CorpusError(
            f"{path.name}: wrong content, SHA-256 {found}, pinned {source.sha256}; "
            + advice.format(path=path)
        )


def _pip_download(source: Source, temporary: Path, target: Path) -> Path:
    """Let pip fetch the archive into ``temporary``, without building or installing anything."""
    stubs = temporary / "backends"
    for backend in BACKENDS:
        stub = stubs / backend
        stub.parent.mkdir(parents=True)
        (stub.parent / "__init__.py").touch()
        shutil.copy(_build_backend.__file__, stub)
    requirement = f"{source.project}=={source.version}"
    command = [sys.executable, "-m", "pip", "download", requirement, "--no-deps", "--no-binary", ":all:"]
    # Without --use-pep517 an older pip runs setup.py where there is no build-system table.
    command += ["--no-build-isolation", "--use-pep517", "--ignore-requires-python", "--quiet", "--no-input"]
    command += ["--disable-pip-version-check", "--dest", str(temporary)]
    # A reader's constraints are about what is installed, and here nothing is.
    environment = {**os.environ, "PYTHONPATH": str(stubs), "PIP_CONSTRAINT": os.devnull}
    by_hand = f"or put {source.archive} (SHA-256 {source.sha256}) at {target} by hand"
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise CorpusError(
            f"{requirement}: pip gave no archive in {TIMEOUT_S} s; try again, {by_hand}"
        ) from error
    archive = temporary / source.archive
    if done.returncode or not archive.exists():
        found = sorted(temporary.glob("*.tar.gz")) + sorted(temporary.glob("*.zip"))
        reason = [
            line.strip() for line in done.stderr.splitlines() if "ERROR" in line or "No module" in line
        ][-1:]
        reason = reason or [f"it left {[path.name for path in found]}"]
        raise CorpusError(
            f"{requirement}: pip could not fetch the source distribution ({reason[0]}); "
            f"check the network and pip's index settings, {by_hand}"
        )
    return archive
