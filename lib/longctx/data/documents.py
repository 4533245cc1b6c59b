"""From archives to documents: documentation files only, in a fixed order, their boundaries kept."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from longctx.data.sources import CorpusError, Source

SUFFIXES = (".rst", ".txt", ".md")
MIN_BYTES = 2048  # shorter files are tables of contents and stubs


@dataclass(frozen=True)
class Document:
    """One text: ``name`` is ``project/path``, unique within a corpus."""

    name: str
    text: str

    @property
    def sha256(self) -> str:
        """Hex digest of the text in UTF-8."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def is_documentation(path: str, source: Source) -> bool:
    """Whether ``path`` (relative to the archive's root) is a documentation file the corpus wants.

    Args:
        path: a POSIX path, without the archive's top folder.
        source: names the documentation folder and what to leave out.
    """
    wanted = path.startswith(source.docs) and path.endswith(SUFFIXES) and ".egg-info/" not in path
    return wanted and not any(
        path.startswith(skip) if skip.endswith("/") else path == skip for skip in source.exclude
    )


def extract_documents(archive: Path, source: Source) -> list[Document]:
    """The documentation files of one archive, sorted by path; nothing is written to disk.

    Line ends become ``\\n``; files under 2 kB are left out.

    Raises:
        CorpusError: the archive is unreadable, holds no documentation, or a file is not UTF-8.
    """
    documents = []
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                path = member.name.partition("/")[2]
                if not (member.isfile() and member.size >= MIN_BYTES and is_documentation(path, source)):
                    continue
                content = tar.extractfile(member)
                assert content is not None  # isfile() is true
                text = content.read().decode("utf-8-sig").replace("\r\n", "\n")
                documents.append(Document(f"{source.project.lower()}/{path}", text))
    except (tarfile.TarError, EOFError, OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{archive}: cannot be read as a source distribution ({error})") from error
    if not documents:
        raise CorpusError(f"{archive}: no documentation found under {source.docs!r}")
    return sorted(documents, key=lambda document: document.name)


def drop_copies(documents: Iterable[Document]) -> list[Document]:
    """Keep the first of documents whose texts are equal but for white space."""
    seen: set[str] = set()
    kept = []
    for document in documents:
        key = hashlib.sha256(" ".join(document.text.split()).encode()).hexdigest()
        if key not in seen:
            seen.add(key)
            kept.append(document)
    return kept
