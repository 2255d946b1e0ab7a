"""Step `compare`: every pair of models on the same clips of one corpus -> difference.json."""

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from ser_tasks.builds.evaluate import plain
from ser_tasks.builds.predictions import of_role
from ser_tasks.errors import BadInput
from ser_tasks.evaluation.comparison import compare_models, holm
from ser_tasks.evaluation.metrics import FEW_SPEAKERS, Estimate

SURE = 0.05
"""A p-value below this, with an interval that leaves 0 out, is called a difference."""


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: predictions/<model>, model/<model>. Params: corpus, labels, resamples, seed."""
    labels = params["labels"]
    names = [name.removeprefix("predictions/") for name in inputs if name.startswith("predictions/")]
    specs = {name: json.loads((inputs[f"model/{name}"] / "model.json").read_text()) for name in names}
    tested = {name: of_role(inputs[f"predictions/{name}"], labels, "test") for name in names}
    taint = json.loads((inputs[f"predictions/{names[0]}"] / "protocol.json").read_text())["taint"]
    speakers = len(set(tested[names[0]].speaker))
    pairs = []
    for first, second in combinations(names, 2):
        one, other = tested[first], tested[second]
        if one.utterance_id != other.utterance_id:
            raise BadInput(f"compare: {first} and {second} were not asked for the same clips: predict both again")
        found = compare_models(
            one.chosen, other.chosen, one.target, one.speaker, len(labels), params["resamples"], params["seed"]
        )
        pairs.append({"first": first, "second": second, **found})
    for test in ("bootstrap", "mcnemar"):
        key = "p_bootstrap" if test == "bootstrap" else "mcnemar_p"
        for pair, corrected in zip(pairs, holm([pair[key] for pair in pairs]), strict=True):
            pair[f"{test}_p_holm"] = corrected
    for pair in pairs:
        pair["titles"] = [specs[pair[side]]["title"] for side in ("first", "second")]
        notes = [specs[pair[side]]["note"] for side in ("first", "second")]
        corrected = pair["bootstrap_p_holm"]
        pair["verdict"] = verdict(
            pair["uar_difference"], corrected, speakers, pair["titles"], notes, taint, "corrected p-value"
        )
    result = {
        "corpus": params["corpus"],
        "what": "UAR of the second minus UAR of the first, same clips, 95 % interval by bootstrap over speakers",
        "family": f"p-values corrected (Holm 1979) for the {len(pairs)} comparison(s) of models on {params['corpus']}, "
        "each test by itself; another corpus is another family",
        "speakers": speakers,
        "pairs": pairs,
        "remark": few(speakers),
    }
    (out / "difference.json").write_text(json.dumps(plain(result), indent=1))


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
