"""Step `evaluate`: stored predictions of one model on one corpus -> metrics.json, confusion.csv."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ser_tasks.builds.adapt import REMARKS
from ser_tasks.builds.predictions import Predicted, Stored, counts, of_role, predicted, role_rows, with_seen
from ser_tasks.data.conditions import compared, conditions, read_conditions, side_by_side
from ser_tasks.data.learnt import LEARNT, SEEN_NOTE, SEEN_ROLE, about_seen
from ser_tasks.data.manifest import read_manifest
from ser_tasks.data.votes import HEARD, kind_of_raters, mapped_votes, vote_counts
from ser_tasks.evaluation.across import arousal_collapse, domain_shift, prior_shift
from ser_tasks.evaluation.answers import collapse, in_words, never_answered
from ser_tasks.evaluation.calibration import calibration
from ser_tasks.evaluation.labels import FEWEST, shared_labels
from ser_tasks.evaluation.metrics import (
    METRICS,
    NAMES,
    about_interval,
    chance_uar,
    confusion_by_speaker,
    confusion_shares,
    estimate,
    per_class,
)
from ser_tasks.evaluation.people import against_people
from ser_tasks.evaluation.slices import slice_columns, slice_results

FEWEST_VOTES = 2
"""A clip with fewer votes says nothing of how raters differ."""
RATERS = {
    "voice": "people who heard the voice alone",
    "evaluators": "evaluators of the corpus, who may have seen the speaker too",
}


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: predictions, model; manifest, trained (scans), rows (fit), spectra (all optional).

    Params: model, corpus, relation, labels (the study's, whose order is kept), label_map, variants (name to label
    map), resamples, seed, include_seen (optional: whether clips that the model has learnt from count; without it, they
    do not). Everything but `open` is under the shared protocol: see evaluation.labels.
    """
    drawn, include = (params["resamples"], params["seed"]), bool(params.get("include_seen", False))
    stored = of_role(inputs["predictions"], params["labels"], "test", include)
    asked = role_rows(inputs["predictions"], "test")
    known = about_seen(asked, counts(asked, inputs["predictions"], include), (inputs["model"] / LEARNT).is_file())
    test, found = _judged(stored, params["corpus"], drawn)
    labels = found["labels_protocol"]["shared"]
    spec = json.loads((inputs["model"] / "model.json").read_text())
    protocol = json.loads((inputs["predictions"] / "protocol.json").read_text())
    manifest = read_manifest(inputs["manifest"] / "manifest.parquet") if "manifest" in inputs else None
    clips = None if manifest is None else manifest.set_index("utterance_id", drop=False).loc[test.utterance_id]
    across = params["relation"] == "across"
    passed_over = set(asked["utterance_id"]) - set(test.utterance_id)
    mapped = None if manifest is None else manifest[~manifest["utterance_id"].isin(passed_over)]
    metrics = {
        "model": params["model"],
        "title": spec["title"],
        "note": "; ".join(filter(None, (spec["note"], protocol["taint"] or (SEEN_NOTE if known["included"] else "")))),
        "protocol": protocol["description"],
        "corpus": params["corpus"],
        "relation": params["relation"],
        "label_map": params["label_map"],
        "mapping": mapping(mapped if across else clips, test.utterance_id, params["label_map"])
        if across or params["label_map"]
        else "",
        "role": SEEN_ROLE if known["included"] else "test",
        "seen": known,
        **found,
        "chance": "the most that a guess without hearing the clip can have: 1 / classes with clips",
        "calibration": _calibration(inputs["model"], test, drawn),
        "people": None if clips is None else _people(
            [mapped_votes(each, params["label_map"]) for each in clips["votes"]], test, labels, drawn,
            protocol.get("labels", "intended"),
        ),
        "slices": [] if clips is None else slice_results(
            test.target, test.chosen, test.speaker,
            {str(name): list(values) for name, values in slice_columns(clips).items()}, len(labels), *drawn,
        ),
        "across": _across(inputs, params, test, labels) if across and "manifest" in inputs else None,
        "variants": _variants(inputs["predictions"], manifest, params, include),
        "adapted": _adapted(inputs["predictions"], params, include),
    }  # fmt: skip
    (out / "metrics.json").write_text(json.dumps(plain(metrics), indent=1))
    confusion = found["confusion"]["counts"]
    table = pd.DataFrame(confusion, index=pd.Index(labels, name="true \\ predicted"), columns=labels)
    table.to_csv(out / "confusion.csv")


def _judged(stored: Stored, corpus: str, drawn: tuple[int, int]) -> tuple[Predicted, dict[str, Any]]:
    """Test clips among the labels that model and corpus share, what is said of them, and the same openly.

    Raises:
        BadInput: Model and corpus share fewer than two labels.
    """
    shared = shared_labels([stored.labels], stored.label, corpus)
    test, opened = stored.among(shared.labels), None
    found = _performance(test, shared.labels, drawn)
    if shared.model_only:
        opened = _performance(stored.among(shared.labels, stored.labels), stored.labels, drawn)
    return test, found | {"labels_protocol": shared.told(opened), "open": opened}


def _performance(clips: Predicted, labels: Sequence[str], drawn: tuple[int, int]) -> dict[str, Any]:
    """What is said of a model on clips, whatever the labels are among which it chooses."""
    by_speaker = confusion_by_speaker(clips.target, clips.chosen, clips.speaker, len(labels))
    confusion = by_speaker.sum(axis=0)
    few = about_interval(len(by_speaker))
    classes = [
        {"label": label, **found} for label, found in zip(labels, per_class(by_speaker, *drawn), strict=True) if found
    ]
    return {
        "clips": int(by_speaker.sum()),
        "speakers": len(by_speaker),
        "interval": "95 %, bootstrap over speakers" + (f"; {few}" if few else ""),
        **{name: estimate(name, by_speaker, *drawn) for name in METRICS},
        "classes": classes,
        "recall": {row["label"]: row["recall"].value for row in classes},
        "names": NAMES,
        "chance_uar": chance_uar(confusion),
        "collapse": collapse(confusion, labels),
        "never_answered": never_answered(confusion, labels),
        "answers": in_words(confusion, labels),
        "confusion": {
            "labels": list(labels),
            "counts": confusion.tolist(),
            "shares": confusion_shares(by_speaker, *drawn),
        },
    }


def mapping(manifest: pd.DataFrame | None, tested: Sequence[str], label_map: Mapping[str, str]) -> str:
    """What became of the emotions of a corpus that is test as a whole: `9 calm count as neutral; left out: 5 happy`."""
    if manifest is None:
        return ""
    emotion = manifest["emotion"].fillna("unlabelled")
    taken = manifest["utterance_id"].isin(list(tested))
    counts, left = emotion[taken].value_counts(), emotion[~taken].value_counts().sort_index()
    said = [f"{counts.get(name, 0)} {name} count as {label}" for name, label in label_map.items()]
    said += [f"left out: {', '.join(f'{n} {name}' for name, n in left.items())}"] if len(left) else []
    return "; ".join(said) or "all as the corpus has them"


def plain(value: Any) -> Any:
    """Estimates as mappings, NaN as None: what JSON can hold."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and np.isnan(value) else value


def _calibration(model: Path, test: Predicted, drawn: tuple[int, int]) -> dict[str, Any]:
    """Of the probabilities that are judged: as the model gives them, and before its temperature.

    No temperature is fitted here. Among shared labels nothing changes: dividing logits and leaving out labels may be
    done in either order.
    """
    spec = json.loads((model / "model.json").read_text())
    temperature = spec.get("temperature") or 1.0
    said = f"{spec['temperature_clips']} dev clips" if temperature != 1 else ""
    found = calibration(test.probabilities, test.target, test.speaker, temperature, *drawn)
    return found | {"fitted_on": said}


def _people(
    raters: Sequence[str | None], test: Predicted, labels: Sequence[str], drawn: tuple[int, int], policy: str
) -> dict[str, Any] | None:
    """Agreement with raters, on clips with enough votes; None where a corpus has none.

    With a policy of labels other than `intended` the target is the raters' own majority: their UAR would be circular.
    """
    votes = np.array([vote_counts(each, labels) for each in raters])
    enough = votes.sum(axis=1) >= FEWEST_VOTES
    if not enough.any():
        return None
    speaker = [name for name, kept in zip(test.speaker, enough, strict=True) if kept]
    found = against_people(test.probabilities[enough], votes[enough], test.target[enough], speaker, *drawn)
    kinds = {kind_of_raters(each) for each, kept in zip(raters, enough, strict=True) if kept}
    found["raters"] = " and ".join(RATERS[kind] for kind in HEARD if kind in kinds)
    return found if policy == "intended" else found | {"human_uar": None}


def _across(
    inputs: Mapping[str, Path], params: Mapping[str, Any], test: Predicted, labels: Sequence[str]
) -> dict[str, Any]:
    """What differs between the corpus that the model was trained on and this one.

    Class shares, of the shared labels, only with the rows of the former, and the shift of domain only with its
    manifest; without it the model itself says how its corpus was recorded.
    """
    tested = read_manifest(inputs["manifest"] / "manifest.parquet")
    arousal = arousal_collapse(test.target, test.chosen, test.speaker, labels, params["resamples"], params["seed"])
    if "trained" not in inputs:
        learnt = read_conditions(inputs["model"])
        return {
            "prior_shift": None,
            "arousal": arousal,
            "domain_shift": None,
            "conditions": compared(learnt, conditions(tested)) if learnt else None,
        }
    prior = None
    if "rows" in inputs:
        rows = pd.read_parquet(inputs["rows"] / "rows.parquet")
        trained = [str(label) for label in rows.loc[rows["role"] == "train", "label"] if label in labels]
        prior = prior_shift(trained, [labels[i] for i in test.target], labels)
    train, spectra = read_manifest(inputs["trained"] / "manifest.parquet"), None
    if "spectra" in inputs:
        held = json.loads((inputs["spectra"] / "spectra.json").read_text())
        sides = {"train": held["trained"], "test": params["corpus"]}
        spectra = {side: np.array(held["spectra"][name]) for side, name in sides.items()}
    return {
        "prior_shift": prior,
        "arousal": arousal,
        "domain_shift": domain_shift(train, tested, spectra),
        "conditions": side_by_side(train, tested),
    }


def _adapted(folder: Path, params: Mapping[str, Any], include_seen: bool) -> list[dict[str, Any]]:
    """The same clips, compared with others of their speaker or corpus: see builds.adapt. Never a part of a verdict."""
    if not (path := folder / "adapted.parquet").is_file():
        return []
    found, rows = [], with_seen(pd.read_parquet(path))
    for way, frame in rows[counts(rows, folder, include_seen)].groupby("way", sort=False):
        answered = frame[frame[[name for name in frame.columns if name.startswith("p_")]].notna().all(axis=1)]
        about = {
            "way": way,
            "name": f"adapted without labels, by {way}",
            "remark": REMARKS[str(way)],
            "clips": len(answered),
            "left_out": len(frame) - len(answered),
        }
        if answered["target"].nunique() >= FEWEST:
            stored = predicted(answered, params["labels"])
            about |= _judged(stored, f"{params['corpus']}, by {way},", (params["resamples"], params["seed"]))[1]
        found.append(about)
    return found


def _variants(
    folder: Path, manifest: pd.DataFrame | None, params: Mapping[str, Any], include_seen: bool
) -> list[dict[str, Any]]:
    """The same corpus under other label maps; a map is passed over where the model has seen all of its clips."""
    if not (path := folder / "variants.parquet").is_file():
        return []
    drawn, found = (params["resamples"], params["seed"]), []
    rows = with_seen(pd.read_parquet(path))
    for name, frame in rows[counts(rows, folder, include_seen)].groupby("variant"):
        stored = predicted(frame, params["labels"])
        clips, performance = _judged(stored, f"{params['corpus']}, {name},", drawn)
        label_map = params["variants"][name]
        passed_over = set(rows.loc[rows["variant"] == name, "utterance_id"]) - set(clips.utterance_id)
        mapped = None if manifest is None else manifest[~manifest["utterance_id"].isin(passed_over)]
        about = {"name": name, "label_map": label_map, "mapping": mapping(mapped, clips.utterance_id, label_map)}
        found.append(about | performance)
    return found
