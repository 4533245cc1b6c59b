from typing import Any

import pytest
from pydantic import BaseModel

from longctx.experiments import DataSpec, ExperimentSpec, parse_spec, replace
from longctx.experiments.spec import canonical, digest
from longctx.training import TrainingSpec


@pytest.fixture
def pinned(spec: ExperimentSpec) -> ExperimentSpec:
    """The spec with digests that do not depend on the text or tokenizer here."""
    data = DataSpec(source="sample", corpus="c" * 16, tokenizer="t" * 64)
    return spec.model_copy(update={"data": data})


def test_keys_do_not_change_between_versions(pinned: ExperimentSpec):
    # If this fails, every committed record has lost its name. Change SCHEMA, or undo what changed the form.
    assert (pinned.training_key, pinned.key) == ("899f79320366c1df", "db296200a9b1e339")


def test_a_field_added_with_a_default_keeps_the_keys(pinned: ExperimentSpec):
    class Later(TrainingSpec):
        schedule: str = "cosine"

    later = Later.model_validate(pinned.training.model_dump())
    assert digest(canonical(later)) == digest(canonical(pinned.training))
    changed = later.model_copy(update={"schedule": "constant"})
    assert digest(canonical(changed)) != digest(canonical(pinned.training))


CHANGES: dict[str, Any] = {
    "model.family": "llama",
    "model.n_layers": 2,
    "model.d_model": 32,
    "model.n_heads": 4,
    "model.n_kv_heads": 1,
    "model.d_ff": 48,
    "model.vocab_size": 4096,
    "model.position": "rope(base=500.0)",
    "model.attention": "sliding_window(window=8)",
    "model.activation": "gelu",
    "model.norm": "rmsnorm",
    "model.norm_eps": 1e-6,
    "model.bias": False,
    "model.tie_embeddings": False,
    "model.init_std": 0.01,
    "data.source": "docs",
    "data.corpus": "d" * 16,
    "data.tokenizer": "u" * 64,
    "training.length": 32,
    "training.batch_size": 8,
    "training.accumulate": 2,
    "training.steps": 7,
    "training.learning_rate": 0.02,
    "training.warmup_steps": 3,
    "training.final_fraction": 0.2,
    "training.weight_decay": 0.0,
    "training.betas": [0.9, 0.99],
    "training.clip": None,
    "training.precision": "bfloat16",
    "training.compile": True,
    "training.threads": 2,
    "training.positions": "shape(max_shift=9)",
    "seed": 1,
    "start": {
        "position": "rope",
        "training": {"length": 8, "batch_size": 2, "steps": 3, "learning_rate": 0.01, "warmup_steps": 0},
    },
}
EVALUATION_CHANGES: dict[str, Any] = {
    "evaluation.lengths": [16],
    "evaluation.protocols": ["sliding"],
    "evaluation.excerpt": 128,
    "evaluation.documents": 3,
    "evaluation.problems": 5,
}


def leaves(model: BaseModel, prefix: str = "") -> set[str]:
    found = set()
    for name in type(model).model_fields:
        value = getattr(model, name)
        found |= leaves(value, f"{prefix}{name}.") if isinstance(value, BaseModel) else {prefix + name}
    return found


def test_the_changes_tried_here_cover_every_field(pinned: ExperimentSpec):
    untried = leaves(pinned) - set(CHANGES) - set(EVALUATION_CHANGES)
    assert untried == {"objective"}, "there is one objective so far"


@pytest.mark.parametrize("path", CHANGES)
def test_what_training_depends_on_changes_both_keys(pinned: ExperimentSpec, path: str):
    changed = replace(pinned, {path: CHANGES[path]})
    assert changed.training_key != pinned.training_key
    assert changed.key != pinned.key


@pytest.mark.parametrize("path", EVALUATION_CHANGES)
def test_what_only_evaluation_depends_on_keeps_the_trained_weights(pinned: ExperimentSpec, path: str):
    changed = replace(pinned, {path: EVALUATION_CHANGES[path]})
    assert changed.training_key == pinned.training_key
    assert changed.key != pinned.key


def test_one_meaning_has_one_key(pinned: ExperimentSpec):
    def key(**changes: Any) -> str:
        return replace(pinned, {name.replace("__", "."): value for name, value in changes.items()}).key

    assert key(model__position={"name": "rope"}) == pinned.key
    assert key(model__position="rope(base=10000)") == pinned.key
    assert key(model__family="gpt", model__d_ff=64, model__n_kv_heads=2) == pinned.key, "as the family says"
    assert key(evaluation__lengths=(32, 16, 32)) == pinned.key, "a set of lengths"
    assert key(training__learning_rate=1e-2) == pinned.key


def test_a_spec_survives_its_canonical_form(pinned: ExperimentSpec):
    assert parse_spec(canonical(pinned)) == pinned


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("training.steps", -1, r"training\.steps: .*greater than or equal to 0 \(given -1\)"),
        ("training.step", 5, r"training\.step: no such field; there are length, .*steps"),
        ("model.position", "ropee", r"model\.position: unknown position encoding 'ropee'; known: .*rope"),
        ("model.n_heads", 3, r"d_model=16 must be a multiple of n_heads=3"),
        ("evaluation.lengths", [128], r"lengths must be at most excerpt=64.* got 128"),
        ("evaluation.lengths", [-1], r"evaluation\.lengths\.0: .*greater than 0 \(given -1\)"),
        ("evaluation.lengths", [], r"evaluation\.lengths: .*at least 1"),
        ("seed", -1, r"seed: .*greater than or equal to 0 \(given -1\)"),
        ("seed.x", 1, r"seed has no fields|seed: "),
    ],
)
def test_a_wrong_field_is_refused_with_what_was_given_and_what_is_valid(
    pinned: ExperimentSpec, path: str, value: Any, message: str
):
    with pytest.raises(ValueError, match=message):
        replace(pinned, {"seed": 0, path: value})
