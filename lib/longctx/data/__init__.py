"""Text as tokens: pinned corpora, a byte-level tokenizer, memory-mapped token files, reproducible batches."""

from longctx.data.batches import batch
from longctx.data.corpus import corpus_digest, load_corpus, open_source
from longctx.data.fetch import cache_folder
from longctx.data.hub import load_hub
from longctx.data.sources import SOURCES, CorpusError, Source
from longctx.data.tokenfile import Corpus, Span, Split
from longctx.data.tokenizer import SPECIAL_TOKENS, Tokenizer, train_tokenizer

__all__ = [
    "SOURCES",
    "SPECIAL_TOKENS",
    "Corpus",
    "CorpusError",
    "Source",
    "Span",
    "Split",
    "Tokenizer",
    "batch",
    "cache_folder",
    "corpus_digest",
    "load_corpus",
    "load_hub",
    "open_source",
    "train_tokenizer",
]
