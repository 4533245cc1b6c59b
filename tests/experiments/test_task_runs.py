"""Runs whose material is a task."""

from typing import Any

import pytest

from longctx.data.tasks import build_task
from longctx.evaluation import evaluate_task
from longctx.experiments import ExperimentSpec, Store, ensure, parse_spec, replace, trained_model
from longctx.experiments.progress import name_of
from longctx.experiments.spec import canonical
from longctx.experiments.verify import verify
from longctx.model import ModelConfig, build_model


@pytest.fixture
def copying() -> ExperimentSpec:
    return parse_spec(
        {
            "model": {"n_layers": 1, "d_model": 32, "n_heads": 2, "vocab_size": 8, "position": "alibi"},
            "data": {"source": "task:copy(symbols=4)"},
            "training": {
                "length": 8,
                "batch_size": 32,
                "steps": 60,
                "learning_rate": 0.01,
                "warmup_steps": 5,
            },
            "evaluation": {"lengths": [4, 8, 16], "protocols": ["problems"], "problems": 50},
        }
    )


def test_a_task_is_learned_and_tested_on_problems(copying: ExperimentSpec, store: Store):
    (record,) = ensure([copying], store=store, progress=False)
    assert record.training.losses[-1] < record.training.losses[0]
    result = record.solved(8)
    assert (result.targets, result.length) == (50 * 4, 8)
    assert result == evaluate_task(
        trained_model(copying, store), build_task("copy(symbols=4)"), length=8, problems=50
    )
    with pytest.raises(KeyError, match="this record holds 4 problems, 8 problems, 16 problems"):
        record.at(8)


def test_the_name_of_a_run_says_what_it_learns(copying: ExperimentSpec):
    assert name_of(copying) == "copy(symbols=4): alibi × full, L=8, seed 0"


def test_accuracy_is_counted_as_by_hand():
    config = ModelConfig(n_layers=1, d_model=16, n_heads=2, vocab_size=31, position="rope")
    model = build_model(config, seed=0)
    task = build_task("reverse")
    result = evaluate_task(model, task, length=6, problems=40)
    batch = task.batch(length=6, batch_size=40, names=(20_177, 0, 2, 0), hardest=True)
    assert batch.targets[:, 3:].min() >= 0, "three tokens are asked for"
    right = (model(batch.inputs).argmax(-1) == batch.targets)[:, 3:]
    assert result.accuracy == pytest.approx(right.float().mean().item())
    assert result.solved == pytest.approx(right.all(1).float().mean().item())
    # reversing three tokens, the evidence is 1, 3 and 5 tokens back
    by_distance = dict(zip(result.edges, result.accuracy_by_distance, strict=True))
    assert len(by_distance) == 3
    assert list(by_distance.values()) == pytest.approx(right.float().mean(0).tolist())


def test_more_problems_are_set_without_training(
    copying: ExperimentSpec, store: Store, monkeypatch: pytest.MonkeyPatch
):
    ensure([copying], store=store, progress=False)
    monkeypatch.setattr("longctx.training.loop.Stepper.step", lambda *_: pytest.fail("trained again"))
    (record,) = ensure([replace(copying, {"evaluation.problems": 60})], store=store, progress=False)
    assert record.solved(4).targets == 60 * 2


def test_a_run_on_a_task_is_verified(copying: ExperimentSpec, store: Store):
    ensure([copying], store=store, progress=False)
    run = store.run(copying.training_key)
    assert run is not None
    verdict = verify(run, progress=False)
    assert verdict.bit_identical


def test_a_task_has_one_name_and_no_text(copying: ExperimentSpec):
    assert parse_spec(canonical(copying)) == copying
    assert replace(copying, {"data.source": "task:copy( symbols = 4 )"}).key == copying.key
    assert (copying.data.corpus, copying.data.tokenizer) == ("tasks 1", "none")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.source": "task:sum"}, "data.source: unknown task 'sum'; known: addition"),
        ({"data.source": "task:copy(symbol=3)"}, "Its parameters: symbols"),
        ({"evaluation.protocols": ["sliding"]}, r"evaluation.protocols: must be \[problems\]"),
        ({"data.source": "sample"}, "evaluation.protocols: must be of non_overlapping, sliding"),
        ({"model.vocab_size": 4}, "model.vocab_size: copy.* has 5 tokens, given 4"),
        ({"evaluation.lengths": [1, 8]}, "no problem of copy.* fits 1 tokens"),
    ],
)
def test_what_does_not_fit_is_refused(copying: ExperimentSpec, changes: dict[str, Any], message: str):
    if "data.source" in changes and not changes["data.source"].startswith("task:"):
        changes = {**changes, "data": {"source": changes["data.source"]}}
        del changes["data.source"]
    with pytest.raises(ValueError, match=message):
        replace(copying, changes)
