"""The bootstrap over speakers for statistics that are sums over clips.

Clips of one speaker are not independent, so whole speakers are drawn. The draw depends on the number of speakers and
the seed alone: two statistics of the same speakers with one seed are paired.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ser_tasks.evaluation.metrics import Estimate, Floats, interval


def speaker_weights(speakers: int, resamples: int, seed: int) -> npt.NDArray[np.int64]:
    """How often each speaker is drawn: int64 [resamples, speakers]. The same draw as `resampled_confusions`."""
    return np.random.default_rng(seed).multinomial(speakers, np.full(speakers, 1 / speakers), size=resamples)


def sums_by_speaker(values: Floats, speaker: Sequence[str]) -> Floats:
    """Sums of values [clips, ...] over each speaker's clips: float64 [speakers, ...], speakers sorted."""
    _, index = np.unique(np.asarray(speaker), return_inverse=True)
    sums = np.zeros((int(index.max()) + 1, *values.shape[1:]))
    np.add.at(sums, index, values)
    return sums


def mean_estimate(values: Floats, speaker: Sequence[str], resamples: int, seed: int) -> Estimate:
    """The mean over clips of a value a clip, with its 95 % interval.

    Args:
        values: float64 [clips].
        speaker: Of each clip.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
    """
    sums, counts = sums_by_speaker(values, speaker), sums_by_speaker(np.ones(len(values)), speaker)
    weights = speaker_weights(len(sums), resamples, seed)
    low, high = interval((weights @ sums) / (weights @ counts), len(sums))
    return Estimate(float(values.mean()), low, high)
