"""Benchmark `prosody`: the full set of measures against librosa's pyin, centroid and rms alone, both in one process.

python -m tests.benchmarks.prosody [clips]. On real speech: clips of RAVDESS, spread over actors and emotions.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pandas as pd

from ser_tasks.audio.decode import SAMPLE_RATE_HZ, decode
from ser_tasks.rudeness.prosody import measure_prosody

CORPORA = Path(os.environ.get("SER_TEST_CORPORA", Path(__file__).parents[3] / "shared" / "corpora"))
BAR = 2.5
ROUNDS = 3
Clips = list[tuple[str, np.ndarray]]


def naive(clips: Clips) -> list[tuple[float, float, float]]:
    """Median F0, mean centroid and mean RMS by librosa, with its documented defaults and the same range of F0."""
    rows = []
    for _, samples in clips:
        f0, voiced, _ = librosa.pyin(samples, fmin=75, fmax=600, sr=SAMPLE_RATE_HZ)
        centroid = librosa.feature.spectral_centroid(y=samples, sr=SAMPLE_RATE_HZ)
        rms = librosa.feature.rms(y=samples)
        rows.append(
            (float(np.median(f0[voiced])) if voiced.any() else np.nan, float(centroid.mean()), float(rms.mean()))
        )
    return rows


def same_centroid(samples: np.ndarray) -> float:
    """What `centroid_hz` is to be: librosa's, over the frames within 30 dB of the loudest."""
    spectrum = np.abs(librosa.stft(samples, n_fft=1024, hop_length=256))
    level = librosa.feature.rms(S=spectrum, frame_length=1024)[0]
    centroid = librosa.feature.spectral_centroid(S=spectrum, sr=SAMPLE_RATE_HZ)[0]
    return float(centroid[level >= level.max() * 10 ** (-30 / 20)].mean())


def main(count: int) -> dict[str, Any]:
    paths = sorted((CORPORA / "ravdess").rglob("*.flac"))
    if not paths:
        raise SystemExit(f"prosody: no RAVDESS under {CORPORA} (set SER_TEST_CORPORA)")
    chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, count).astype(int)]
    clips = [(path.stem, decode(path).samples) for path in chosen]
    theirs, ours = naive(clips[:2]), measure_prosody(clips[:2])  # compiled and imported before the clock runs
    seconds: dict[str, list[float]] = {"naive": [], "ours": []}
    for _ in range(ROUNDS):
        start = time.perf_counter()
        theirs = naive(clips)
        middle = time.perf_counter()
        ours = measure_prosody(clips)
        seconds["naive"].append(middle - start)
        seconds["ours"].append(time.perf_counter() - middle)
    f0 = pd.Series([row[0] for row in theirs])
    agree = float(f0.corr(ours["f0_hz"], method="spearman"))  # another method: frames of 128 ms, other voicing
    apart = max(
        abs(row["centroid_hz"] / same_centroid(clip) - 1)
        for (_, clip), (_, row) in zip(clips, ours.iterrows(), strict=True)
    )
    if agree < 0.85 or apart > 1e-3:
        raise SystemExit(f"prosody: F0 follows pyin's with rho {agree:.2f}, the centroid is off by up to {apart:.1%}")
    audio_s = sum(len(samples) for _, samples in clips) / SAMPLE_RATE_HZ
    ms = {side: 1000 * float(np.median(values)) / count for side, values in seconds.items()}
    ratio = float(np.median(np.array(seconds["naive"]) / np.array(seconds["ours"])))
    return {
        "benchmark": "prosody",
        "figures": {
            "clips": count,
            "audio_s": round(audio_s, 1),
            "naive_ms_per_clip": round(ms["naive"], 2),
            "ours_ms_per_clip": round(ms["ours"], 2),
            "f0_spearman_with_pyin": round(agree, 4),
        },
        "ratios": {"naive": round(ratio, 2)},
        "bars": {"naive": BAR},
        "pass": ratio >= BAR,
    }


if __name__ == "__main__":
    result = main(int(sys.argv[1]) if len(sys.argv) > 1 else 96)
    print(json.dumps(result))
    sys.exit(0 if result["pass"] else 1)
