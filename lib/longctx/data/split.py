"""Train and validation: split by document, then freed of everything they share.

Documentation repeats itself: snippets, tables and notices appear on many pages. A validation loss that
rewards memory of the training text would be no validation loss, so lines of *training* documents that take
part in any run of 50 tokens found in validation are removed.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool, UInt64

from longctx.data.documents import Document
from longctx.data.tokenizer import Tokenizer

VALIDATION_SHARE = 0.05
LONG_BYTES = 32_768  # about 10,000 tokens: long documents are split apart from short ones
RUN = 50


def split_documents(documents: Sequence[Document]) -> tuple[list[Document], list[Document]]:
    """Assign whole documents to (train, validation); the order is kept.

    Within each project, and there apart for long and short documents, documents are ranked by a hash of their
    name and go to validation while that brings its share of the bytes closer to 5 %. So every project is
    represented, and so are the long documents that evaluation at long context needs.
    """
    strata: dict[tuple[str, bool], list[Document]] = defaultdict(list)
    for document in documents:
        is_long = len(document.text.encode()) >= LONG_BYTES
        strata[document.name.partition("/")[0], is_long].append(document)
    chosen: set[str] = set()
    for stratum in strata.values():
        ranked = sorted(stratum, key=lambda document: hashlib.sha256(document.name.encode()).digest())
        sizes = [len(document.text.encode()) for document in ranked]
        taken, target = 0, VALIDATION_SHARE * sum(sizes)
        for document, size in zip(ranked, sizes, strict=True):
            if taken + size / 2 <= target:
                chosen.add(document.name)
                taken += size
    train = [document for document in documents if document.name not in chosen]
    return train, [document for document in documents if document.name in chosen]


def run_hashes(tokens: np.ndarray, run: int = RUN) -> UInt64[np.ndarray, " starts"]:
    """A 64-bit hash of every window of ``run`` tokens: equal windows have equal hashes.

    The polynomial Σ mix(t_{i+j}) P^{run-1-j} modulo 2^64, built by doubling in O(n log run).

    Args:
        tokens: ids, shape (n,).
        run: window length; fewer tokens than that give an empty array.
    """
    n_windows = len(tokens) - run + 1
    if n_windows <= 0:
        return np.empty(0, dtype=np.uint64)
    mixed = (tokens.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    total = np.zeros(n_windows, dtype=np.uint64)
    block, size, done = mixed, 1, 0
    power = 0xD6E8FEB86659FD93
    for bit in range(run.bit_length()):
        if run >> bit & 1:
            total = total * np.uint64(power) + block[done : done + n_windows]
            done += size
        block = block[:-size] * np.uint64(power) + block[size:]
        size, power = size * 2, power * power % 2**64
    return total


def shared_tokens(
    tokens: np.ndarray, other: UInt64[np.ndarray, " hashes"], run: int = RUN
) -> Bool[np.ndarray, " n"]:
    """Which tokens lie in a window of ``run`` tokens whose hash is in ``other`` (sorted), shape (n,)."""
    hashes = run_hashes(tokens, run)
    if not len(other):
        return np.zeros(len(tokens), dtype=bool)
    # A binary search each, where np.isin would sort both again for every document.
    found = other[np.minimum(np.searchsorted(other, hashes), len(other) - 1)] == hashes
    hits = np.flatnonzero(found)
    edges = np.zeros(len(tokens) + 1, dtype=np.int64)
    np.add.at(edges, hits, 1)
    np.add.at(edges, hits + run, -1)
    return np.cumsum(edges[:-1]) > 0


def remove_shared(
    train: Iterable[Document], validation: Sequence[Document], tokenizer: Tokenizer
) -> tuple[list[tuple[Document, np.ndarray]], int]:
    """Training documents without the lines that share a run of 50 tokens with validation.

    Removing lines joins what was apart, so each document is searched again until nothing is shared. One that
    keeps less than half of its bytes was a near copy and is dropped whole.

    Returns:
        The cleaned documents with their tokens, and the number of bytes removed.
    """
    windows = [run_hashes(tokenizer.encode(document.text)) for document in validation]
    seen = np.unique(np.concatenate(windows)) if windows else np.empty(0, dtype=np.uint64)
    kept, removed = [], 0
    for document in train:
        text, size = document.text, len(document.text.encode())
        tokens = tokenizer.encode(text)
        while (shared := shared_tokens(tokens, seen)).any():
            text = _without_lines(text, tokenizer.byte_lengths[tokens], shared)
            tokens = tokenizer.encode(text)
        left = len(text.encode())
        is_kept = 2 * left >= size
        removed += size - left if is_kept else size
        if is_kept:
            kept.append((Document(document.name, text), tokens))
    return kept, removed


def _without_lines(text: str, lengths: np.ndarray, shared: np.ndarray) -> str:
    """The text without every line that a shared token touches."""
    lines = text.encode().splitlines(keepends=True)
    ends = np.cumsum([len(line) for line in lines])
    stop = np.cumsum(lengths)
    start = stop - lengths
    first = np.searchsorted(ends, start[shared], side="right")
    last = np.searchsorted(ends, stop[shared] - 1, side="right")
    drop = set(first.tolist()) | set(last.tolist())
    return b"".join(line for index, line in enumerate(lines) if index not in drop).decode()
