"""Directions in an embedding space: the difference of means, and what else could be drawn through the same clips."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
RIDGE = 1.0
"""Penalty of the regression on the rating, times the number of clips: dimensions are standardised."""
LOGISTIC_C = 1e-3
"""Inverse penalty of the logistic direction: hundreds of dimensions, hundreds of clips."""


def direction(embeddings: Floats, high: Bools) -> Floats:
    """v = mean of the high group minus mean of the low group, [dim]. `embeddings` is [n, dim], `high` is [n]."""
    return np.asarray(embeddings[high].mean(axis=0) - embeddings[~high].mean(axis=0))


def whitened_direction(embeddings: Floats, high: Bools) -> Floats:
    """Linear discriminant: the difference of means times the inverse covariance within groups, [dim].

    The covariance is shrunk by Ledoit and Wolf's formula, which needs no tuning.
    """
    from sklearn.covariance import ledoit_wolf

    within = embeddings - np.where(high[:, None], embeddings[high].mean(axis=0), embeddings[~high].mean(axis=0))
    covariance, _ = ledoit_wolf(within, assume_centered=True)
    return np.asarray(np.linalg.solve(covariance, direction(embeddings, high)))


def logistic_direction(embeddings: Floats, high: Bools) -> Floats:
    """Weights of a logistic regression with balanced groups, [dim]."""
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=LOGISTIC_C, class_weight="balanced", max_iter=300).fit(embeddings, high)
    return np.asarray(fitted.coef_[0])


def rating_direction(embeddings: Floats, rating: Floats) -> Floats:
    """Weights of a ridge regression on the mean rating, [dim]; clips without a rating (NaN) are left out."""
    from sklearn.linear_model import Ridge

    rated = np.isfinite(rating)
    fitted = Ridge(alpha=RIDGE * float(rated.sum())).fit(embeddings[rated], rating[rated])
    return np.asarray(fitted.coef_)


ALTERNATIVES: dict[str, Callable[[Floats, Bools], Floats]] = {
    "whitened": whitened_direction,
    "logistic": logistic_direction,
}
"""Directions beside the difference of means that need only the two groups."""


def cosine(first: Floats, second: Floats) -> float:
    """Cosine of the angle between two vectors; NaN where one has no length."""
    length = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / length if length > 0 else float("nan")
