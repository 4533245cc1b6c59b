"""Any text survives; no text spells a special token; training is reproducible."""

import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Engine

from longctx.data import SPECIAL_TOKENS, Tokenizer, train_tokenizer
from longctx.data.tokenizer import VOCAB_SIZE

N_SPECIAL = len(SPECIAL_TOKENS)
any_text = st.text(st.characters(exclude_categories=["Cs"]))
ENGINE = Engine.from_str(Tokenizer.default().definition)
spelled = st.lists(st.one_of(any_text, st.sampled_from(SPECIAL_TOKENS))).map("".join)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.default()


@given(spelled)
@example("<|end|> a<|extra_0|>b<|end|>")
@example("\x00\x01\x1b\x7f\x85\u2028\ufeff\r\n\r \t\u00a0 \u3000")
@example("e\u0301 🏳️‍🌈 \U0010ffff ﷺ")
def test_any_text_comes_back_and_spells_no_special_token(text: str):
    tokenizer = Tokenizer.default()
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    assert tokenizer.byte_lengths[tokens].sum() == len(text.encode())
    assert (tokens >= N_SPECIAL).all()


@given(st.lists(st.integers(N_SPECIAL, VOCAB_SIZE - 1)))
def test_decoding_agrees_with_the_library_that_trained_it(tokens: list[int]):
    assert Tokenizer.default().decode(tokens) == ENGINE.decode(tokens)


def test_special_tokens_are_named_or_left_out(tokenizer: Tokenizer):
    tokens = np.concatenate([tokenizer.encode("one"), [tokenizer.end], tokenizer.encode(" two")])
    assert tokenizer.decode(tokens) == "one<|end|> two"
    assert tokenizer.decode(tokens, skip_special=True) == "one two"
    assert [tokenizer.special(token) for token in SPECIAL_TOKENS] == list(range(N_SPECIAL))


def test_a_text_costs_about_three_bytes_a_token(tokenizer: Tokenizer):
    text = (
        "The session begins a transaction when it is first used; see the documentation of the method. " * 20
    )
    assert 2.5 < len(text) / len(tokenizer.encode(text)) < 5


def test_errors_name_what_is_valid(tokenizer: Tokenizer):
    with pytest.raises(ValueError, match="surrogate"):
        tokenizer.encode("a\ud800")
    with pytest.raises(ValueError, match=r"given id 2048, valid are 0 … 2047"):
        tokenizer.decode([VOCAB_SIZE])
    with pytest.raises(ValueError, match=r"given '\[CLS\]', valid are <\|end\|>"):
        tokenizer.special("[CLS]")
    with pytest.raises(ValueError, match=r"given 200, valid are 293 …"):
        train_tokenizer(["text"], vocab_size=200)


def test_training_again_gives_the_same_definition():
    texts = [f"the {word} of the {word}s, again and again {word}" for word in ("river", "letter", "boat")] * 5
    first, second = (train_tokenizer(iter(texts), vocab_size=310) for _ in range(2))
    assert first.definition == second.definition
    assert first.sha256 == second.sha256 != Tokenizer.default().sha256
    assert first.vocab_size == 310
    assert first.decode(first.encode("the river")) == "the river"
    assert len(first.encode("again and again")) < len("again and again")


def test_a_definition_that_could_spell_special_tokens_is_refused(tokenizer: Tokenizer):
    parsed = json.loads(tokenizer.definition)
    parsed["added_tokens"] = [{"id": 0, "content": "<|end|>", "special": True}]
    with pytest.raises(ValueError, match="added_tokens"):
        Tokenizer(json.dumps(parsed))
    parsed["added_tokens"] = []
    parsed["model"]["vocab"]["<|end|>"], parsed["model"]["vocab"]["<|pad|>"] = 1, 0
    with pytest.raises(ValueError, match=r"'<\|end\|>' has id 1, must have 0"):
        Tokenizer(json.dumps(parsed))
