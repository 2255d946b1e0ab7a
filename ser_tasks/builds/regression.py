"""Logistic regressions, and their weights as models keep them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from threadpoolctl import threadpool_limits

NEVER = -1e9
"""Bias of a class that was never seen: it is never predicted."""


def best_regression(
    train: tuple[NDArray[np.float64], NDArray[np.int64]],
    dev: tuple[NDArray[np.float64], NDArray[np.int64]],
    strengths: Sequence[float],
    classes: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fit on train with each strength and keep the one with the best UAR on dev; of equals the first.

    Args:
        train: Features [clips, dim] and targets [clips], of two classes at least.
        dev: The same of other speakers.
        strengths: Inverse regularisation strengths.
        classes: Of the model, those that train lacks among them.

    Returns:
        Weight float32 [classes, dim] and bias float32 [classes].
    """

    def fitted(strength: float) -> LogisticRegression:
        return LogisticRegression(C=strength, max_iter=2000, class_weight="balanced").fit(*train)

    def score(regression: LogisticRegression) -> float:
        return float(recall_score(dev[1], regression.predict(dev[0]), average="macro", zero_division=0))

    with threadpool_limits(1):  # matrices are small: threads that wait for each other took twenty times as long
        best: Any = max(map(fitted, strengths), key=score)
    weight, bias = np.zeros((classes, train[0].shape[1]), np.float32), np.full(classes, NEVER, np.float32)
    coefficients, intercept = best.coef_, best.intercept_
    if len(best.classes_) == 2:  # then scikit-learn keeps the second class's alone
        coefficients, intercept = np.concatenate([-coefficients, coefficients]), np.append(-intercept, intercept)
    weight[best.classes_], bias[best.classes_] = coefficients, intercept
    return weight, bias
