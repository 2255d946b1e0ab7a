"""Loudness and brightness of clips: RMS energy and spectral centroid, by librosa."""

from collections.abc import Iterable

import librosa
import numpy as np
import numpy.typing as npt
import pandas as pd

from ser_tasks.audio.decode import SAMPLE_RATE_HZ

FRAME_S = 0.064
HOP_S = 0.016


def measure_prosody(clips: Iterable[tuple[str, npt.NDArray[np.float32]]]) -> pd.DataFrame:
    """Measure clips.

    Args:
        clips: (utterance_id, float32 samples [n] in [-1, 1], 16 kHz).

    Returns:
        utterance_id; rms_db: level of the mean power in dB of full scale; centroid_hz: spectral centroid (librosa's,
        the magnitude-weighted mean frequency) averaged over frames within 30 dB of the loudest, so that pauses do not
        count.
    """
    frame, hop = int(FRAME_S * SAMPLE_RATE_HZ), int(HOP_S * SAMPLE_RATE_HZ)
    rows = []
    for utterance_id, samples in clips:
        spectrum = np.abs(librosa.stft(samples, n_fft=frame, hop_length=hop))
        rms = librosa.feature.rms(S=spectrum, frame_length=frame)[0]
        centroid = librosa.feature.spectral_centroid(S=spectrum, sr=SAMPLE_RATE_HZ)[0]
        spoken = rms >= rms.max() * 10 ** (-30 / 20)
        power = float(np.mean(np.square(samples, dtype=np.float64)))
        rows.append((utterance_id, 10 * np.log10(power + 1e-12), float(centroid[spoken].mean())))
    return pd.DataFrame(rows, columns=["utterance_id", "rms_db", "centroid_hz"])
