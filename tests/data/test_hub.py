"""Hub data sets are read by ``datasets``, here from a folder that the test writes."""

import sys
from pathlib import Path

import pytest

from longctx.data import Corpus, CorpusError, Tokenizer, load_hub, open_source

datasets = pytest.importorskip("datasets")

TEXTS = [f"Document {index} tells of {index * index} things.\n" * 3 for index in range(40)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LONGCTX_CACHE", str(tmp_path / "cache"))
    _save(tmp_path / "rows", TEXTS)
    return tmp_path / "rows"


def _save(folder: Path, texts: list[str]) -> None:
    rows = datasets.Dataset.from_dict({"text": texts, "year": list(range(len(texts)))})
    datasets.DatasetDict({"train": rows, "test": rows.select(range(10))}).save_to_disk(folder)


def _texts(corpus: Corpus) -> dict[str, str]:
    tokenizer = Tokenizer.default()
    return {
        span.name: tokenizer.decode(side.tokens[span.start : span.stop - 1])
        for side in (corpus.train, corpus.validation)
        for span in side.documents
    }


def test_every_text_is_on_exactly_one_side(folder: Path):
    corpus = load_hub(str(folder), validation_share=0.3)
    assert _texts(corpus) == {f"row-{index}": text for index, text in enumerate(TEXTS)}
    assert 3 <= len(corpus.validation.documents) <= 21


def test_equal_texts_lie_on_one_side(folder: Path):
    _save(folder, TEXTS * 2)
    corpus = load_hub(str(folder), validation_share=0.5)
    train, validation = (
        {_texts(corpus)[span.name] for span in side.documents} for side in (corpus.train, corpus.validation)
    )
    assert train.isdisjoint(validation)


def test_a_spec_names_options_in_its_source(folder: Path):
    opened = open_source(f"hub:{folder}?split=test&validation_share=0.3")
    assert len(opened.train.documents) + len(opened.validation.documents) == 10
    limited = open_source(f"hub:{folder}?validation_share=0.5&max_tokens=500")
    total = len(limited.train.tokens) + len(limited.validation.tokens)
    assert 500 <= total < 600


def test_changed_rows_make_another_corpus(folder: Path):
    before = load_hub(str(folder), validation_share=0.3)
    assert load_hub(str(folder), validation_share=0.3).digest == before.digest
    _save(folder, [*TEXTS[:-1], "changed"])
    assert load_hub(str(folder), validation_share=0.3).digest != before.digest


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("?text_column=body", "given 'body', the data set has text, year"),
        ("?text_column=year", "'year' holds int, must hold text"),
        ("?split=dev", "given 'dev'.*has train, test"),
        ("?max_tokens=many", "max_tokens given 'many', must be int"),
        ("?max_tokens=0", "max_tokens: given 0"),
        ("?validation_share=1", "must be between 0 and 1"),
        ("?subset=x", "given 'subset', valid are config"),
    ],
)
def test_wrong_options_are_named(folder: Path, query: str, reason: str):
    with pytest.raises(ValueError, match=reason):
        open_source(f"hub:{folder}{query}")


def test_a_folder_that_is_no_data_set_is_named(folder: Path, tmp_path: Path):
    with pytest.raises(CorpusError, match="is no data set written by save_to_disk"):
        load_hub(str(tmp_path))


def test_a_missing_package_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(CorpusError, match="pip install datasets"):
        load_hub(str(folder))


def test_a_data_set_that_cannot_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(CorpusError, match=r"hub:deepmind/pg19: .*ConnectionError: no route.*save_to_disk"):
        load_hub("deepmind/pg19")


def test_a_named_data_set_is_streamed(folder: Path, monkeypatch: pytest.MonkeyPatch):
    asked = {}

    def stream(name: str, config: str | None, **options: object) -> object:
        asked.update(options, name=name, config=config)
        return datasets.Dataset.from_dict({"content": TEXTS}).to_iterable_dataset()

    monkeypatch.setattr(datasets, "load_dataset", stream)
    corpus = open_source("hub:owner/name?config=small&text_column=content&validation_share=0.3&revision=abc")
    assert asked == {
        "name": "owner/name",
        "config": "small",
        "split": "train",
        "revision": "abc",
        "streaming": True,
    }
    assert sorted(_texts(corpus).values()) == sorted(TEXTS)
