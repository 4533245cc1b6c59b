"""Only documentation is taken, in a fixed order, as text."""

import io
import tarfile
from pathlib import Path

import pytest

from longctx.data import CorpusError, Source
from longctx.data.documents import Document, drop_copies, extract_documents

LONG = "A line of text.\r\n" * 200


def _archive(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(f"p-1/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def _source(**fields: object) -> Source:
    return Source("P", "1", "0" * 64, docs="docs/", licence="MIT", **fields)  # type: ignore[arg-type]


def test_only_documentation_is_taken_and_sorted(tmp_path: Path):
    unwanted = ("README.rst", "tests/docs/a.rst", "docs/p.egg-info/SOURCES.txt", "docs/a.py", "docs/made.txt")
    members = {name: LONG.encode() for name in ("docs/z.rst", "docs/b/a.md", *unwanted, "docs/gen/x.rst")}
    members["docs/stub.rst"] = b"short"
    source = _source(exclude=("docs/made.txt", "docs/gen/"))
    documents = extract_documents(_archive(tmp_path / "a.tar.gz", members), source)
    assert [document.name for document in documents] == ["p/docs/b/a.md", "p/docs/z.rst"]
    assert documents[0].text == LONG.replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("members", "reason"),
    [({"docs/a.rst": b"\xff\xfe" * 2000}, "utf-8"), ({"a.rst": LONG.encode()}, "no documentation found")],
)
def test_text_that_is_none_is_an_error(tmp_path: Path, members: dict[str, bytes], reason: str):
    with pytest.raises(CorpusError, match=reason):
        extract_documents(_archive(tmp_path / "a.tar.gz", members), _source())


def test_a_truncated_archive_is_an_error(tmp_path: Path):
    path = _archive(tmp_path / "a.tar.gz", {"docs/a.rst": bytes(range(32, 127)) * 900})
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CorpusError, match="cannot be read"):
        extract_documents(path, _source())


def test_copies_are_dropped_whatever_their_white_space():
    one, two, three = (Document(name, text) for name, text in (("a", "x  y\n"), ("b", "x y"), ("c", "xy")))
    assert drop_copies([one, two, three]) == [one, three]
