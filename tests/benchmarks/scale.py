"""Validation, split and audit of manifests of 10 thousand, 100 thousand and 1 million utterances.

The manifests are made up, with the columns of real ones: speakers of 80 clips, six emotions, twelve sentences, votes,
some clips twice. Each size is run in a process of its own, which has warmed up on a small manifest, so that what is
timed is the work and not the import of libraries. The sizes take turns, and the median of each counts; the short ones
run more often, for they are at the mercy of what else the machine does.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ser_tasks.audio.fingerprint import BITS, ENDS
from ser_tasks.config import Split, Validation
from ser_tasks.data.audit import audit_split
from ser_tasks.data.manifest import SCHEMA, read_manifest
from ser_tasks.data.split import assign_roles, make_split
from ser_tasks.data.suites import load_suite
from ser_tasks.data.validation import tables_to_validate, validate
from tests.benchmarks.common import finish, seconds_of

SIZES = (10_000, 100_000, 1_000_000)
TURNS = 3 * (10_000, 100_000, 1_000_000, 100_000, 10_000)
WARM_UP = 2_000
CLIPS_A_SPEAKER = 80
EMOTIONS = ("angry", "disgust", "fear", "happy", "neutral", "sad")
FINGERPRINT_BITS = BITS * len(ENDS)
TENFOLD, PEAK_GB = 12, 3


def synthetic_manifest(rows: int) -> pa.Table:
    """A manifest in which one clip in a thousand has the bytes of the clip before it."""
    random = np.random.default_rng(0)
    place = np.arange(rows)
    content = place - (place % 1000 == 1)
    emotion = place % CLIPS_A_SPEAKER % len(EMOTIONS)
    seconds = random.uniform(1, 5, rows).astype(np.float32)
    repeated = place % 1000 == 1
    emotion[repeated] = emotion[repeated.nonzero()[0] - 1]
    given: dict[str, Any] = {
        "utterance_id": [f"utterance-{i:07d}" for i in place],
        "corpus": np.full(rows, "synthetic"),
        "speaker_id": [f"speaker-{i // CLIPS_A_SPEAKER:05d}" for i in place],
        "sex": np.array(["female", "male"])[place // CLIPS_A_SPEAKER % 2],
        "emotion": np.array(EMOTIONS)[emotion],
        "sentence_id": np.char.add("s", (place % 12).astype(str)),
        "votes": [_votes(heard) for heard in random.integers(0, 7, (rows, 2)).tolist()],
        "path": [f"audio/{i // CLIPS_A_SPEAKER:05d}/{i:07d}.wav" for i in place],
        "sha256": [f"{i * 0x9E3779B97F4A7C15 % 2**64:016x}" * 4 for i in content.tolist()],
        "bytes": (seconds * 32_000).astype(np.int64),
        "sample_rate_hz": np.full(rows, 16_000),
        "channels": np.full(rows, 1),
        "codec": np.full(rows, "PCM_16"),
        "duration_s": seconds,
        "peak": random.uniform(0.1, 0.9, rows),
        "rms_db": random.normal(-25, 4, rows),
        "dc_offset": np.zeros(rows),
        "clipped_fraction": np.zeros(rows),
        "silent_fraction": random.uniform(0, 0.3, rows),
        "licence": np.full(rows, "ODbL 1.0"),
        "known_issue": [None if i % 500 else "nearly silent" for i in place.tolist()],
    }
    columns = [
        pa.array(given[field.name]).cast(field.type) if field.name in given else pa.nulls(rows, field.type)
        for field in SCHEMA
    ]
    return pa.table(columns, schema=SCHEMA)


def synthetic_fingerprints(rows: int) -> pa.Table:
    """Fingerprints of which 20 at a time are somewhat alike, as of a speaker who says a sentence again and again.

    Equal bytes have equal fingerprints; the clip after them is the same recording with 5 % of the bits changed.
    """
    random = np.random.default_rng(1)
    kinds = random.integers(0, 256, (rows // 20, FINGERPRINT_BITS // 8), dtype=np.uint8)
    prints = kinds[random.integers(0, len(kinds), rows)] ^ _few_bits(random, rows, 0.25)
    seconds = random.uniform(1, 4, rows)
    for copies in (1, 2):
        place = np.arange(copies, rows, 1000)
        prints[place], seconds[place] = prints[place - copies], seconds[place - copies]
    prints[place] ^= _few_bits(random, len(place), 0.05)
    return pa.table(
        {
            "utterance_id": [f"utterance-{i:07d}" for i in range(rows)],
            "fingerprint": pa.array([each.tobytes() for each in prints], pa.binary()),
            "trimmed_s": pa.array(seconds, pa.float32()),
        }
    )


def _few_bits(random: np.random.Generator, rows: int, share: float) -> npt.NDArray[np.uint8]:
    blocks = [random.random((min(10_000, rows - i), FINGERPRINT_BITS)) < share for i in range(0, rows, 10_000)]
    return np.concatenate([np.packbits(block, axis=1) for block in blocks])


def _votes(heard: list[int]) -> str:
    angry, sad = heard
    return json.dumps({"voice": {"counts": {"angry": angry, "sad": sad}, "responses": angry + sad}})


def steps(manifest: Path, fingerprints: Path) -> dict[str, float]:
    """Seconds of each step on one manifest."""
    found: dict[str, Any] = {}

    def check() -> None:
        found["manifest"] = read_manifest(manifest)
        rejected = pd.DataFrame({"path": [], "reason": []})
        tables = tables_to_validate(found["manifest"], rejected, list(EMOTIONS))
        outcome = validate(tables, load_suite("corpus", Validation()))
        failed = [
            item["rule"] for item in outcome["expectations"] if item["severity"] == "critical" and not item["success"]
        ]
        assert not failed, failed

    def divide() -> None:
        how = Split().model_dump(mode="json")
        roles = assign_roles(found["manifest"], "synthetic", how, {})
        found["split"], _ = make_split({"synthetic": found["manifest"]}, "synthetic", EMOTIONS, {}, roles)

    def audit() -> None:
        prints = pd.read_parquet(fingerprints).assign(corpus="synthetic")
        done = audit_split(found["split"], prints)
        assert not done["leaks"], done["leaks"][:3]
        looked = done["report"]["near_identical"]
        assert looked["clips_not_checked"] == 0
        assert looked["pairs_within_a_role"] >= 0.9 * len(found["split"]) / 1000, looked

    return {"validate": seconds_of(check), "split": seconds_of(divide), "audit": seconds_of(audit)}


def main() -> int:
    """Run every size; prints the one JSON line. Returns 0 when the bars hold."""
    runs: dict[int, list[dict[str, float]]] = {rows: [] for rows in SIZES}
    with tempfile.TemporaryDirectory() as folder:
        for rows in (WARM_UP, *SIZES):
            pq.write_table(synthetic_manifest(rows), Path(folder, f"{rows}.manifest"))
            pq.write_table(synthetic_fingerprints(rows), Path(folder, f"{rows}.fingerprints"))
        for rows in TURNS:
            command = [sys.executable, "-m", "tests.benchmarks.scale", folder, str(rows)]
            said = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
            runs[rows].append(json.loads(said.splitlines()[-1]))
            print(f"{rows} rows: {runs[rows][-1]}", file=sys.stderr)
    figures = {
        f"{step}_{rows}_s": statistics.median(run[f"{step}_s"] for run in of_size)
        for rows, of_size in runs.items()
        for step in ("validate", "split", "audit", "total")
    }
    figures["peak_rss_gb"] = max(run["peak_rss_gb"] for run in runs[SIZES[-1]])
    tenfold = max(figures[f"total_{more}_s"] / figures[f"total_{less}_s"] for less, more in pairwise(SIZES))
    return finish("scale", figures, {"tenfold": tenfold}, {"tenfold": TENFOLD}, more=figures["peak_rss_gb"] <= PEAK_GB)


def one_size(folder: Path, rows: int) -> None:
    """Time the steps on one manifest; prints seconds, and the peak of this process's memory."""

    for size in (WARM_UP, rows):
        seconds = steps(folder / f"{size}.manifest", folder / f"{size}.fingerprints")
    status = Path("/proc/self/status").read_text()  # ru_maxrss is never below that of the process that started this one
    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e9
    told = {f"{step}_s": value for step, value in seconds.items()}
    print(json.dumps({**told, "total_s": sum(seconds.values()), "peak_rss_gb": peak}))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        one_size(Path(sys.argv[1]), int(sys.argv[2]))
    else:
        sys.exit(main())
