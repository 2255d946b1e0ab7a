"""Distances between two versions of a corpus."""

import math

import numpy as np
import pandas as pd
import pytest

from ser_tasks.data.drift import drift_table


def version(emotions: list[str], durations: list[float], levels: list[float]) -> pd.DataFrame:
    return pd.DataFrame(
        {"emotion": emotions, "duration_s": np.float32(durations), "rms_db": np.float32(levels)}
    ).convert_dtypes(convert_floating=False)


def distances(now: pd.DataFrame, accepted: pd.DataFrame) -> dict[str, float]:
    return dict(zip(*(drift_table(now, accepted)[name] for name in ("feature", "distance")), strict=True))


def test_equal_versions_have_no_distance_whatever_their_order() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):  # rounding must not turn a distance of zero into none at all
        emotions = random.choice(["angry", "sad", "happy", "fear", "calm"], 97, p=random.dirichlet(np.ones(5)))
        one = version(list(emotions), list(random.uniform(1, 5, 97)), list(random.normal(-30, 5, 97)))
        assert distances(one, one.sample(frac=1, random_state=1)) == {"emotion": 0, "duration_s": 0, "rms_db": 0}


def test_versions_with_nothing_in_common_are_one_apart() -> None:
    one, other = version(["sad"] * 3, [1, 2, 3], [-30] * 3), version(["angry"] * 2, [4, 5], [-10, -20])
    assert distances(one, other) == {"emotion": 1, "duration_s": 1, "rms_db": 1}


def test_distances_are_those_of_the_literature() -> None:
    now = version(["sad", "sad"], [1, 2], [-20, -20])
    accepted = version(["sad", "angry"], [1, 1.5], [-20, -30])
    # Shares (1, 0) and (1/2, 1/2) with the mean (3/4, 1/4), to base 2.
    divergence = 0.5 * math.log2(4 / 3) + 0.5 * (0.5 * math.log2(2 / 3) + 0.5 * math.log2(2))
    assert distances(now, accepted)["emotion"] == pytest.approx(math.sqrt(divergence), abs=1e-6)
    assert distances(now, accepted)["duration_s"] == 0.5
    assert distances(now, accepted)["rms_db"] == 0.5


def test_sample_sizes_are_told_and_values_that_are_missing_do_not_count() -> None:
    now = version(["sad"] * 3, [1, math.nan, 3], [math.nan] * 3)
    table = drift_table(now, version(["sad"] * 4, [1, 3, 1, 3], [-20] * 4)).set_index("feature")
    assert table.loc["emotion", ["accepted", "now"]].tolist() == [4, 3]
    assert table.loc["duration_s", ["distance", "accepted", "now"]].tolist() == [0, 4, 2]
    assert table.loc["rms_db", "now"] == 0
    assert math.isnan(table.loc["rms_db", "distance"])
