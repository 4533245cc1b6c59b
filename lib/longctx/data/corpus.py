"""Corpora by name: ``docs`` (real text, fetched once), ``sample`` (synthetic, always there), ``hub:NAME``."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock

from longctx.data.documents import MIN_BYTES, SUFFIXES, drop_copies, extract_documents
from longctx.data.fetch import cache_dir, fetch_archives
from longctx.data.sources import SOURCES, CorpusError
from longctx.data.split import LONG_BYTES, RUN, VALIDATION_SHARE, remove_shared, split_documents
from longctx.data.tokenfile import FORMAT_VERSION, Corpus, manifest_digest, open_corpus, write_corpus
from longctx.data.tokenizer import Tokenizer, default_tokenizer

# Of the manifest of `docs` with the committed tokenizer: every machine must arrive at it.
EXPECTED_DIGEST = "7884ba67f8cb4954bfac5ff98ec732bd0962f6e4b808dd8ccd200869d7d71b5b"

RECIPE = {
    "suffixes": list(SUFFIXES),
    "min_bytes": MIN_BYTES,
    "long_bytes": LONG_BYTES,
    "validation_share": VALIDATION_SHARE,
    "run": RUN,
    "version": 1,  # raise it when extraction, split or deduplication changes
}


def load_corpus(name: str = "docs", tokenizer: Tokenizer | None = None) -> Corpus:
    """Open a built-in corpus; build it first if the cache lacks it.

    Args:
        name: ``"docs"``, nine projects' documentation.
        tokenizer: default the committed one.

    Raises:
        ValueError: unknown name.
        CorpusError: an archive cannot be had or is not the pinned one, or the result is not the expected one.
    """
    if name != "docs":
        raise ValueError(f"name: given {name!r}, valid is 'docs'")
    tokenizer = tokenizer or default_tokenizer()
    about = {
        "name": name,
        "sources": [asdict(source) for source in SOURCES],
        "recipe": RECIPE,
        "tokenizer": tokenizer.sha256,
    }
    # Tuples become lists, as they will be when the manifest is read back.
    about = json.loads(json.dumps(about))
    key = hashlib.sha256(json.dumps([FORMAT_VERSION, about], sort_keys=True).encode()).hexdigest()[:16]
    folder = cache_dir() / "corpora" / f"{name}-{key}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not folder.exists():
                _build(folder, tokenizer, about)
    corpus = open_corpus(folder)
    expected = EXPECTED_DIGEST if tokenizer.sha256 == default_tokenizer().sha256 else ""
    if expected and corpus.digest != expected:
        raise CorpusError(
            f"{folder}: digest {corpus.digest}, expected {expected}; delete this folder to rebuild it"
        )
    return corpus


def _build(folder: Path, tokenizer: Tokenizer, about: dict[str, object]) -> None:
    archives = fetch_archives(SOURCES)
    documents = drop_copies(
        document
        for source, archive in zip(SOURCES, archives, strict=True)
        for document in extract_documents(archive, source)
    )
    train, validation = split_documents(documents)
    cleaned, removed = remove_shared(train, validation, tokenizer)
    write_corpus(
        folder,
        {
            "train": ((document.name, tokens) for document, tokens in cleaned),
            "validation": ((document.name, tokenizer.encode(document.text)) for document in validation),
        },
        end=tokenizer.end,
        about={**about, "bytes_removed_as_shared": removed},
    ).verify()


__all__ = ["EXPECTED_DIGEST", "load_corpus", "manifest_digest"]
