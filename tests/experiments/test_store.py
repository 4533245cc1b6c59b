import json
import multiprocessing
from pathlib import Path

import pytest

from longctx.evaluation import LengthResult
from longctx.experiments import DamagedRecordError, Evaluation, ExperimentSpec, Store, Training, replace
from longctx.experiments.record import Provenance
from longctx.experiments.spec import digest


def provenance() -> Provenance:
    return Provenance(
        started="2026-01-02T03:04:05Z", wall_seconds=1.0, machine="m", threads=1, versions={}, commit=None
    )


def training(loss: float = 2.0) -> Training:
    return Training(
        losses=(3.0, loss),
        n_parameters=7,
        tokens_per_second=10.0,
        peak_megabytes=1.0,
        provenance=provenance(),
    )


def evaluation(spec: ExperimentSpec, length: int, loss: float = 1.0, protocol: str = "sliding") -> Evaluation:
    result = LengthResult(
        length=length, protocol=protocol, loss=loss, targets=4, edges=(length,), loss_by_position=(loss,)
    )
    return Evaluation(
        excerpt=spec.evaluation.excerpt,
        documents=spec.evaluation.documents,
        result=result,
        provenance=provenance(),
    )


@pytest.fixture
def sliding(spec: ExperimentSpec) -> ExperimentSpec:
    return replace(spec, {"evaluation.protocols": ["sliding"]})


def test_a_record_comes_back_as_it_was_put(sliding: ExperimentSpec, store: Store):
    evaluations = [evaluation(sliding, 16, 1 / 3), evaluation(sliding, 32, 0.1)]
    store.put(sliding, training(2 / 3), evaluations)
    record = store.get(sliding)
    assert record is not None
    assert record.training == training(2 / 3)
    assert record.evaluations == tuple(evaluations)
    assert record.at(16, "sliding").loss == 1 / 3
    with pytest.raises(
        KeyError, match="no evaluation at 64 sliding; this record holds 16 sliding, 32 sliding"
    ):
        record.at(64, "sliding")


def test_a_record_without_one_of_its_lengths_is_missing(sliding: ExperimentSpec, store: Store):
    store.put(sliding, training(), [evaluation(sliding, 16)])
    assert store.get(sliding) is None
    assert store.missing(sliding) == [(32, "sliding")]


def test_evaluations_of_other_text_do_not_count(sliding: ExperimentSpec, store: Store):
    other = replace(sliding, {"evaluation.documents": 1})
    store.put(sliding, training(), [evaluation(other, 16), evaluation(other, 32)])
    assert store.get(other) is not None
    assert store.get(sliding) is None


def test_what_was_there_stays(sliding: ExperimentSpec, store: Store):
    store.put(sliding, training(2.0), [evaluation(sliding, 16)])
    store.put(sliding, training(9.0), [evaluation(sliding, 32)])
    record = store.get(sliding)
    assert record is not None
    assert record.training.losses[-1] == 2.0


def test_layers_are_merged_and_only_the_first_is_written(tmp_path: Path, sliding: ExperimentSpec):
    committed = Store(tmp_path / "committed")
    committed.put(sliding, training(2.0), [evaluation(sliding, 16, loss=5.0)])
    before = (tmp_path / "committed" / f"{sliding.training_key}.json").read_bytes()
    both = Store(tmp_path / "mine", tmp_path / "committed")
    both.put(sliding, training(9.0), [evaluation(sliding, 16, loss=7.0), evaluation(sliding, 32, loss=7.0)])
    record = both.get(sliding)
    assert record is not None
    assert record.training.losses[-1] == 2.0, "the committed training is the one that is shown"
    assert [e.result.loss for e in record.evaluations] == [5.0, 7.0], "committed evaluations win"
    assert (tmp_path / "committed" / f"{sliding.training_key}.json").read_bytes() == before


def corrupt(content: str) -> str:
    return content.replace('"loss": 1.0', '"loss": 0.9')


def other_schema(content: str) -> str:
    return json.dumps({**json.loads(content), "schema": 0})


def other_run(content: str) -> str:
    fields = json.loads(content)
    fields["run"]["training_key"] = "0" * 16
    return json.dumps({**fields, "digest": digest(fields["run"])})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[: len(content) // 2], "cannot be read"),
        (lambda content: "", "cannot be read"),
        (lambda content: "[1]", "not a JSON object"),
        (corrupt, "was altered after it was written"),
        (other_schema, "has schema 0, this version reads 1"),
        (other_run, "holds run 0000000000000000; files are named by their run"),
    ],
)
def test_a_damaged_record_is_an_error_that_names_its_file(
    sliding: ExperimentSpec, store: Store, damage: object, message: str
):
    store.put(sliding, training(), [evaluation(sliding, 16), evaluation(sliding, 32)])
    path = store.layers[0] / f"{sliding.training_key}.json"
    content = path.read_text()
    assert damage(content) != content
    path.write_text(damage(content))
    with pytest.raises(DamagedRecordError, match=message) as caught:
        store.get(sliding)
    assert str(path) in str(caught.value)


def put_one(folder: Path, spec: ExperimentSpec, length: int) -> None:
    Store(folder).put(spec, training(), [evaluation(spec, length)])


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path, sliding: ExperimentSpec):
    lengths = list(range(1, 25))
    asked = replace(sliding, {"evaluation.lengths": lengths})
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=put_one, args=(tmp_path, asked, length)) for length in lengths]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0] * len(lengths)
    assert Store(tmp_path).missing(asked) == []


def test_records_of_another_schema_or_text_are_stale_and_not_used(sliding: ExperimentSpec, store: Store):
    older = replace(sliding, {"data.corpus": "of an older text"})
    store.put(older, training(), [evaluation(sliding, 16), evaluation(sliding, 32)])
    changed = store.layers[0] / "ffffffffffffffff.json"
    changed.write_text(other_schema((store.layers[0] / f"{older.training_key}.json").read_text()))
    assert store.get(sliding) is None
    assert dict(store.stale([sliding])) == {
        store.layers[0] / f"{older.training_key}.json": "other text or tokenizer",
        changed: "schema 0",
    }
    assert store.stale([replace(sliding, {"seed": 5})]) == []


def test_a_store_needs_a_folder():
    with pytest.raises(ValueError, match="at least one folder"):
        Store()
