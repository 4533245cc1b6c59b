"""Token files: one flat uint16 array per split, memory-mapped, and a JSON manifest that describes them.

A corpus is a folder ``manifest.json``, ``train.bin``, ``validation.bin`` (little-endian uint16, every document closed
by the end token). The manifest's digest names the corpus: it depends on the text, the tokenizer and the format, and
not on the machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
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
    splits: dict[str, Iterable[tuple[str, np.ndarray]]],
    *,
    end: int,
    about: dict[str, Any],
) -> Corpus:
    """Write a corpus so that ``folder`` either holds all of it or does not exist.

    Args:
        folder: where the corpus goes; its parent is created.
        splits: for ``train`` and ``validation``, pairs of document name and token ids, in order.
        end: id of the token that closes each document.
        about: what else the manifest records (sources, tokenizer, …).
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        described = {name: _write_split(partial / f"{name}.bin", splits[name], end) for name in SPLITS}
        manifest = {"format": FORMAT_VERSION, **about, "splits": described}
        with (partial / "manifest.json").open("w", encoding="utf-8") as file:
            json.dump(manifest, file, indent=1, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        if folder.exists():  # a damaged one, which the caller found wanting
            shutil.rmtree(folder)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return open_corpus(folder)


def _write_split(path: Path, documents: Iterable[tuple[str, np.ndarray]], end: int) -> dict[str, Any]:
    """Write one token file; the entry that the manifest gives it."""
    spans: list[list[str | int]] = []
    digest, total = hashlib.sha256(), 0
    with path.open("wb") as file:
        for name, tokens in documents:
            content = np.append(tokens, end).astype("<u2").tobytes()
            file.write(content)
            digest.update(content)
            spans.append([name, total, len(content) // 2])
            total += len(content) // 2
        file.flush()
        os.fsync(file.fileno())
    if not total:
        raise CorpusError(f"{path.stem}: no document in this split")
    return {"tokens": total, "sha256": digest.hexdigest(), "documents": spans}


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
