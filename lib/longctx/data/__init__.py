"""Text as tokens: pinned corpora, a byte-level tokenizer, memory-mapped token files, reproducible batches."""

from longctx.data.batches import batch
from longctx.data.corpus import load_corpus
from longctx.data.sources import CorpusError
from longctx.data.tokenfile import Corpus, Span, Split
from longctx.data.tokenizer import Tokenizer, default_tokenizer, train_tokenizer

__all__ = [
    "Corpus",
    "CorpusError",
    "Span",
    "Split",
    "Tokenizer",
    "batch",
    "default_tokenizer",
    "load_corpus",
    "train_tokenizer",
]
