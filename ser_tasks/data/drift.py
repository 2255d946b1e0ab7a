"""Drift: how far a corpus's distributions lie from those of the version that was accepted last."""

import numpy as np
import pandas as pd

MEASURES = ("duration_s", "rms_db")
"""Compared by the Kolmogorov-Smirnov distance: what a microphone, a codec or a cutter changes."""


def drift_table(manifest: pd.DataFrame, accepted: pd.DataFrame) -> pd.DataFrame:
    """Distances between two versions of a corpus, each from 0 (equal) to 1 (nothing in common).

    Args:
        manifest: The version at hand, with the columns emotion, duration_s, rms_db.
        accepted: The version that was accepted last, with the same columns.

    Returns:
        One row a feature: feature, measure, distance, accepted, now; the last two are sample sizes. The distance is NaN
        where one of the versions has no values.
    """
    rows = [("emotion", "Jensen-Shannon distance", *_of_classes(manifest["emotion"], accepted["emotion"]))]
    rows += [(name, "Kolmogorov-Smirnov distance", *_of_values(manifest[name], accepted[name])) for name in MEASURES]
    return pd.DataFrame(rows, columns=["feature", "measure", "distance", "accepted", "now"])


def _of_classes(now: pd.Series, accepted: pd.Series) -> tuple[float, int, int]:
    """Square root of the Jensen-Shannon divergence to base 2 (Endres and Schindelin 2003), of shares of classes."""
    from scipy.spatial.distance import jensenshannon

    counts = pd.concat([now.value_counts(), accepted.value_counts()], axis=1).fillna(0).to_numpy(float)
    sizes = int(accepted.count()), int(now.count())
    return (round(float(jensenshannon(*counts.T, base=2)), 6) if all(sizes) else float("nan")), *sizes


def _of_values(now: pd.Series, accepted: pd.Series) -> tuple[float, int, int]:
    """The two-sample Kolmogorov-Smirnov statistic: the largest gap between the two cumulative distributions."""
    from scipy.stats import ks_2samp

    a, b = (np.sort(series.dropna().to_numpy(float)) for series in (accepted, now))
    if not (len(a) and len(b)):
        return float("nan"), len(a), len(b)
    return round(float(ks_2samp(a, b, method="asymp").statistic), 6), len(a), len(b)
