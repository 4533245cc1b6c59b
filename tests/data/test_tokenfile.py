"""A corpus is on disk whole and as described, or it is an error."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from longctx.data import Corpus, CorpusError
from longctx.data.corpus import cached
from longctx.data.tokenfile import open_corpus, write_corpus

DOCUMENTS = [
    ("train", "a", np.array([5, 6, 7], dtype=np.uint16)),
    ("validation", "b", np.array([8], dtype=np.uint16)),
    ("train", "c", np.array([65_535, 9, 9, 9, 9], dtype=np.uint16)),
]


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return write_corpus(tmp_path / "tiny", DOCUMENTS, end=0, about={"name": "tiny"})


def test_documents_come_back_closed_and_in_order(corpus: Corpus):
    assert corpus.train.tokens.tolist() == [5, 6, 7, 0, 65_535, 9, 9, 9, 9, 0]
    assert corpus.validation.tokens.tolist() == [8, 0]
    assert [(span.name, span.start, span.stop) for span in corpus.train.documents] == [
        ("a", 0, 4),
        ("c", 4, 10),
    ]
    assert isinstance(corpus.train.tokens, np.memmap)
    corpus.verify()


def test_a_long_stream_holds_only_long_documents(corpus: Corpus):
    assert corpus.train.long_stream(5).tolist() == [65_535, 9, 9, 9, 9, 0]
    assert corpus.train.long_stream(4).tolist() == corpus.train.tokens.tolist()
    with pytest.raises(ValueError, match="given 7, the longest document has 6"):
        corpus.train.long_stream(7)


def test_the_digest_follows_content_not_place(corpus: Corpus, tmp_path: Path):
    again = write_corpus(tmp_path / "again", DOCUMENTS, end=0, about={"name": "tiny"})
    other = write_corpus(tmp_path / "other", DOCUMENTS, end=1, about={"name": "tiny"})
    assert again.digest == corpus.digest != other.digest


def test_a_file_of_the_wrong_size_is_found_on_opening(corpus: Corpus):
    with (corpus.path / "train.bin").open("ab") as file:
        file.write(b"\0\0")
    with pytest.raises(CorpusError, match="holds 11 tokens, its manifest says 10"):
        open_corpus(corpus.path)


def test_a_flipped_bit_is_found_on_verifying(corpus: Corpus):
    path = corpus.path / "validation.bin"
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=r"validation\.bin: does not match"):
        open_corpus(corpus.path).verify()


@pytest.mark.parametrize("damage", ["", "{", '{"format": 1}', '{"format": 99}', "[]"])
def test_a_damaged_manifest_is_named(corpus: Corpus, damage: str):
    (corpus.path / "manifest.json").write_text(damage)
    with pytest.raises(CorpusError, match="tiny"):
        open_corpus(corpus.path)


def test_a_build_that_fails_leaves_nothing(tmp_path: Path):
    def breaking():
        yield DOCUMENTS[0]
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_corpus(tmp_path / "half", breaking(), end=0, about={})
    with pytest.raises(CorpusError, match="validation: no document"):
        write_corpus(tmp_path / "half", DOCUMENTS[:1], end=0, about={})
    assert list(tmp_path.iterdir()) == []


def test_one_builder_builds_and_the_others_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LONGCTX_CACHE", str(tmp_path))
    builds, opened = [], []
    started = threading.Barrier(4)

    def build(folder: Path) -> None:
        builds.append(folder)
        write_corpus(folder, DOCUMENTS, end=0, about={"name": "tiny"})

    def run() -> None:
        started.wait()
        opened.append(cached("tiny", {"name": "tiny"}, build).digest)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(builds) == 1
    assert len(opened) == 4
    assert len(set(opened)) == 1


def test_leftovers_of_a_killed_build_are_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LONGCTX_CACHE", str(tmp_path))

    def killed(folder: Path) -> None:
        leftover = folder.parent / f".{folder.name}-x1"
        leftover.mkdir()
        (leftover / "train.bin").write_bytes(b"\1\0")
        raise KeyboardInterrupt

    def build(folder: Path) -> None:
        write_corpus(folder, DOCUMENTS, end=0, about={"name": "tiny"})

    with pytest.raises(KeyboardInterrupt):
        cached("tiny", {"name": "tiny"}, killed)
    corpus = cached("tiny", {"name": "tiny"}, build)
    assert [path.name for path in corpus.path.parent.iterdir() if path.is_dir()] == [corpus.path.name]
    assert json.loads((corpus.path / "manifest.json").read_text())["name"] == "tiny"
