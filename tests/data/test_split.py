"""No text is on both sides; every project and the long documents are on each."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from longctx.data import Tokenizer
from longctx.data.documents import Document
from longctx.data.split import RUN, remove_shared, run_hashes, shared_tokens, split_documents

ids = st.lists(st.integers(0, 3), max_size=60).map(lambda values: np.array(values, dtype=np.uint16))


def _windows(tokens: np.ndarray, run: int) -> list[bytes]:
    return [tokens[start : start + run].tobytes() for start in range(len(tokens) - run + 1)]


@given(ids, st.integers(1, 13))
def test_windows_hash_alike_exactly_when_they_are_equal(tokens: np.ndarray, run: int):
    windows, hashes = _windows(tokens, run), run_hashes(tokens, run).tolist()
    assert len(hashes) == len(windows)
    assert len(set(hashes)) == len(set(windows)) == len(set(zip(hashes, windows, strict=True)))


@given(ids, ids, st.integers(1, 6))
def test_shared_tokens_are_those_a_search_finds(tokens: np.ndarray, other: np.ndarray, run: int):
    expected = np.zeros(len(tokens), dtype=bool)
    for start, window in enumerate(_windows(tokens, run)):
        if window in _windows(other, run):
            expected[start : start + run] = True
    found = shared_tokens(tokens, np.unique(run_hashes(other, run)), run)
    np.testing.assert_array_equal(found, expected)


def _text(seed: int, lines: int) -> str:
    generator = np.random.default_rng(seed)
    words = ["".join(map(chr, generator.integers(97, 123, size=6))) for _ in range(lines * 8)]
    return "".join(" ".join(words[8 * line : 8 * line + 8]) + "\n" for line in range(lines))


def test_shared_lines_leave_training_and_nothing_else_does():
    passage, near_copy = _text(1, 6), _text(2, 20)
    train = [
        Document("mixed", _text(3, 20) + passage + _text(4, 20)),
        Document("clean", _text(5, 20)),
        Document("copy", near_copy),
    ]
    validation = [
        Document("v", _text(6, 3) + passage + _text(7, 3)),
        Document("w", "New title\n" + near_copy),
    ]
    tokenizer = Tokenizer.default()
    kept, removed = remove_shared(train, validation, tokenizer)
    assert [document.name for document, _ in kept] == ["mixed", "clean"]
    assert kept[1][0].text == train[1].text
    # A line at either edge may share its first or last token, and goes too.
    mixed = kept[0][0].text
    assert passage.splitlines()[2] not in mixed
    assert set(train[0].text.splitlines()) - set(mixed.splitlines()) >= set(passage.splitlines()[1:-1])
    assert len(mixed.splitlines()) >= 38
    assert removed == len(near_copy) + len(train[0].text) - len(mixed)

    held_out = {
        window for document in validation for window in _windows(tokenizer.encode(document.text), RUN)
    }
    for document, tokens in kept:
        np.testing.assert_array_equal(tokens, tokenizer.encode(document.text))
        assert held_out.isdisjoint(_windows(tokens, RUN))


def test_every_project_gives_long_and_short_documents_to_validation():
    documents = [
        Document(f"{project}/{size}-{index}", f"{index} " * (size // 4))
        for project in "ab"
        for size in (400, 200_000)
        for index in range(40)
    ]
    train, validation = split_documents(documents)
    assert sorted(train + validation, key=lambda d: d.name) == sorted(documents, key=lambda d: d.name)
    for project in "ab":
        for size in (400, 200_000):
            share = sum(d.name.startswith(f"{project}/{size}-") for d in validation) / 40
            assert 0.025 <= share <= 0.1


def test_the_split_depends_on_no_order():
    documents = [Document(f"p/{index}", "text " * (20 + index)) for index in range(100)]
    _, validation = split_documents(documents)
    _, reversed_validation = split_documents(documents[::-1])
    assert {d.name for d in validation} == {d.name for d in reversed_validation}
