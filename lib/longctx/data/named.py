"""Corpora by the name that a spec gives them."""

from __future__ import annotations

from longctx.data.corpus import EXPECTED_DIGEST, load_corpus
from longctx.data.tokenfile import Corpus


def open_source(source: str) -> Corpus:
    """The corpus that ``source`` names.

    Raises:
        ValueError: unknown name.
        CorpusError: its text cannot be had.
    """
    return load_corpus(source)


def corpus_digest(source: str) -> str:
    """The digest of the corpus that ``source`` names; of pinned ones without opening them.

    Raises:
        ValueError: unknown name.
    """
    return EXPECTED_DIGEST if source == "docs" else open_source(source).digest
