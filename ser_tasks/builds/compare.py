"""Step `compare`: every pair of models on the same clips of one corpus -> difference.json."""

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from ser_tasks.builds.evaluate import plain
from ser_tasks.builds.predictions import Predicted, of_role
from ser_tasks.errors import BadInput
from ser_tasks.evaluation.comparison import compare_models, holm
from ser_tasks.evaluation.labels import open_where_it_differs, shared_labels
from ser_tasks.evaluation.metrics import FEW_SPEAKERS, Counts, Estimate

SURE = 0.05
"""A p-value below this, with an interval that leaves 0 out, is called a difference."""


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: predictions/<model>, model/<model>. Params: corpus, labels (whose order is kept), resamples, seed.

    All pairs are judged among the labels that every model and the corpus share: see evaluation.labels.
    """
    names = [name.removeprefix("predictions/") for name in inputs if name.startswith("predictions/")]
    specs = {name: json.loads((inputs[f"model/{name}"] / "model.json").read_text()) for name in names}
    stored = {name: of_role(inputs[f"predictions/{name}"], params["labels"], "test") for name in names}
    for first, second in combinations(names, 2):
        if stored[first].utterance_id != stored[second].utterance_id:
            raise BadInput(f"compare: {first} and {second} were not asked for the same clips: predict both again")
    some = stored[names[0]]
    shared = shared_labels([each.labels for each in stored.values()], some.label, params["corpus"])
    tested, classes = {name: each.among(shared.labels) for name, each in stored.items()}, len(shared.labels)
    clips = tested[names[0]]
    taint = json.loads((inputs[f"predictions/{names[0]}"] / "protocol.json").read_text())["taint"]
    about = {name: {"title": spec["title"], "note": spec["note"]} for name, spec in specs.items()}
    pairs = _pairs({name: each.chosen for name, each in tested.items()}, clips, classes, about, taint, params)
    if shared.model_only:
        anything = {name: each.open_answers(shared.labels) for name, each in stored.items()}
        for pair, opened in zip(pairs, _pairs(anything, clips, classes + 1, about, taint, params), strict=True):
            pair["open"] = open_where_it_differs(
                pair["uar_difference"], pair["verdict"], opened["uar_difference"], opened["verdict"]
            )
    speakers = len(set(clips.speaker))
    result = {
        "corpus": params["corpus"],
        "what": "UAR of the second minus UAR of the first, same clips, 95 % interval by bootstrap over speakers",
        "family": f"p-values corrected (Holm 1979) for the {len(pairs)} comparison(s) of models on {params['corpus']}, "
        "each test by itself; another corpus is another family",
        "labels_protocol": shared.told(),
        "speakers": speakers,
        "pairs": pairs,
        "remark": few(speakers),
    }
    (out / "difference.json").write_text(json.dumps(plain(result), indent=1))


def _pairs(
    answers: Mapping[str, Counts], clips: Predicted, classes: int, about: Mapping[str, Mapping[str, str]], taint: str,
    params: Mapping[str, Any],
) -> list[dict[str, Any]]:  # fmt: skip
    """Every two models on the same clips, with corrected p-values and verdicts; `open` is None.

    Args:
        answers: Of each model, int64 [clips].
        clips: What is right.
        classes: Number of classes that an answer can be.
        about: Title and note of each model.
        taint: Why the split allows no verdict, or empty.
        params: Of the step.
    """
    pairs = []
    for first, second in combinations(answers, 2):
        found = compare_models(
            answers[first], answers[second], clips.target, clips.speaker, classes, params["resamples"], params["seed"]
        )
        pairs.append({"first": first, "second": second, **found, "open": None})
    for test in ("bootstrap", "mcnemar"):
        key = "p_bootstrap" if test == "bootstrap" else "mcnemar_p"
        for pair, corrected in zip(pairs, holm([pair[key] for pair in pairs]), strict=True):
            pair[f"{test}_p_holm"] = corrected
    for pair in pairs:
        pair["titles"], notes = (
            [about[pair[side]][part] for side in ("first", "second")] for part in ("title", "note")
        )
        pair["verdict"] = verdict(
            pair["uar_difference"], pair["bootstrap_p_holm"], pair["speakers"], pair["titles"], notes, taint,
            "corrected p-value",
        )  # fmt: skip
    return pairs


def few(speakers: int) -> str:
    """What is to be thought of the intervals; empty with speakers enough."""
    return f"with {speakers} speaker(s) intervals and p-values mean little" if speakers < FEW_SPEAKERS else ""


def verdict(
    difference: Estimate,
    p: float,
    speakers: int,
    titles: Sequence[str],
    notes: Sequence[str],
    taint: str,
    p_name: str = "p-value",
) -> str:
    """A sentence about the second of two models minus the first.

    Args:
        difference: Of their UAR.
        p: Two-sided.
        speakers: That it was measured on; under `FEW_SPEAKERS` no model is called better.
        titles: Of the two models.
        notes: What a model is that nothing can be said of, such as random; empty for the others.
        taint: Why the split allows no verdict; empty when it does.
        p_name: What `p` is called.
    """
    if taint:
        return f"no verdict: {taint}"
    if note := next(filter(None, notes), ""):
        return f"no verdict: one of them is {note}"
    if speakers < FEW_SPEAKERS:
        return f"undecided: {speakers} speaker(s); under {FEW_SPEAKERS} no model is called better"
    if p < SURE and not difference.low <= 0 <= difference.high:
        return f"{titles[int(difference.value > 0)]} is better"
    return f"undecided: the interval holds 0, or the {p_name} is not below .05"
