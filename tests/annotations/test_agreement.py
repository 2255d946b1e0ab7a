"""Agreement: against a published value, against another implementation, and what it says of annotators."""

import tracemalloc

import krippendorff  # GPL-3: compared with in tests, never needed
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_tasks.annotations.agreement import agreement, alpha, alpha_with_interval

# Krippendorff 2011, "Computing Krippendorff's alpha-reliability", data C: four observers, twelve units.
KRIPPENDORFF = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""


def counts_of(table: np.ndarray, values: int = 5) -> np.ndarray:
    return np.stack([(table == value).sum(axis=0) for value in range(1, values + 1)], axis=1).astype(float)


def test_the_published_example() -> None:
    table = np.array([[np.nan if cell == "." else float(cell) for cell in line.split()]
                      for line in KRIPPENDORFF.strip().splitlines()])  # fmt: skip
    assert alpha(counts_of(table), ordinal=False) == pytest.approx(0.743, abs=5e-4)
    assert alpha(counts_of(table), ordinal=True) == pytest.approx(0.815, abs=5e-4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=2, max_size=12), st.booleans())
def test_it_is_what_the_library_gives(rows: list[list[int]], ordinal: bool) -> None:
    table = np.array(rows, dtype=float).T
    table[table == 0] = np.nan
    ours = alpha(counts_of(table, 4), ordinal)
    counts = counts_of(table, 4)
    pairable = counts[counts.sum(axis=1) >= 2]
    if not len(pairable) or (pairable.sum(axis=0) > 0).sum() < 2:
        assert np.isnan(ours)
        return
    theirs = krippendorff.alpha(value_counts=counts, level_of_measurement="ordinal" if ordinal else "nominal",
                           value_domain=[1, 2, 3, 4])  # fmt: skip
    assert ours == pytest.approx(theirs, abs=1e-9)


def test_the_interval_holds_the_value_and_is_withheld_of_few() -> None:
    draw = np.random.default_rng(0)
    truth = draw.integers(1, 6, 200)
    table = np.clip(truth + draw.integers(-1, 2, (3, 200)), 1, 5).astype(float)
    found = alpha_with_interval(counts_of(table), ordinal=True)
    assert found["low"] < found["value"] < found["high"]
    assert 0.02 < found["high"] - found["low"] < 0.15
    assert alpha_with_interval(counts_of(table[:, :5]), ordinal=True)["low"] is None
    assert alpha_with_interval(counts_of(table[:1]), ordinal=True) == {
        "value": None, "low": None, "high": None, "utterances": 0,
    }  # fmt: skip


def test_an_interval_over_many_clips_and_many_values_fits_into_memory() -> None:
    """Means of several raters in hundredths, dropped before whole and half steps were asked for."""
    values = np.random.default_rng(0).integers(0, 100, (200, 2))
    counts = np.zeros((200, 100))
    for column in values.T:
        counts[np.arange(200), column] += 1
    tracemalloc.start()
    try:
        assert alpha_with_interval(counts, ordinal=True)["low"] is not None
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_bias_disagreement_and_months() -> None:
    rows = [
        (f"u{n}", who, "rudeness", float(1 + n % 4 + (who == "high")), "", "1-5", f"2026-0{1 + n % 2}-01", "")
        for n in range(12) for who in ("a", "b", "high")
    ]  # fmt: skip
    rows += [("u0", "wild", "rudeness", 5.0, "", "1-5", "", ""), ("u0", "a", "emotion", np.nan, "sad", "", "", "")]
    columns = ["utterance_id", "annotator_id", "trait", "rating", "label", "scale", "created_at", "source"]
    found = agreement(pd.DataFrame(rows, columns=columns))
    bias = {item["annotator_id"]: item["bias"] for item in found["rudeness"]["annotators"]}
    assert bias["high"] > 0.8
    assert bias["a"] < 0
    assert found["rudeness"]["disagreed"][0]["utterance_id"] == "u0"
    assert [item["month"] for item in found["rudeness"]["by_month"]] == ["2026-01", "2026-02"]
    assert found["emotion"]["scale"] == "nominal"
    assert found["emotion"]["alpha"]["value"] is None
