"""Text for larger runs: Hugging Face ``datasets`` by name or from disk, into the same token files.

PG-19 is ``deepmind/pg19``, FineWeb-Edu is ``HuggingFaceFW/fineweb-edu`` with ``config=sample-10BT``. A name
that is a folder holds a data set written by ``save_to_disk``; any other is streamed by ``datasets`` itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from longctx.data.sources import CorpusError
from longctx.data.tokenfile import Corpus, write_corpus
from longctx.data.tokenizer import Tokenizer

OPTIONS = ("config", "split", "text_column", "revision", "validation_share", "max_tokens")


def load_hub(
    name: str,
    *,
    config: str | None = None,
    split: str = "train",
    text_column: str = "text",
    revision: str | None = None,
    validation_share: float = 0.01,
    max_tokens: int = 1_000_000_000,
    tokenizer: Tokenizer | None = None,
) -> Corpus:
    """Open a hub data set as a corpus; tokenise it first if the cache lacks it.

    A document goes to validation by the hash of its text, so equal texts lie on one side. Unlike in ``docs``,
    shared passages are not looked for.

    Args:
        name: of a data set on the hub, or a folder written by ``save_to_disk``.
        config: the data set's configuration.
        split: which of its splits is read.
        text_column: which column holds the text, one document a row.
        revision: commit of the data set; give one for a run that others shall repeat.
        validation_share: of the documents; more than 0, less than 1.
        max_tokens: reading stops after the document that reaches it.
        tokenizer: default the committed one.

    Raises:
        ValueError: an argument outside its range; an unknown split or column.
        CorpusError: ``datasets`` is not installed or cannot read this data set.
    """
    from longctx.data.corpus import cached

    if not 0 < validation_share < 1:
        raise ValueError(f"validation_share: given {validation_share}, must be between 0 and 1")
    if max_tokens < 1:
        raise ValueError(f"max_tokens: given {max_tokens}, must be ≥ 1")
    tokenizer = tokenizer or Tokenizer.default()
    is_folder = Path(name).is_dir()
    rows = _open_folder(name, split) if is_folder else None
    about = {
        "name": f"hub:{Path(name).name if is_folder else name}",
        "config": config,
        "split": split,
        "text_column": text_column,
        # The content of a folder may change under its name.
        "revision": _checksum(rows, text_column) if rows is not None else revision,
        "validation_share": validation_share,
        "max_tokens": max_tokens,
        "tokenizer": tokenizer.sha256,
    }

    def build(folder: Path) -> None:
        read = rows if rows is not None else _stream(name, config, split, revision)
        documents = _documents(read, text_column, validation_share, max_tokens, tokenizer)
        write_corpus(folder, documents, end=tokenizer.end, about=about).verify()

    return cached("hub", about, build)


def open_hub(query: str) -> Corpus:
    """Like ``load_hub``, from the text after ``hub:`` in a spec: ``NAME?option=value&option=value``.

    Raises:
        ValueError: an unknown option or a value of the wrong type.
    """
    name, _, options = query.partition("?")
    given: dict[str, Any] = dict(parse_qsl(options, keep_blank_values=True))
    for option in given:
        if option not in OPTIONS:
            raise ValueError(f"source: option given {option!r}, valid are {', '.join(OPTIONS)}")
    for option, kind in (("validation_share", float), ("max_tokens", int)):
        if option in given:
            try:
                given[option] = kind(given[option])
            except ValueError as error:
                raise ValueError(
                    f"source: {option} given {given[option]!r}, must be {kind.__name__}"
                ) from error
    return load_hub(name, **given)


def _datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise CorpusError("hub sources need the package 'datasets': pip install datasets") from error
    return datasets


def _open_folder(name: str, split: str) -> Iterable[Mapping[str, Any]]:
    """The rows of a data set on disk; a folder with several splits gives the one asked for."""
    try:
        found = _datasets().load_from_disk(name)
    except (OSError, ValueError) as error:
        raise CorpusError(f"{name}: is no data set written by save_to_disk ({error})") from error
    if isinstance(found, dict):
        if split not in found:
            raise ValueError(f"split: given {split!r}, {name} has {', '.join(found)}")
        return found[split]
    return found


def _stream(name: str, config: str | None, split: str, revision: str | None) -> Iterable[Mapping[str, Any]]:
    """The rows of a data set on the hub, as they arrive."""
    try:
        return _datasets().load_dataset(name, config, split=split, revision=revision, streaming=True)
    except Exception as error:  # datasets raises its own, the hub client's and the network's
        raise CorpusError(
            f"hub:{name}: datasets cannot read it ({type(error).__name__}: {error}); check the name and the "
            "network, or give a folder written by save_to_disk"
        ) from error


def _checksum(rows: Iterable[Mapping[str, Any]], column: str) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(hashlib.sha256(_text(row, column).encode()).digest())
    return digest.hexdigest()


def _documents(
    rows: Iterable[Mapping[str, Any]], column: str, share: float, max_tokens: int, tokenizer: Tokenizer
) -> Iterator[tuple[str, str, np.ndarray]]:
    total = 0
    for index, row in zip(count(), rows, strict=False):
        text = _text(row, column)
        if not text:
            continue
        tokens = tokenizer.encode(text)
        drawn = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
        yield ("validation" if drawn < share else "train"), f"row-{index}", tokens
        total += len(tokens) + 1
        if total >= max_tokens:
            return


def _text(row: Mapping[str, Any], column: str) -> str:
    if column not in row:
        raise ValueError(f"text_column: given {column!r}, the data set has {', '.join(row)}")
    if not isinstance(row[column], str):
        raise ValueError(f"text_column: {column!r} holds {type(row[column]).__name__}, must hold text")
    return str(row[column])
