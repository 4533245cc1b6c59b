"""Byte-level byte-pair encoding (Sennrich et al. 2016; bytes as in Radford et al. 2019), 2,048 tokens.

Any text encodes, and decodes to itself. Special tokens have ids but no spelling: ``<|end|>`` in a text is
seven ordinary characters, never the end of a document.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from jaxtyping import UInt16
from tokenizers import Tokenizer as Engine
from tokenizers import decoders, models, pre_tokenizers, trainers

END, PAD, CLS, SEP, MASK = "<|end|>", "<|pad|>", "<|cls|>", "<|sep|>", "<|mask|>"
N_SENTINELS = 32
SENTINELS = tuple(f"<|extra_{i}|>" for i in range(N_SENTINELS))
SPECIAL_TOKENS = (END, PAD, CLS, SEP, MASK, *SENTINELS)
VOCAB_SIZE = 2048


class Tokenizer:
    """Text to token ids and back.

    Args:
        definition: the ``tokenizers`` JSON as text, whose vocabulary starts with ``SPECIAL_TOKENS``.

    Raises:
        ValueError: the definition is no byte-level BPE with these special tokens.
    """

    def __init__(self, definition: str) -> None:
        parsed = json.loads(definition)
        vocabulary: dict[str, int] = parsed["model"]["vocab"]
        if parsed.get("added_tokens"):
            raise ValueError(
                "added_tokens: given some, must be empty, else ordinary text could spell a special token"
            )
        for expected, token in enumerate(SPECIAL_TOKENS):
            if vocabulary.get(token) != expected:
                raise ValueError(f"vocab: {token!r} has id {vocabulary.get(token)}, must have {expected}")
        self._definition = definition
        self._engine = Engine.from_str(definition)
        self._spelling = _spellings(vocabulary)

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Read a definition from a file."""
        return cls(Path(path).read_text(encoding="utf-8"))

    @classmethod
    @lru_cache(maxsize=1)
    def default(cls) -> Tokenizer:
        """The committed tokenizer, trained on the training split of the ``docs`` corpus."""
        committed = files("longctx.data").joinpath(f"tokenizer-{VOCAB_SIZE}.json")
        return cls(committed.read_text(encoding="utf-8"))

    @cached_property
    def sha256(self) -> str:
        """Hex digest of the definition: what a spec records."""
        return hashlib.sha256(self._definition.encode()).hexdigest()

    @property
    def vocab_size(self) -> int:
        """Number of ids, the special tokens among them."""
        return len(self._spelling)

    @property
    def definition(self) -> str:
        """The JSON that ``Tokenizer`` was made from."""
        return self._definition

    def special(self, token: str) -> int:
        """The id of a special token.

        Raises:
            ValueError: unknown name.
        """
        if token not in SPECIAL_TOKENS:
            raise ValueError(f"token: given {token!r}, valid are {', '.join(SPECIAL_TOKENS)}")
        return SPECIAL_TOKENS.index(token)

    @property
    def end(self) -> int:
        """The id that closes every document."""
        return self.special(END)

    def encode(self, text: str) -> UInt16[np.ndarray, " tokens"]:
        """Token ids of a text; ordinary text never gives a special token.

        Raises:
            ValueError: the text holds a lone surrogate, which no UTF-8 has.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"text: {error.reason} at character {error.start}, must be valid Unicode"
            ) from error
        # The fast path keeps no offsets, which nobody here reads.
        (encoding,) = self._engine.encode_batch_fast([text], add_special_tokens=False)
        return np.asarray(encoding.ids, dtype=np.uint16)

    def decode(self, tokens: Sequence[int] | np.ndarray, *, skip_special: bool = False) -> str:
        """The text of token ids; special tokens appear by name, or not at all.

        Bytes that a cut left incomplete become U+FFFD.

        Raises:
            ValueError: an id outside ``0 … vocab_size - 1``.
        """
        return self.decode_bytes(tokens, skip_special=skip_special).decode("utf-8", errors="replace")

    def decode_bytes(self, tokens: Sequence[int] | np.ndarray, *, skip_special: bool = False) -> bytes:
        """Like ``decode``, before UTF-8 is read."""
        ids = [int(token) for token in tokens]
        for token in ids:
            if not 0 <= token < self.vocab_size:
                raise ValueError(f"tokens: given id {token}, valid are 0 … {self.vocab_size - 1}")
        first = len(SPECIAL_TOKENS) if skip_special else 0
        return b"".join(self._spelling[token] for token in ids if token >= first)

    @cached_property
    def byte_lengths(self) -> np.ndarray:
        """Bytes each id stands for, shape (vocab_size,), with 0 for special tokens."""
        n = len(SPECIAL_TOKENS)
        return np.array([0] * n + [len(spelling) for spelling in self._spelling[n:]], dtype=np.int64)


def _spellings(vocabulary: dict[str, int]) -> list[bytes]:
    """Bytes of every id: special tokens by name, the rest through the byte-level alphabet."""
    byte_of = {char: byte for byte, char in _byte_alphabet().items()}
    spelling = [b""] * len(vocabulary)
    for token, index in vocabulary.items():
        special = index < len(SPECIAL_TOKENS)
        spelling[index] = token.encode() if special else bytes(byte_of[char] for char in token)
    return spelling


def _byte_alphabet() -> dict[int, str]:
    """One printable character for each byte (Radford et al. 2019, ``bytes_to_unicode``)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(rest)}


def train_tokenizer(texts: Iterable[str], *, vocab_size: int = VOCAB_SIZE) -> Tokenizer:
    """Learn byte-pair merges; the same texts give the same JSON.

    Args:
        texts: the training split, a document each.
        vocab_size: number of ids, special tokens and the 256 bytes included.

    Raises:
        ValueError: ``vocab_size`` leaves no room for special tokens and bytes.
    """
    least = len(SPECIAL_TOKENS) + 256
    if vocab_size < least or vocab_size > 2**16:
        raise ValueError(f"vocab_size: given {vocab_size}, valid are {least} … {2**16}")
    engine = Engine(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    engine.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    engine.train_from_iterator(texts, trainer)
    definition = json.loads(engine.to_str())
    # Registered as added tokens they would be matched inside ordinary text.
    definition["added_tokens"] = []
    return Tokenizer(json.dumps(definition, ensure_ascii=False, indent=1) + "\n")
