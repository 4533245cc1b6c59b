"""Corpora by name: ``docs`` (real text, fetched once), ``sample`` (synthetic, no network), ``hub:NAME``."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock
from rich.console import Console
from rich.progress import track

from longctx.data import sample
from longctx.data.documents import MIN_BYTES, SUFFIXES, drop_copies, extract_documents
from longctx.data.fetch import cache_folder, fetch_archives
from longctx.data.sources import SOURCES, CorpusError
from longctx.data.split import LONG_BYTES, RUN, VALIDATION_SHARE, remove_shared, split_documents
from longctx.data.tokenfile import FORMAT_VERSION, Corpus, open_corpus, write_corpus
from longctx.data.tokenizer import Tokenizer

# Digests of the built-in corpora with the committed tokenizer: every machine must arrive at them.
EXPECTED = {
    "docs": "7884ba67f8cb4954bfac5ff98ec732bd0962f6e4b808dd8ccd200869d7d71b5b",
    "sample": "1717373ef14f4581b2f079d4645a2fbf7418533077cb5ef17b77c9af15aa76da",
}

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
        name: ``"docs"``, nine projects' documentation, or ``"sample"``, synthetic and small.
        tokenizer: default the committed one.

    Raises:
        ValueError: unknown name.
        CorpusError: an archive cannot be had or is not the pinned one, or the corpus is not the expected one.
    """
    if name not in EXPECTED:
        raise ValueError(f"name: given {name!r}, valid are {', '.join(EXPECTED)}")
    tokenizer = tokenizer or Tokenizer.default()
    about: dict[str, Any] = {"name": name, "tokenizer": tokenizer.sha256}
    if name == "docs":
        about |= {"sources": [asdict(source) for source in SOURCES], "recipe": RECIPE}
        corpus = cached(name, about, lambda folder: _build_docs(folder, tokenizer, about))
    else:
        about |= {"recipe": sample.RECIPE}
        corpus = cached(name, about, lambda folder: _build_sample(folder, tokenizer, about))
    if tokenizer.sha256 == Tokenizer.default().sha256 and corpus.digest != EXPECTED[name]:
        raise CorpusError(
            f"{corpus.path}: digest {corpus.digest}, expected {EXPECTED[name]}; "
            "delete this folder to build it again"
        )
    return corpus


def cached(name: str, about: dict[str, Any], build: Callable[[Path], object]) -> Corpus:
    """Open the corpus that ``about`` describes; the first process to miss it builds it, others wait.

    Args:
        name: start of the folder's name.
        about: everything the corpus depends on, as JSON.
        build: writes the corpus to the folder it is given.
    """
    described = json.dumps([FORMAT_VERSION, about], sort_keys=True)
    key = hashlib.sha256(described.encode()).hexdigest()[:16]
    folder = cache_folder() / "corpora" / f"{name}-{key}"
    if not folder.exists():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CorpusError(f"{folder.parent}: {error}; set LONGCTX_CACHE to a writable folder") from error
        with FileLock(folder.with_suffix(".lock")):
            if not folder.exists():
                for leftover in folder.parent.glob(f".{folder.name}-*"):  # of a killed build
                    shutil.rmtree(leftover)
                build(folder)
    return open_corpus(folder)


def _build_docs(folder: Path, tokenizer: Tokenizer, about: dict[str, Any]) -> None:
    archives = fetch_archives(SOURCES)
    documents = drop_copies(
        document
        for source, archive in zip(SOURCES, archives, strict=True)
        for document in extract_documents(archive, source)
    )
    train, validation = split_documents(documents)
    console = Console(stderr=True)
    tracked = track(train, "tokenising", console=console, transient=True, disable=not console.is_terminal)
    cleaned, removed = remove_shared(tracked, validation, tokenizer)
    held_out = [("validation", document.name, tokenizer.encode(document.text)) for document in validation]
    write_corpus(
        folder,
        [*(("train", document.name, tokens) for document, tokens in cleaned), *held_out],
        end=tokenizer.end,
        about={**about, "bytes_removed_as_shared": removed},
    ).verify()


def _build_sample(folder: Path, tokenizer: Tokenizer, about: dict[str, Any]) -> None:
    documents = (
        (split, document.name, tokenizer.encode(document.text)) for split, document in sample.documents()
    )
    write_corpus(folder, documents, end=tokenizer.end, about=about).verify()


def open_source(source: str) -> Corpus:
    """Open a corpus by the name that a spec gives it.

    Args:
        source: ``"docs"``, ``"sample"``, or ``"hub:NAME"`` with options as in
            ``"hub:HuggingFaceFW/fineweb-edu?config=sample-10BT&max_tokens=200000000"`` (see ``load_hub``).

    Raises:
        ValueError: unknown source or option.
        CorpusError: the text cannot be had.
    """
    kind, colon, rest = source.partition(":")
    if kind == "hub" and rest:
        from longctx.data.hub import open_hub

        return open_hub(rest)
    if colon or source not in EXPECTED:
        raise ValueError(f"source: given {source!r}, valid are {', '.join(EXPECTED)}, hub:NAME")
    return load_corpus(source)


def corpus_digest(source: str) -> str:
    """The digest of a source's corpus; for built-in ones without building it.

    Raises:
        ValueError: unknown source or option.
        CorpusError: the text of a ``hub:`` source cannot be had.
    """
    return EXPECTED.get(source) or open_source(source).digest
