"""Archives come through pip's own client, from the cache, or not at all; never half, never the wrong one."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from longctx.data import CorpusError, Source, fetch
from longctx.data.tokenfile import file_sha256

SETUP = "raise SystemExit('the code of an archive was run')\n"


def _sdist(folder: Path, pyproject: str | None = None) -> Source:
    """A source distribution whose own code must never run."""
    members = {
        "PKG-INFO": "Metadata-Version: 2.1\nName: Tiny-Docs\nVersion: 1.0\n",
        "setup.py": SETUP,
        "docs/index.rst": "text\n" * 1000,
    }
    if pyproject:
        members["pyproject.toml"] = pyproject
    path = folder / "tiny-docs-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, text in members.items():
            info = tarfile.TarInfo(f"tiny-docs-1.0/{name}")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return Source("Tiny-Docs", "1.0", file_sha256(path), docs="docs/", licence="MIT")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index that is a folder, and an empty cache."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("LONGCTX_CACHE", str(tmp_path / "cache"))
    return folder


def _cached(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache" / "sdists").iterdir() if path.name != ".lock")


@pytest.mark.parametrize(
    "pyproject",
    [None, '[build-system]\nrequires = ["hatchling==99"]\nbuild-backend = "hatchling.build"\n'],
    ids=["setup.py", "hatchling, not installed"],
)
def test_pip_fetches_without_running_the_archives_code(index: Path, tmp_path: Path, pyproject: str | None):
    source = _sdist(index, pyproject)
    (path,) = fetch.fetch_archives([source])
    assert path.read_bytes() == (index / source.archive).read_bytes()
    assert _cached(tmp_path) == [source.archive]


def test_an_archive_with_another_hash_is_refused_and_not_kept(index: Path, tmp_path: Path):
    served = _sdist(index)
    pinned = Source(served.project, served.version, "0" * 64, docs="docs/", licence="MIT")
    with pytest.raises(
        CorpusError, match=f"SHA-256 {served.sha256}, pinned {'0' * 64}.*put the right archive"
    ):
        fetch.fetch_archives([pinned])
    assert _cached(tmp_path) == []


def test_without_an_index_the_error_says_where_to_put_the_archive(index: Path, tmp_path: Path):
    source = Source("Tiny-Docs", "1.0", "0" * 64, docs="docs/", licence="MIT")
    with pytest.raises(CorpusError) as caught:
        fetch.fetch_archives([source])
    message = str(caught.value)
    assert "No matching distribution" in message
    assert str(tmp_path / "cache" / "sdists" / source.archive) in message
    assert _cached(tmp_path) == []


def test_a_hand_filled_cache_needs_no_pip(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "cache" / "sdists"
    folder.mkdir(parents=True)
    source = _sdist(folder)

    def no_pip(*_: object, **__: object) -> None:
        raise AssertionError("pip was called")

    monkeypatch.setattr(subprocess, "run", no_pip)
    assert fetch.fetch_archives([source]) == [folder / source.archive]


def test_a_damaged_archive_in_the_cache_is_named(index: Path, tmp_path: Path):
    folder = tmp_path / "cache" / "sdists"
    folder.mkdir(parents=True)
    source = _sdist(folder)
    path = folder / source.archive
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorpusError, match=f"wrong content.*delete {path} to fetch it again"):
        fetch.fetch_archives([source])


def test_a_hanging_pip_is_given_up(index: Path, monkeypatch: pytest.MonkeyPatch):
    def hang(command: list[str], **_: object) -> None:
        raise subprocess.TimeoutExpired(command, 600)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(CorpusError, match=r"no archive in 600 s.*by hand"):
        fetch.fetch_archives([_sdist(index)])


def test_a_cache_that_cannot_be_made_names_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LONGCTX_CACHE", str(tmp_path / "file"))
    with pytest.raises(CorpusError, match="set LONGCTX_CACHE"):
        fetch.fetch_archives([])
