"""Intervals, bands and tables say what the numbers say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from longctx.reporting import (
    Claim,
    Interval,
    band_of,
    cited,
    interval,
    judge,
    paired_interval,
    table,
    tally,
    verdict,
)

runs = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=12).filter(lambda x: np.std(x) > 1e-3)


@given(runs, st.sampled_from([0.5, 0.9, 0.95]))
def test_interval_equals_scipys(values, level):
    low, high = stats.t.interval(level, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    ours = interval(values, level=level)
    assert ours.mean - ours.half_width == pytest.approx(low, rel=1e-9, abs=1e-9)
    assert ours.mean + ours.half_width == pytest.approx(high, rel=1e-9, abs=1e-9)


def test_interval_covers_the_true_mean_as_often_as_it_promises():
    rng = np.random.default_rng(0)
    inside = [abs((i := interval(rng.normal(size=5))).mean) <= i.half_width for _ in range(4000)]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.015)


def test_band_catches_a_further_run_as_often_as_it_promises():
    rng = np.random.default_rng(1)
    inside = [band_of(rng.normal(size=5)).contains(rng.normal()) for _ in range(4000)]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.015)


def test_pairing_removes_what_the_seeds_share():
    rng = np.random.default_rng(2)
    shared = rng.normal(scale=10, size=8)
    a, b = shared + 1 + rng.normal(scale=0.01, size=8), shared
    assert paired_interval(a, b).excludes_zero
    assert not interval(a - rng.permutation(b)).excludes_zero
    assert paired_interval(a, b).mean == pytest.approx(-paired_interval(b, a).mean)


@pytest.mark.parametrize("values", [[1.0], [], [1.0, float("nan")], [[1.0, 2.0], [3.0, 4.0]]])
def test_interval_and_band_refuse_what_has_no_spread(values):
    with pytest.raises(ValueError, match="values"):
        interval(values)
    with pytest.raises(ValueError, match="values"):
        band_of(values)


def test_paired_interval_refuses_different_seeds():
    with pytest.raises(ValueError, match="same seeds"):
        paired_interval([1.0, 2.0], [1.0, 2.0, 3.0])


def test_band_sentence_says_inside_and_outside_and_how_far():
    band = band_of([1.0, 2.0, 3.0])
    assert "inside" in band.describe(2.5)
    assert "0.5 standard deviations above" in band.describe(2.5)
    assert "OUTSIDE" in band.describe(20.0)
    assert "below" in band.describe(1.5)
    assert "standard deviations" not in band_of([2.0, 2.0]).describe(2.5)


def test_table_aligns_formats_and_keeps_missing_entries():
    shown = table(
        [
            {"encoding": "rope", "loss": Interval(3.412, 0.021), "n": 1024},
            {"encoding": "alibi", "loss": None, "n": 5},
        ],
        formats={"loss": ".2f", "n": ","},
    )
    assert repr(shown).splitlines() == [
        "encoding         loss      n",
        "────────  ───────────  ─────",
        "rope      3.41 ± 0.02  1,024",
        "alibi               –      5",
    ]


def test_table_escapes_html():
    html = table([{"a<b": "<script>"}])._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "a&lt;b" in html


def test_table_refuses_columns_that_no_row_has():
    with pytest.raises(ValueError, match=r"\['c'\].*valid: \['a', 'b'\]"):
        table([{"a": 1, "b": 2}], columns=["a", "c"])
    with pytest.raises(ValueError, match="at least one row"):
        table([])


@pytest.mark.parametrize(
    ("mean", "half_width", "said"),
    [
        (-0.3, 0.1, "reproduced"),
        (0.3, 0.1, "contradicted"),
        (-0.05, 0.1, "undecided"),
        (0.05, 0.1, "undecided"),
        (-0.1, 0.1, "undecided"),  # an end on the threshold is not beyond it
        (0.1, 0.1, "undecided"),
    ],
)
def test_a_claim_is_decided_only_by_a_whole_interval(mean: float, half_width: float, said: str):
    assert verdict(Interval(mean, half_width), 0.0) == said
    assert verdict(Interval(mean + 2, half_width), 2.0) == said


def test_a_bibliography_key_names_its_source():
    assert cited("press2022train") == "Press 2022"
    for key in ("press", "2022train", "press2022", "Press2022train"):
        with pytest.raises(ValueError, match=f"key: given '{key}'"):
            cited(key)


def test_claims_are_judged_alone_and_all_together():
    below, above, near = [-1.0, -1.1, -0.9], [1.0, 1.1, 0.9], [-0.1, 0.1, 0.02]
    barely = [-0.5, -0.7, -0.3]  # -0.5 ± 0.497 by itself, and twice as wide among four
    claims = [
        Claim("press2022train", "lies below", below),
        Claim("press2022train", "lies above", above),
        Claim("chi2022kerple", "cannot be told", near),
        Claim("chi2022kerple", "barely", barely),
    ]
    judged = judge(claims, digits=2)
    assert [row[-2:] for row in judged.cells] == [
        ["reproduced", "reproduced"],
        ["contradicted", "contradicted"],
        ["undecided", "undecided"],
        ["reproduced", "undecided"],
    ]
    assert judged.cells[3][:4] == ["barely", "Chi 2022", "-0.50 ± 0.50", "+0.00"]
    alone, together = tally(judged).splitlines()
    assert alone == "verdict       2 reproduced, 1 contradicted, 1 undecided"
    assert together == "all together  1 reproduced, 1 contradicted, 2 undecided"


def test_a_claim_is_judged_by_its_own_threshold_and_one_alone_by_one_interval():
    values = [0.01, 0.012, 0.011]
    for threshold, expected in ((0.02, "reproduced"), (0.0, "contradicted")):
        judged = judge([Claim("su2024roformer", "holds", values, threshold)])
        assert judged.cells[0][-2:] == [expected, expected]
    with pytest.raises(ValueError, match="row"):
        judge([])
