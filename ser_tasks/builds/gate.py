"""Steps `harm` and `gate`: a challenger against the champion, both predicted anew on the same data -> a verdict.

`harm` looks at the test clips, and hands on nothing but differences: `gate` decides on speakers of its own and never
sees a test row. Differences on other corpora are its guard against harm; that on the test speakers of the corpus that
was learnt from is handed through to the card.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ser_tasks.builds.evaluate import plain
from ser_tasks.builds.rows import unpacked
from ser_tasks.data.learnt import read_learnt, seen, sketch
from ser_tasks.data.manifest import read_manifest
from ser_tasks.evaluation.gate import GateOptions, Part, compare_part, compare_slices, decide
from ser_tasks.evaluation.metrics import Counts, Estimate, confusion_by_speaker, uar_difference
from ser_tasks.evaluation.slices import slice_columns
from ser_tasks.inference.predict import predict_packed
from ser_tasks.models.files import load_model


def build_harm(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """UAR of challenger minus champion on the test clips of each corpus -> harm.json.

    Inputs: challenger, champion and champion_rows (optional), split, audio/<corpus>. Params: labels, trained (corpus).
    """
    found: dict[str, Any] = {}
    if _same_task(inputs):
        rows = pd.read_parquet(inputs["split"] / "test.parquet")
        tested = [name.removeprefix("audio/") for name in inputs if name.startswith("audio/")]
        others = len([corpus for corpus in tested if corpus != params["trained"]])
        for corpus in tested:
            clips = _Compared(inputs, inputs[f"audio/{corpus}"], rows[rows["corpus"] == corpus], params["labels"])
            heard = _heard(inputs, "champion", clips, ("train", "dev"))
            found[corpus] = asdict(clips.part(corpus, 1 if corpus == params["trained"] else others, heard))
    (out / "harm.json").write_text(json.dumps(found, indent=1))


def build_gate(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """The verdict -> gate.json.

    Inputs: challenger, champion and champion_rows (optional), gate and fit (rows), audio, manifest, harm. Params:
    labels, resamples, seed, trained (corpus), options (of GateOptions).
    """
    options = GateOptions(**params["options"])
    if not _same_task(inputs):
        found = decide(None, 0, "gate", [], [], options)
        if "champion" in inputs:
            found |= {
                "verdict": "undecided",
                "sentence": "Undecided: the champion was trained for other labels, so the two cannot be compared. A "
                "person decides.",
            }
    else:
        role, rows = _deciding(inputs)
        clips = _Compared(inputs, inputs["audio"], rows, params["labels"])
        harm = {
            corpus: Part(**each | {"difference": Estimate(**each["difference"])})
            for corpus, each in json.loads((inputs["harm"] / "harm.json").read_text()).items()
        }
        reported = harm.pop(params["trained"])
        manifest = read_manifest(inputs["manifest"] / "manifest.parquet").set_index("utterance_id")
        # Dev chose the epoch of both models: there, only those who trained the champion make them unequal.
        roles = ("train", "dev") if role == "gate" else ("train",)
        heard, by_challenger = (_heard(inputs, model, clips, roles) for model in ("champion", "challenger"))
        slices = clips.slices(manifest.loc[clips.rows["utterance_id"]], options.large_slice_clips, heard)
        difference = clips.difference(params["resamples"], params["seed"])
        speakers = clips.rows["speaker_id"].nunique()
        found = decide(difference, speakers, role, list(harm.values()), slices, options, heard, by_challenger)
        found |= {"difference": difference, "clips": len(clips.rows), "reported": reported}
    (out / "gate.json").write_text(json.dumps(plain(found), indent=1))


class _Compared:
    """Champion and challenger on the same clips of one corpus."""

    def __init__(self, inputs: Mapping[str, Path], shards: Path, rows: pd.DataFrame, labels: Sequence[str]) -> None:
        self.rows, self.classes = rows.sort_values("utterance_id"), len(labels)
        self.speaker = list(self.rows["speaker_id"])
        self.target = np.array([labels.index(label) for label in self.rows["label"]], dtype=np.int64)
        with unpacked(shards, sorted(set(self.speaker))) as audio:
            clips = [audio.index_of(name) for name in self.rows["utterance_id"]]
            self.sketches = sketch(self.rows, audio, shards)

            def chosen(folder: Path) -> Counts:
                model, spec = load_model(folder)
                best = predict_packed(model, audio, clips).argmax(axis=1)
                return np.array([labels.index(spec.labels[i]) for i in best], dtype=np.int64)

            self.chosen = (chosen(inputs["champion"]), chosen(inputs["challenger"]))

    def difference(self, resamples: int, seed: int) -> Estimate:
        """UAR of the challenger minus the champion's on all clips: a bootstrap, paired and clustered by speaker."""
        one, other = (confusion_by_speaker(self.target, chosen, self.speaker, self.classes) for chosen in self.chosen)
        return uar_difference(one, other, resamples, seed)

    def part(self, name: str, parts: int, heard: Sequence[str]) -> Part:
        """All clips as one of several parts in which harm is looked for."""
        return compare_part(name, self.target, *self.chosen, self.speaker, self.classes, parts, heard)

    def slices(self, clips: pd.DataFrame, fewest_clips: int, heard: Sequence[str]) -> list[Part]:
        """The difference in every large group of clips."""
        columns = slice_columns(clips)
        return compare_slices(self.target, *self.chosen, self.speaker, columns, self.classes, fewest_clips, heard)


def _heard(inputs: Mapping[str, Path], model: str, clips: _Compared, roles: Sequence[str]) -> list[str]:
    """Speakers of these clips from whom a model has learnt in one of these roles.

    The rows that it was trained on say so, where they are given, and what its folder says that it has learnt from: that
    finds a speaker under another name too.
    """
    speakers = pd.MultiIndex.from_frame(clips.rows[["corpus", "speaker_id"]])
    heard = np.zeros(len(speakers), dtype=bool)
    if f"{model}_rows" in inputs:
        rows = pd.read_parquet(inputs[f"{model}_rows"] / "rows.parquet", columns=["corpus", "speaker_id", "role"])
        heard |= speakers.isin(pd.MultiIndex.from_frame(rows.loc[rows["role"].isin(roles), ["corpus", "speaker_id"]]))
    if learnt := read_learnt(inputs[model]):
        heard |= (seen(learnt.of_roles(roles), clips.sketches) != "").to_numpy()
    return sorted(set(clips.rows.loc[heard, "speaker_id"]))


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
