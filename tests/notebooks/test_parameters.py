"""What a notebook is given is checked before anything runs."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from typer.testing import CliRunner

from longctx.cli import app
from longctx.notebook import (
    PARAMETERS,
    CellError,
    ParameterError,
    chosen,
    defaults,
    find_notebook,
    notebooks,
    run_notebook,
    validate,
)

CELL = """
profile: str = "cpu"
lengths: list[int] = [
    64,
    128,
]
seeds = [0]
seed = 0
encodings = ["rope", "learned(max_length=4096)"]
patterns = ["full"]
learning_rate = 1e-3
prompt = "Once"
d_model = 16
n_heads = 4
"""


@pytest.fixture
def chapter(tmp_path: Path) -> Path:
    cells = [
        new_code_cell(CELL, metadata={"tags": ["parameters"]}),
        new_code_cell("print(lengths, encodings, seeds)"),
        new_code_cell("1 / (seeds[0] - 7)"),
    ]
    path = tmp_path / "04_tiny.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    return path


WRONG: list[tuple[dict[str, Any], str]] = [
    (
        {"lenghts": "3"},
        r"unknown parameter 'lenghts'; did you mean lengths\? valid are profile, lengths, seeds",
    ),
    (
        {"lengths": "-3"},
        r"parameter lengths: .*greater than or equal to 1 \(given \[-3\]\); it takes distinct",
    ),
    ({"lengths": "0"}, r"parameter lengths: .*greater than or equal to 1"),
    ({"lengths": "a,128"}, r"parameter lengths: entry 0: .*valid integer \(given \['a', 128\]\)"),
    ({"lengths": "3.5"}, r"parameter lengths: entry 0: .*valid integer"),
    ({"lengths": ""}, r"parameter lengths: .*at least 1 item"),
    ({"lengths": "64,64"}, r"parameter lengths: 64 given twice"),
    ({"lengths": [True]}, r"parameter lengths: entry 0: .*valid integer"),
    ({"lengths": 64}, r"parameter lengths: .*valid list"),
    ({"lengths": "5000"}, r"lengths: 5000 is too long for learned\(max_length=4096\)"),
    ({"seeds": "-1"}, r"parameter seeds: .*greater than or equal to 0 \(given \[-1\]\)"),
    ({"seed": "1,2"}, r"parameter seed: .*valid integer \(given \(1, 2\)\)"),
    ({"encodings": "rope,ropee"}, r"encodings: entry 1: unknown position encoding 'ropee'; known: alibi,"),
    ({"encodings": "rope(bas=3)"}, r"encodings: entry 0: position encoding 'rope': bas: .*parameters: base"),
    ({"patterns": "fulll"}, r"patterns: entry 0: unknown attention pattern 'fulll'; known: .*full"),
    ({"profile": "big"}, r"parameter profile: .*given 'big'\); it takes one of smoke, cpu, gpu"),
    ({"profile": "none"}, r"parameter profile: "),
    ({"learning_rate": "fast"}, r"parameter learning_rate: should be a number \(given 'fast'\)"),
    ({"learning_rate": "0"}, r"parameter learning_rate: .*greater than 0"),
    ({"learning_rate": float("nan")}, r"parameter learning_rate: "),
    ({"prompt": ""}, r"parameter prompt: .*at least 1 character"),
    ({"n_heads": "3"}, r"parameter d_model: 16 must be a multiple of n_heads=3"),
]


@pytest.mark.parametrize(("given", "message"), WRONG)
def test_a_wrong_parameter_is_refused_with_what_is_valid(chapter: Path, given: dict[str, Any], message: str):
    with pytest.raises(ParameterError, match=message):
        chosen(chapter, given)


def test_every_problem_is_named_at_once(chapter: Path):
    with pytest.raises(ParameterError, match=r"(?s)profile: .*lengths: .*seeds: "):
        chosen(chapter, {"lengths": "-1", "seeds": "x", "profile": "y"})


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("lengths", "12", [12]),
        ("lengths", "128, 256", [128, 256]),
        ("lengths", "[128, 256]", [128, 256]),
        ("lengths", "None", None),
        ("encodings", "rope(base=5e5), alibi", ["rope(base=5e5)", "alibi"]),
        ("encodings", '["rope", "alibi"]', ["rope", "alibi"]),
        ("patterns", "full,sliding_window(window=8)", ["full", "sliding_window(window=8)"]),
        ("learning_rate", "1e-4", 1e-4),
        ("prompt", "12", "12"),
        ("profile", "smoke", "smoke"),
    ],
)
def test_values_are_read_as_people_write_them(chapter: Path, name: str, text: str, value: Any):
    assert chosen(chapter, {name: text}) == {name: value}


def test_defaults_are_read_over_several_lines_and_with_annotations(chapter: Path):
    found = defaults(chapter)
    assert found["lengths"] == [64, 128]
    assert set(found) <= set(PARAMETERS)


@pytest.mark.parametrize(
    ("source", "tags", "message"),
    [
        ("lengths = [1]", [], "one cell must have the tag 'parameters'; 0 have it"),
        ("lengths = list(range(3))", ["parameters"], "only lines like name = literal"),
        ("import os", ["parameters"], "line 1 is another statement"),
        ("colour = 3", ["parameters"], "unknown parameter 'colour'"),
    ],
)
def test_a_notebook_that_cannot_be_checked_is_refused(
    tmp_path: Path, source: str, tags: list[str], message: str
):
    path = tmp_path / "x.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(source, metadata={"tags": tags})]), path)
    with pytest.raises(ParameterError, match=message):
        chosen(path, {})


def test_validate_guards_notebooks_that_are_run_by_hand():
    assert validate(lengths=(1, 2), seeds=range(2), profile="cpu", steps=None) == {
        "lengths": [1, 2],
        "seeds": [0, 1],
        "profile": "cpu",
        "steps": None,
    }
    with pytest.raises(ParameterError, match="unknown parameter 'colour'"):
        validate(colour=3)
    with pytest.raises(ParameterError, match="profile"):
        validate(profile=None)


@pytest.mark.parametrize("name", notebooks())
def test_chapters_are_found_by_name_and_number(name: str):
    number, _, rest = name.partition("_")
    expected = notebooks()[name]
    assert [find_notebook(n) for n in (name, number, number.lstrip("0"), rest)] == [expected] * 4


def test_an_unknown_chapter_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match=r"unknown notebook '77'; .*there are 01_attention"):
        find_notebook("77")


def test_papermill_runs_with_the_parameters_and_leaves_the_notebook_alone(chapter: Path, tmp_path: Path):
    before = chapter.read_bytes()
    cells: list[tuple[int, int]] = []
    given = {"lengths": "5", "encodings": "alibi"}
    result = run_notebook(chapter, given, out=tmp_path / "out", watcher=lambda *at: cells.append(at))
    printed = [o.text for c in nbformat.read(result, 4).cells for o in c.outputs if "text" in o]
    assert printed == ["[5] ['alibi'] [0]\n"]
    assert cells[-1] == (4, 4)
    assert chapter.read_bytes() == before


def test_a_failing_cell_is_shown_and_the_exit_code_is_one(chapter: Path, tmp_path: Path):
    out = str(tmp_path / "out")
    result = CliRunner().invoke(app, ["notebook", str(chapter), "-p", "seeds", "7", "--out", out])
    assert result.exit_code == 1
    assert "ZeroDivisionError: division by zero" in result.stderr
    assert out in result.stderr
    assert len(result.stderr.splitlines()) < 25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "lengths", "-3"], "parameter lengths: entry 0: "),
        (["-p", "lengths=0"], "parameter lengths: entry 0: "),
        (["-p", "lengths"], "-p lengths has no value"),
        (["-p", "seeds", "1", "-p", "seeds", "2"], "parameter seeds was given twice"),
        (["-p", "profile", "cpu", "--profile", "smoke"], "'cpu' and --profile smoke differ"),
        (["--refresh", "-p", "seeds", "1"], "--refresh"),
    ],
)
def test_the_command_refuses_before_anything_runs(
    chapter: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
):
    monkeypatch.setattr("papermill.execute_notebook", lambda *_, **__: pytest.fail("it ran"))
    result = CliRunner().invoke(app, ["notebook", str(chapter), *arguments])
    assert (result.exit_code, message in result.stderr) == (2, True), (result.stderr, result.exception)


def test_the_result_may_not_replace_the_notebook(chapter: Path):
    with pytest.raises(ValueError, match="holds the notebook itself"):
        run_notebook(chapter, {}, out=chapter.parent)
    assert issubclass(CellError, RuntimeError), "a failed cell is not a wrong request"
