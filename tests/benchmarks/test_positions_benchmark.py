"""The benchmark of encodings covers the registry, and compares each library with itself."""

import pytest

from longctx.cli.benchmarks import benchmarks, load
from longctx.positions import build_position, list_positions


@pytest.fixture
def benchmark():
    return load(benchmarks()["positions"])


def test_every_registered_encoding_takes_part(benchmark):
    specs = benchmark.encodings(256)
    assert {spec.partition("(")[0] for spec in specs} == set(list_positions())
    for spec in specs:
        build_position(spec, d_model=128, n_heads=4, head_dim=32)


def test_rows_compare_with_no_encoding_in_the_same_library(benchmark, monkeypatch):
    def take_turns(names, *_):
        return {name: [2.0 + number] * 3 for number, name in enumerate(names)}

    monkeypatch.setattr(benchmark, "take_turns", take_turns)
    rows = {row["contestant"]: row for row in benchmark.measure(["nope", "rope"], 256, rounds=3)}
    assert list(rows)[:2] == ["longctx nope", "longctx rope"]
    assert rows["longctx rope"]["ratio"]["median"] == 1.5
    for name, row in rows.items():
        library = name.partition(" ")[0]
        assert row["relative_to"].startswith(library)
        assert ("nope" in row["relative_to"]) != ("Falcon" in name)
        assert row["relative_to"].endswith("unfused") == name.endswith("unfused")
        expected = row["seconds"] / rows[row["relative_to"]]["seconds"]
        assert row["ratio"]["median"] == pytest.approx(expected, abs=1e-3)


def test_an_unknown_encoding_is_refused(benchmark, capsys):
    with pytest.raises(SystemExit):
        benchmark.main(["--only", "rop"])
    assert "argument --only: unknown position encoding 'rop'" in capsys.readouterr().err
