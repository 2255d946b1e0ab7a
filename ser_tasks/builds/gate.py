"""Steps `harm` and `gate`: a challenger against the champion, both predicted anew on the same data -> a verdict.

`harm` looks at the test clips, and hands on nothing but differences: `gate` decides on speakers of its own and never
sees a test row.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ser_tasks.builds.evaluate import plain
from ser_tasks.builds.rows import unpacked
from ser_tasks.data.manifest import read_manifest
from ser_tasks.evaluation.gate import GateOptions, decide
from ser_tasks.evaluation.metrics import Estimate, confusion_by_speaker, uar_difference
from ser_tasks.evaluation.slices import slice_columns
from ser_tasks.inference.predict import predict_packed
from ser_tasks.models.files import load_model


def build_harm(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """UAR of challenger minus champion on the test clips of each corpus -> harm.json.

    Inputs: challenger, champion (optional), split, audio/<corpus>. Params: labels, resamples, seed.
    """
    found: dict[str, Any] = {}
    if _same_task(inputs):
        rows = pd.read_parquet(inputs["split"] / "test.parquet")
        for name in inputs:
            if name.startswith("audio/"):
                corpus = name.removeprefix("audio/")
                clips = _Compared(inputs, inputs[name], rows[rows["corpus"] == corpus], params)
                found[corpus] = asdict(clips.difference())
    (out / "harm.json").write_text(json.dumps(found, indent=1))


def build_gate(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """The verdict -> gate.json.

    Inputs: challenger, champion (optional), gate and fit (rows), audio, manifest, harm. Params: labels, resamples,
    seed, options (of GateOptions).
    """
    options = GateOptions(**params["options"])
    if not _same_task(inputs):
        found = decide(None, 0, "gate", {}, [], options)
        if "champion" in inputs:
            found |= {
                "verdict": "undecided",
                "sentence": "Undecided: the champion was trained for other labels, so the two cannot be compared. A "
                "person decides.",
            }
    else:
        role, rows = _deciding(inputs)
        clips = _Compared(inputs, inputs["audio"], rows, params)
        harm = {
            corpus: Estimate(**each) for corpus, each in json.loads((inputs["harm"] / "harm.json").read_text()).items()
        }
        manifest = read_manifest(inputs["manifest"] / "manifest.parquet").set_index("utterance_id")
        slices = list(clips.slices(manifest.loc[clips.rows["utterance_id"]]))
        difference = clips.difference()
        found = decide(difference, clips.rows["speaker_id"].nunique(), role, harm, slices, options)
        found |= {"difference": difference, "clips": len(clips.rows)}
    (out / "gate.json").write_text(json.dumps(plain(found), indent=1))


class _Compared:
    """Champion and challenger on the same clips of one corpus."""

    def __init__(self, inputs: Mapping[str, Path], shards: Path, rows: pd.DataFrame, params: Mapping[str, Any]) -> None:
        self.rows, self.params = rows.sort_values("utterance_id"), params
        labels = params["labels"]
        self.target = np.array([labels.index(label) for label in self.rows["label"]], dtype=np.int64)
        with unpacked(shards, sorted(set(self.rows["speaker_id"]))) as audio:
            clips = [audio.index_of(name) for name in self.rows["utterance_id"]]
            self.chosen = []
            for name in ("champion", "challenger"):
                model, spec = load_model(inputs[name])
                best = predict_packed(model, audio, clips).argmax(axis=1)
                self.chosen.append(np.array([labels.index(spec.labels[i]) for i in best], dtype=np.int64))

    def difference(self, kept: NDArray[np.bool_] | None = None) -> Estimate:
        """UAR of the challenger minus the champion's, paired and clustered by speaker."""
        kept = np.ones(len(self.target), dtype=bool) if kept is None else kept
        speaker, classes = list(self.rows["speaker_id"][kept]), len(self.params["labels"])
        one, other = (confusion_by_speaker(self.target[kept], side[kept], speaker, classes) for side in self.chosen)
        return uar_difference(one, other, self.params["resamples"], self.params["seed"])

    def slices(self, clips: pd.DataFrame) -> Iterator[dict[str, Any]]:
        """The difference in every group of clips."""
        for name, values in slice_columns(clips).items():
            for group in sorted({value for value in values if pd.notna(value)}, key=str):
                kept = (values == group).to_numpy()
                yield {"by": name, "group": group, "clips": int(kept.sum()), "difference": self.difference(kept)}


def _same_task(inputs: Mapping[str, Path]) -> bool:
    """Whether there is a champion, and it tells the same emotions apart."""
    if "champion" not in inputs:
        return False
    one, other = (json.loads((inputs[name] / "model.json").read_text()) for name in ("champion", "challenger"))
    return set(one["labels"]) == set(other["labels"])


def _deciding(inputs: Mapping[str, Path]) -> tuple[str, pd.DataFrame]:
    """Gate clips; where the split has none, since the corpus is too small for the role, dev clips."""
    gate = pd.read_parquet(inputs["gate"] / "rows.parquet")
    if len(gate):
        return "gate", gate
    rows = pd.read_parquet(inputs["fit"] / "rows.parquet")
    return "dev", rows[rows["role"] == "dev"]
