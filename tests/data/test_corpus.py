"""The built-in corpora are the pinned ones, and share no text between their splits."""

import os
import time

import numpy as np
import pytest

from longctx.data import (
    SOURCES,
    Corpus,
    CorpusError,
    Tokenizer,
    corpus_digest,
    load_corpus,
    open_source,
    train_tokenizer,
)
from longctx.data.corpus import EXPECTED
from longctx.data.documents import drop_copies, extract_documents
from longctx.data.fetch import fetch_archives
from longctx.data.split import RUN, split_documents


@pytest.fixture(scope="module", params=["sample", "docs"])
def corpus(request: pytest.FixtureRequest) -> Corpus:
    try:
        return load_corpus(request.param)
    except CorpusError as error:
        if os.environ.get("CI") or "pip" not in str(error):
            raise
        pytest.skip(f"the text cannot be fetched here: {error}")


def test_the_corpus_is_the_pinned_one(corpus: Corpus):
    assert corpus.digest == EXPECTED[corpus.manifest["name"]]
    assert corpus.manifest["tokenizer"] == Tokenizer.default().sha256
    corpus.verify()


def test_no_run_of_fifty_tokens_is_in_both_splits(corpus: Corpus):
    width = 2 * RUN
    validation = corpus.validation.tokens.tobytes()
    held_out = {validation[at : at + width] for at in range(0, len(validation) - width + 1, 2)}
    train = corpus.train.tokens.tobytes()
    shared = sum(train[at : at + width] in held_out for at in range(0, len(train) - width + 1, 2))
    assert shared == 0


def test_no_document_is_in_both_splits(corpus: Corpus):
    train, validation = ({span.name for span in side.documents} for side in (corpus.train, corpus.validation))
    assert train.isdisjoint(validation)
    assert len(train) == len(corpus.train.documents)


def test_documents_tile_their_split_and_end_once(corpus: Corpus):
    end = Tokenizer.default().end
    for side in (corpus.train, corpus.validation):
        stops = [span.stop for span in side.documents]
        assert [span.start for span in side.documents] == [0, *stops[:-1]]
        assert np.flatnonzero(side.tokens == end).tolist() == [stop - 1 for stop in stops]


def test_a_warm_corpus_opens_at_once(corpus: Corpus):
    started = time.process_time()
    load_corpus(corpus.manifest["name"])
    assert time.process_time() - started < 0.2


def test_validation_has_enough_long_documents():
    try:
        validation = load_corpus("docs").validation
    except CorpusError as error:
        pytest.skip(str(error))
    assert len(validation.long_stream(8192)) >= 100_000
    assert sum(len(span) >= 4097 for span in validation.documents) >= 8


def test_the_committed_tokenizer_is_learned_from_the_training_split():
    try:
        archives = fetch_archives(SOURCES)
    except CorpusError as error:
        pytest.skip(str(error))
    pairs = zip(SOURCES, archives, strict=True)
    documents = drop_copies(d for source, archive in pairs for d in extract_documents(archive, source))
    train, _ = split_documents(documents)
    assert train_tokenizer(document.text for document in train).sha256 == Tokenizer.default().sha256


def test_sources_are_opened_by_name_and_their_digests_known(corpus: Corpus):
    name = corpus.manifest["name"]
    assert open_source(name).path == corpus.path
    assert corpus_digest(name) == corpus.digest


@pytest.mark.parametrize("source", ["books", "docs:x", "hub:", "hub", ""])
def test_an_unknown_source_names_the_valid_ones(source: str):
    for ask in (open_source, corpus_digest):
        with pytest.raises(ValueError, match=r"valid are docs, sample, hub:NAME"):
            ask(source)


def test_an_altered_corpus_is_refused(corpus: Corpus, tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(EXPECTED, corpus.manifest["name"], "0" * 64)
    with pytest.raises(CorpusError, match=f"digest {corpus.digest}, expected 0000"):
        load_corpus(corpus.manifest["name"])


def test_another_tokenizer_makes_another_corpus(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LONGCTX_CACHE", str(tmp_path))
    bytes_only = train_tokenizer([], vocab_size=293)
    corpus = load_corpus("sample", bytes_only)
    assert corpus.digest != EXPECTED["sample"]
    assert len(corpus.train.tokens) > 2 * len(bytes_only.encode("x")) * 316_573
