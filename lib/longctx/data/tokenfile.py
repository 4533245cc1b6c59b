"""Token files: one flat uint16 array per split, memory-mapped, and a JSON manifest that describes them.

A corpus is a folder with ``manifest.json``, ``train.bin`` and ``validation.bin`` (little-endian uint16, every
document closed by the end token). The manifest's digest names the corpus: it depends on the text, the
tokenizer and the format, not on the machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt16

from longctx.data.sources import CorpusError

FORMAT_VERSION = 1
SPLITS = ("train", "validation")


@dataclass(frozen=True)
class Span:
    """Where a document lies in its split: tokens ``start … stop - 1``, the end token included."""

    name: str
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Split:
    """One side of a corpus: its tokens, and where each document lies among them."""

    tokens: UInt16[np.ndarray, " tokens"]
    documents: tuple[Span, ...]

    def long_stream(self, min_tokens: int) -> UInt16[np.ndarray, " tokens"]:
        """Documents of at least ``min_tokens`` tokens, one after another in their fixed order.

        Raises:
            ValueError: no document is that long.
        """
        parts = [self.tokens[span.start : span.stop] for span in self.documents if len(span) >= min_tokens]
        if not parts:
            longest = max((len(span) for span in self.documents), default=0)
            raise ValueError(f"min_tokens: given {min_tokens}, the longest document has {longest}")
        return np.concatenate(parts)


@dataclass(frozen=True)
class Corpus:
    """A tokenised corpus on disk: ``train``, ``validation``, and the manifest that describes both."""

    train: Split
    validation: Split
    manifest: dict[str, Any]
    path: Path

    @property
    def digest(self) -> str:
        """Hex digest of the manifest: the same on every machine for the same text and tokenizer."""
        return manifest_digest(self.manifest)

    def verify(self) -> None:
        """Read every token and compare checksums with the manifest.

        Raises:
            CorpusError: a file differs; says which.
        """
        for name in SPLITS:
            path = self.path / f"{name}.bin"
            if file_sha256(path) != self.manifest["splits"][name]["sha256"]:
                raise CorpusError(
                    f"{path}: does not match its manifest; delete {self.path} and build it again"
                )


def file_sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest_digest(manifest: dict[str, Any]) -> str:
    """Hex digest of a manifest's canonical JSON."""
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def write_corpus(
    folder: Path,
    documents: Iterable[tuple[str, str, np.ndarray]],
    *,
    end: int,
    about: dict[str, Any],
) -> Corpus:
    """Write a corpus so that ``folder`` either holds all of it or does not exist.

    Args:
        folder: where the corpus goes; its parent exists.
        documents: split (``train`` or ``validation``), name and token ids of each document, in order.
        end: id of the token that closes each document.
        about: what else the manifest records (sources, tokenizer, …).

    Raises:
        CorpusError: a split is empty.
    """
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with ExitStack() as stack:
            writers = {name: stack.enter_context(_Writer(partial / f"{name}.bin")) for name in SPLITS}
            for split, name, tokens in documents:
                writers[split].add(name, np.append(tokens, end))
        manifest = {
            "format": FORMAT_VERSION,
            **about,
            "splits": {name: writer.described() for name, writer in writers.items()},
        }
        with (partial / "manifest.json").open("w", encoding="utf-8") as file:
            json.dump(manifest, file, indent=1, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return open_corpus(folder)


class _Writer:
    """One growing token file, and what the manifest will say of it."""

    def __init__(self, path: Path) -> None:
        self._path, self._digest = path, hashlib.sha256()
        self._total, self._spans = 0, list[list[str | int]]()

    def __enter__(self) -> _Writer:
        self._file = self._path.open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def add(self, name: str, tokens: np.ndarray) -> None:
        content = tokens.astype("<u2").tobytes()
        self._file.write(content)
        self._digest.update(content)
        self._spans.append([name, self._total, len(tokens)])
        self._total += len(tokens)

    def described(self) -> dict[str, Any]:
        if not self._total:
            raise CorpusError(f"{self._path.stem}: no document in this split")
        return {"tokens": self._total, "sha256": self._digest.hexdigest(), "documents": self._spans}


def open_corpus(folder: Path) -> Corpus:
    """Map a corpus into memory; checks the manifest and the sizes, reads no token.

    Raises:
        CorpusError: a file is missing, unreadable, of another format or of the wrong size.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT_VERSION:
            raise CorpusError(f"{folder}: format {manifest['format']}, this version reads {FORMAT_VERSION}")
        train, validation = (_open_split(folder / f"{name}.bin", manifest["splits"][name]) for name in SPLITS)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorpusError(
            f"{folder}: damaged corpus ({error!r}); delete this folder and build it again"
        ) from error
    return Corpus(train, validation, manifest, folder)


def _open_split(path: Path, described: dict[str, Any]) -> Split:
    tokens = np.memmap(path, dtype="<u2", mode="r")
    if len(tokens) != described["tokens"]:
        raise CorpusError(f"{path}: holds {len(tokens)} tokens, its manifest says {described['tokens']}")
    spans = tuple(Span(name, start, start + size) for name, start, size in described["documents"])
    return Split(tokens, spans)
