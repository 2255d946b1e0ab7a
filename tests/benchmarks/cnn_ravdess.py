"""`cnn_ravdess`: the CNN's UAR on the real RAVDESS, 8 classes.

Without an option: leave-speakers-out over actors 1-20, where recipes are chosen. `--final`: actors 1-16 train, the
epoch is selected on 17-20, 21-24 test, 5 seeds; every run of this is written to cnn_ravdess_log.jsonl, however it came
out. Studies of the configuration `ravdess` look at actors 21-24 too, and are not in that file.
"""

import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ser_tasks.config import load_config
from ser_tasks.inference.predict import predict_packed
from ser_tasks.models.files import ModelSpec, build_model
from ser_tasks.training.fit import FitOptions, fit, uar
from tests.benchmarks.common import CACHE, commit_of, finish, log_of_uses, packed_ravdess, ravdess_examples, seconds_of

LOG = Path(__file__).with_name("cnn_ravdess_log.jsonl")
SEEDS = (0, 1, 2, 3, 4)
FOLDS = 5
TARGET, LONGEST_S = 0.60, 300
LABELS = ["neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprised"]


def train_and_test(train: list[int], dev: list[int], test: list[int], seed: int) -> tuple[float, float, float]:
    """Test UAR, dev UAR of the epoch that was taken, and seconds of training."""
    recipe = load_config("ravdess").cnn
    audio = packed_ravdess()
    spec = ModelSpec("cnn", recipe.options.model_dump(mode="json"), LABELS)
    model = build_model(spec, seed=seed)
    options = FitOptions(**recipe.fit.model_dump(mode="json"), seed=seed)
    history: list[Any] = []
    sides = [ravdess_examples(actors, audio) for actors in (train, dev)]
    seconds = seconds_of(lambda: history.extend(fit(model, *sides, LABELS, options, cache_folder=CACHE / "features")))
    tested = ravdess_examples(test, audio)
    probabilities = predict_packed(model, audio, tested.clips)
    score = uar(tested.targets.numpy(), np.asarray(probabilities).argmax(axis=1))
    return score, max(epoch.dev_uar for epoch in history), seconds


def development() -> int:
    """Folds of 4 actors of 1-20: each is tested once, and the 4 before it select the epoch."""
    folds = [list(range(1 + 4 * k, 5 + 4 * k)) for k in range(FOLDS)]
    found = []
    for k, test in enumerate(folds):
        dev = folds[k - 1]
        train = [actor for actor in range(1, 21) if actor not in (*test, *dev)]
        found.append(train_and_test(train, dev, test, seed=0))
        print(f"fold {k}: UAR {found[-1][0]:.3f}, {found[-1][2]:.0f} s", file=sys.stderr)
    scores = [score for score, _, _ in found]
    figures = {"mean_uar": statistics.mean(scores), "sd": statistics.stdev(scores), "folds": FOLDS}
    return finish("cnn_ravdess", figures | {"slowest_s": max(seconds for _, _, seconds in found)}, {}, {})


def final() -> int:
    """The protocol that figures are quoted from."""
    found, commit = [], commit_of(LOG)
    log_of_uses(LOG, commit, {"started": list(SEEDS)})  # a use that is cut off leaves its trace too
    for seed in SEEDS:
        found.append(train_and_test(list(range(1, 17)), list(range(17, 21)), list(range(21, 25)), seed))
        log_of_uses(LOG, commit, {"seed": seed, "test_uar": round(found[-1][0], 4), "seconds": round(found[-1][2])})
        print(f"seed {seed}: test UAR {found[-1][0]:.3f}, {found[-1][2]:.0f} s", file=sys.stderr)
    scores = [score for score, _, _ in found]
    figures = {
        "mean_uar": statistics.mean(scores),
        "sd": statistics.stdev(scores),
        "dev_uar": statistics.mean(dev for _, dev, _ in found),
        "slowest_s": max(seconds for _, _, seconds in found),
    }
    log_of_uses(LOG, commit, {"test_uar": [round(score, 4) for score in scores], **figures})
    held = figures["mean_uar"] >= TARGET and figures["slowest_s"] <= LONGEST_S
    return finish("cnn_ravdess", figures, {}, {}, held)


if __name__ == "__main__":
    sys.exit(final() if "--final" in sys.argv else development())
