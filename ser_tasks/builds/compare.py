"""Step `compare`: every pair of models on the same clips of one corpus -> difference.json."""

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from ser_tasks.builds.evaluate import plain
from ser_tasks.builds.predictions import Predicted, of_role
from ser_tasks.errors import BadInput
from ser_tasks.evaluation.comparison import compare_models, fewest_speakers
from ser_tasks.evaluation.labels import open_where_it_differs, shared_labels
from ser_tasks.evaluation.metrics import Counts, Estimate


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: predictions/<model>, model/<model>. Params: corpus, labels (whose order is kept).

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
    pairs = _pairs({name: each.chosen for name, each in tested.items()}, clips, classes, about, taint)
    if shared.model_only:
        anything = {name: each.open_answers(shared.labels) for name, each in stored.items()}
        for pair, opened in zip(pairs, _pairs(anything, clips, classes + 1, about, taint), strict=True):
            pair["open"] = open_where_it_differs(
                pair["uar_difference"], pair["verdict"], opened["uar_difference"], opened["verdict"]
            )
    speakers = len(set(clips.speaker))
    result = {
        "corpus": params["corpus"],
        "what": "UAR of the second minus UAR of the first, same clips, Student's t over speakers (jackknife)",
        "family": _family(len(pairs), params["corpus"]),
        "labels_protocol": shared.told(),
        "speakers": speakers,
        "pairs": pairs,
        "remark": few(speakers, len(pairs)),
    }
    (out / "difference.json").write_text(json.dumps(plain(result), indent=1))


def _family(pairs: int, corpus: str) -> str:
    """For what intervals and p-values are corrected."""
    if pairs == 1:
        return f"one comparison of models on {corpus}"
    return (
        f"intervals hold in 95 % for all {pairs} comparisons of models on {corpus} together, and p is multiplied by "
        f"{pairs}; another corpus is another family, and so are answers among any labels"
    )


def _pairs(
    answers: Mapping[str, Counts], clips: Predicted, classes: int, about: Mapping[str, Mapping[str, str]], taint: str
) -> list[dict[str, Any]]:
    """Every two models on the same clips, with corrected p-values and verdicts; `open` is None.

    Args:
        answers: Of each model, int64 [clips].
        clips: What is right.
        classes: Number of classes that an answer can be.
        about: Title and note of each model.
        taint: Why the split allows no verdict, or empty.
    """
    pairs = []
    combined = list(combinations(answers, 2))
    for sides in combined:
        first, second = (answers[side] for side in sides)
        found = compare_models(first, second, clips.target, clips.speaker, classes, len(combined))
        titles, notes = ([about[side][part] for side in sides] for part in ("title", "note"))
        said = verdict(found["uar_difference"], found["speakers"], len(combined), titles, notes, taint)
        pairs.append({"first": sides[0], "second": sides[1], **found, "titles": titles, "verdict": said, "open": None})
    return pairs


def few(speakers: int, pairs: int) -> str:
    """What is to be thought of the intervals; empty with speakers enough."""
    if not pairs or speakers >= (fewest := fewest_speakers(pairs)):
        return ""
    return (
        f"{speakers} speaker(s): too few for a verdict, which needs {fewest} for {_counted(pairs)}, since all of fewer "
        "may favour one of two equal models by chance"
    )


def verdict(
    difference: Estimate, speakers: int, pairs: int, titles: Sequence[str], notes: Sequence[str], taint: str
) -> str:
    """A sentence about the second of two models minus the first.

    Args:
        difference: Of their UAR; its interval holds for all pairs of the family together.
        speakers: That it was measured on; under `fewest_speakers` no model is called better.
        pairs: Comparisons in the family.
        titles: Of the two models.
        notes: What a model is that nothing can be said of, such as random; empty for the others.
        taint: Why the split allows no verdict; empty when it does.
    """
    if taint:
        return f"no verdict: {taint}"
    if note := next(filter(None, notes), ""):
        return f"no verdict: one of them is {note}"
    if speakers < (fewest := fewest_speakers(pairs)):
        return f"undecided: {speakers} speaker(s); {_counted(pairs)} of models need{'s' * (pairs == 1)} {fewest}"
    if difference.low <= 0 <= difference.high:
        return "undecided: the interval holds 0"
    return f"{titles[int(difference.value > 0)]} is better"


def _counted(pairs: int) -> str:
    return "one comparison" if pairs == 1 else f"{pairs} comparisons"
