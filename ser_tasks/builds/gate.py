"""Steps `harm` and `gate`: a challenger against the champion, both predicted anew on the same data -> a verdict.

`harm` looks at the test clips, and hands on nothing but differences: `gate` decides on speakers of its own and never
sees a test row. Differences on other corpora are its guard against harm; that on the test speakers of the corpus that
was learnt from is handed through to the card.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ser_tasks.builds.evaluate import plain
from ser_tasks.builds.rows import unpacked
from ser_tasks.data.learnt import read_learnt, seen, sketch
from ser_tasks.data.manifest import read_manifest
from ser_tasks.evaluation.comparison import fewest_speakers, paired_difference
from ser_tasks.evaluation.gate import GateOptions, Part, compare_part, compare_slices, decide, difference_among, leaning
from ser_tasks.evaluation.labels import among, open_answers, open_where_it_differs, shared_labels
from ser_tasks.evaluation.metrics import Counts, Estimate, confusion_by_speaker
from ser_tasks.evaluation.slices import slice_columns
from ser_tasks.inference.predict import predict_packed
from ser_tasks.models.files import load_model


def build_harm(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """UAR of challenger minus champion on the test clips of each corpus -> harm.json.

    Inputs: challenger, champion and champion_rows (optional), split, audio/<corpus>. Params: trained (corpus). Both are
    judged among the labels that they and the corpus share: see evaluation.labels.
    """
    found: dict[str, Any] = {}
    if _same_task(inputs):
        rows = pd.read_parquet(inputs["split"] / "test.parquet")
        tested = [name.removeprefix("audio/") for name in inputs if name.startswith("audio/")]
        others = len([corpus for corpus in tested if corpus != params["trained"]])
        for corpus in tested:
            clips = _Compared(inputs, inputs[f"audio/{corpus}"], rows[rows["corpus"] == corpus], corpus)
            heard = _heard(inputs, "champion", clips, ("train", "dev"))
            found[corpus] = asdict(clips.part(corpus, 1 if corpus == params["trained"] else others, heard))
    (out / "harm.json").write_text(json.dumps(found, indent=1))


def build_gate(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """The verdict at this look -> gate.json; how many looks there were before is the registry's to say.

    Inputs: challenger, champion and champion_rows (optional), gate and fit (rows), audio, manifest, harm. Params:
    trained (corpus), options (of GateOptions).
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
        clips = _Compared(inputs, inputs["audio"], rows, params["trained"])
        harm = {corpus: _part(each) for corpus, each in json.loads((inputs["harm"] / "harm.json").read_text()).items()}
        reported = harm.pop(params["trained"])
        manifest = read_manifest(inputs["manifest"] / "manifest.parquet").set_index("utterance_id")
        # Dev chose the epoch of both models: there, only those who trained the champion make them unequal.
        roles = ("train", "dev") if role == "gate" else ("train",)
        heard, by_challenger = (_heard(inputs, model, clips, roles) for model in ("champion", "challenger"))
        slices = clips.slices(manifest.loc[clips.rows["utterance_id"]], options.large_slice_clips, heard)
        difference, opened = clips.difference()
        speakers = clips.rows["speaker_id"].nunique()
        found = decide(difference, speakers, role, list(harm.values()), slices, options, heard, by_challenger)
        found |= {"difference": difference, "clips": len(clips.rows), "reported": reported}
        found |= {"p_better": clips.p_better(), "deciding": sorted(set(clips.speaker)), "fewest": fewest_speakers(1)}
        found |= {"labels_protocol": clips.labels_protocol, "open": opened}
    (out / "gate.json").write_text(json.dumps(plain(found), indent=1))


class _Compared:
    """Champion and challenger on the same clips of one corpus, among the labels that all three share."""

    def __init__(self, inputs: Mapping[str, Path], shards: Path, rows: pd.DataFrame, corpus: str) -> None:
        models = [load_model(inputs[name]) for name in ("champion", "challenger")]
        shared = shared_labels([spec.labels for _, spec in models], list(rows["label"]), corpus)
        self.labels_protocol, self.classes = shared.told(), len(shared.labels)
        self.rows = rows[rows["label"].isin(shared.labels)].sort_values("utterance_id")
        self.speaker = list(self.rows["speaker_id"])
        self.target = np.array([shared.labels.index(label) for label in self.rows["label"]], dtype=np.int64)
        chosen, anything = [], []
        with unpacked(shards, sorted(set(self.speaker))) as audio:
            clips = [audio.index_of(name) for name in self.rows["utterance_id"]]
            self.sketches = sketch(self.rows, audio, shards)
            for model, spec in models:
                given = predict_packed(model, audio, clips).astype(np.float64)
                chosen.append(np.asarray(among(given, spec.labels, shared.labels).argmax(axis=1), dtype=np.int64))
                anything.append(open_answers(given, spec.labels, shared.labels))
        self.chosen = (chosen[0], chosen[1])
        self.open = (anything[0], anything[1]) if shared.model_only else None

    def difference(self) -> tuple[Estimate, dict[str, Any] | None]:
        """UAR of the challenger minus the champion's on all clips, paired and clustered by speaker.

        And under the open protocol, where its sign or what it shows is another.
        """

        def between(first: Counts, second: Counts, classes: int) -> Estimate:
            one, other = (confusion_by_speaker(self.target, each, self.speaker, classes) for each in (first, second))
            return difference_among(one, other, 1)

        return self._both(between)

    def p_better(self) -> float:
        """One-sided p of the challenger's being better on all clips, at this look by itself."""
        one, other = (confusion_by_speaker(self.target, each, self.speaker, self.classes) for each in self.chosen)
        return paired_difference(one, other).p_better

    def part(self, name: str, parts: int, heard: Sequence[str]) -> Part:
        """All clips as one of several parts in which harm is looked for."""

        def compared(first: Counts, second: Counts, classes: int) -> Part:
            return compare_part(name, self.target, first, second, self.speaker, classes, parts, heard)

        _, opened = self._both(lambda *both: compared(*both).difference)
        found = compared(*self.chosen, self.classes)
        return replace(found, labels_protocol=self.labels_protocol, open=opened)

    def _both(self, between: Callable[[Counts, Counts, int], Estimate]) -> tuple[Estimate, dict[str, Any] | None]:
        """A difference between the two under the shared protocol, and under the open one where that says else."""
        shared = between(*self.chosen, self.classes)
        if self.open is None:
            return shared, None
        opened = between(*self.open, self.classes + 1)
        return shared, open_where_it_differs(shared, leaning(shared), opened, leaning(opened))

    def slices(self, clips: pd.DataFrame, fewest_clips: int, heard: Sequence[str]) -> list[Part]:
        """The difference in every large group of clips."""
        columns = slice_columns(clips)
        return compare_slices(self.target, *self.chosen, self.speaker, columns, self.classes, fewest_clips, heard)


def _part(stored: Mapping[str, Any]) -> Part:
    """A part as harm.json has it."""
    opened = stored["open"] and stored["open"] | {"difference": Estimate(**stored["open"]["difference"])}
    return Part(**{**stored, "difference": Estimate(**stored["difference"]), "open": opened})


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
