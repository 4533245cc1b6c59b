import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from longctx import list_patterns, list_positions
from longctx.attention import MIXERS
from longctx.cli import app
from longctx.experiments import Store, ensure, parse_spec
from longctx.positions.sampling import SAMPLINGS
from longctx.positions.scaling import SCALINGS

FIELDS: dict[str, Any] = {
    "model": {"n_layers": 1, "d_model": 16, "n_heads": 2, "vocab_size": 2048, "position": "rope"},
    "data": {"source": "sample"},
    "training": {"length": 16, "batch_size": 4, "steps": 4, "learning_rate": 0.01, "warmup_steps": 2},
    "evaluation": {"lengths": [16, 32], "excerpt": 64, "documents": 2},
}
VERBS = ("notebook", "train", "generate", "sweep", "status", "verify", "bench", "list", "info")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGCTX_HOME", str(tmp_path / "home"))


@pytest.fixture
def spec_file(tmp_path: Path) -> str:
    (tmp_path / "run.yaml").write_text(json.dumps(FIELDS))
    return str(tmp_path / "run.yaml")


@pytest.fixture
def experiment(tmp_path: Path) -> str:
    content = {"title": "T", "base": FIELDS, "grid": {"seed": [0, 1]}, "profiles": {"cpu": {}, "smoke": {}}}
    (tmp_path / "mine.yaml").write_text(json.dumps(content))
    return str(tmp_path / "mine.yaml")


def longctx(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return result


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_teaches_by_example(verb: str):
    text = longctx(verb, "--help").stdout
    assert f"longctx {verb}" in text.partition("Example")[2], "help without an example"


def test_help_lists_every_verb():
    text = longctx("--help").stdout
    assert all(verb in text for verb in VERBS)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (
            "positions",
            list_positions() + [entry.name for registry in (SCALINGS, SAMPLINGS) for entry in registry],
        ),
        ("patterns", [*list_patterns(), *(entry.name for entry in MIXERS), "by_layer", "per_head"]),
        ("families", ["gpt", "llama"]),
    ],
)
def test_list_shows_what_is_registered(kind: str, names: list[str]):
    assert [row["name"] for row in json.loads(longctx("list", kind, "--json").stdout)] == names
    table = longctx("list", kind).stdout
    assert all(name in table for name in names)


@pytest.mark.parametrize("kind", ["objectives", "experiments", "notebooks"])
def test_list_gives_tables_and_json(kind: str):
    rows = json.loads(longctx("list", kind, "--json").stdout)
    assert rows
    assert all(row["name"] in longctx("list", kind).stdout for row in rows)


def test_info_names_versions_and_folders(tmp_path: Path):
    facts = json.loads(longctx("info", "--json").stdout)
    assert facts["versions"]["torch"]
    assert str(tmp_path / "home") in facts["home (LONGCTX_HOME)"]
    assert "machine" in longctx("info").stdout


def test_bench_lists_the_benchmarks_and_refuses_others():
    assert "training" in longctx("bench").stdout
    assert "unknown benchmark 'nothing'; there are" in longctx("bench", "nothing", code=2).stderr


def test_train_records_and_generate_continues(spec_file: str, tmp_path: Path):
    record = json.loads(longctx("train", spec_file, "--json").stdout)
    assert len(record["training"]["losses"]) == 4
    key = parse_spec(FIELDS).training_key
    assert key in longctx("train", spec_file).stdout
    text = longctx("generate", key[:6], "The", "--tokens", "3", "--temperature", "0").stdout
    assert text.startswith("The")
    weights = str(tmp_path / "home" / "results" / "checkpoints" / f"{key}.safetensors")
    assert longctx("generate", weights, "The", "--tokens", "3", "--temperature", "0").stdout == text
    assert "no recorded run with a key that begins with 'zz'" in longctx("generate", "zz", "x", code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--set", "training.steps=-1"],
            "training.steps: Input should be greater than or equal to 0 (given -1)",
        ),
        (["--set", "model.position=ropee"], "unknown position encoding 'ropee'; known: "),
        (["--set", "steps=3"], "steps: no such field; there are model, data,"),
        (["--set", "steps"], "--set takes field=value"),
        (["--set", "evaluation.lengths=[-1]"], "evaluation.lengths.0: "),
    ],
)
def test_train_refuses_what_is_wrong_in_one_message(spec_file: str, arguments: list[str], message: str):
    result = longctx("train", spec_file, *arguments, code=2)
    assert message in result.stderr
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("content", ["[1, 2]", "a: [", "model: {}"])
def test_train_refuses_a_file_that_is_no_spec(tmp_path: Path, content: str):
    (tmp_path / "bad.yaml").write_text(content)
    assert longctx("train", str(tmp_path / "bad.yaml"), code=2).stderr.startswith("error: ")
    assert "no file" in longctx("train", str(tmp_path / "none.yaml"), code=2).stderr


def test_a_run_that_fails_exits_with_one(spec_file: str):
    result = longctx("train", spec_file, "--set", "training.learning_rate=1e30", code=1)
    assert "error: the loss is" in result.stderr


def test_status_counts_and_estimates(experiment: str, tmp_path: Path):
    store = str(tmp_path / "records")
    ensure([parse_spec(FIELDS)], store=Store(Path(store)), progress=False)
    state = json.loads(longctx("status", experiment, "--store", store, "--json").stdout)
    assert state["counts"] == {"done": 1, "running": 0, "failed": 0, "damaged": 0, "missing": 1}
    assert state["seconds_left"] > 0
    text = longctx("status", experiment, "--store", store).stdout
    assert "1 done, 1 missing" in text
    assert "left with --jobs 1" in text


def test_a_dry_sweep_names_the_runs_and_starts_none(experiment: str, tmp_path: Path):
    result = longctx("sweep", experiment, "--dry-run", "--store", str(tmp_path / "records"))
    assert len(result.stdout.splitlines()) == 2
    assert not (tmp_path / "records").exists()
    assert "unknown experiment 'nothing'" in longctx("sweep", "nothing", code=2).stderr


def test_verify_compares_and_says_when_there_is_nothing(experiment: str, tmp_path: Path):
    store = str(tmp_path / "records")
    assert "no records to verify" in longctx("verify", "--store", store, code=2).stderr
    ensure([parse_spec(FIELDS)], store=Store(Path(store)), progress=False)
    (verdict,) = json.loads(longctx("verify", "--store", store, "--json").stdout)
    assert verdict["agrees"]
    assert verdict["bit_identical"]
    assert "every bit is the same" in longctx("verify", "--store", store).stdout
