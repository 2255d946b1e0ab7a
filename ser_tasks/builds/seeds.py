"""Step `seeds`: trainings that differ in their seed alone, on one corpus -> seeds.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ser_tasks.builds.compare import verdict
from ser_tasks.builds.evaluate import plain
from ser_tasks.builds.predictions import Predicted, of_role
from ser_tasks.errors import BadInput
from ser_tasks.evaluation.comparison import FEW_SEEDS, compare_over_seeds, over_seeds
from ser_tasks.evaluation.metrics import FEW_SPEAKERS, confusion_by_speaker, uar


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: predictions/<model>/<number> (0: the first seed) and model/<model> of two models, the second of which is
    compared with the first. Params: corpus, labels, resamples, seed (the first).
    """
    labels, names = params["labels"], [name.removeprefix("model/") for name in inputs if name.startswith("model/")]
    tested = {name: _trainings(inputs, name, labels) for name in names}
    some = tested[names[0]][0]
    if any(one.utterance_id != some.utterance_id for trainings in tested.values() for one in trainings):
        raise BadInput("seeds: not all trainings were asked for the same clips: predict them again")
    models = [_model(inputs, name, tested[name], params) for name in names]
    first, second = ([one.chosen for one in tested[name]] for name in names)
    found = compare_over_seeds(
        first, second, some.target, some.speaker, len(labels), params["resamples"], params["seed"]
    )
    taint = json.loads((inputs[f"predictions/{names[0]}/0"] / "protocol.json").read_text())["taint"]
    titles, notes = ([model[part] for model in models] for part in ("title", "note"))
    speakers = len(set(some.speaker))
    result = {
        "corpus": params["corpus"],
        "what": "mean UAR of the second minus mean UAR of the first, same clips, 95 % interval by bootstrap over seeds "
        "(each model's by themselves) and speakers (the same for both)",
        "clips": len(some.target),
        "speakers": speakers,
        "models": models,
        **found,
        "verdict": verdict(found["uar_difference"], found["p_bootstrap"], speakers, titles, notes, taint),
        "remark": _remark(speakers, min(model["n"] for model in models)),
    }
    (out / "seeds.json").write_text(json.dumps(plain(result), indent=1))


def _trainings(inputs: Mapping[str, Path], name: str, labels: list[str]) -> list[Predicted]:
    """A model's predictions for test clips, one a seed."""
    seeds = sum(place.startswith(f"predictions/{name}/") for place in inputs)
    return [of_role(inputs[f"predictions/{name}/{i}"], labels, "test") for i in range(seeds)]


def _model(
    inputs: Mapping[str, Path], name: str, trainings: list[Predicted], params: Mapping[str, Any]
) -> dict[str, Any]:
    spec = json.loads((inputs[f"model/{name}"] / "model.json").read_text())
    classes = len(params["labels"])
    uars = [
        float(uar(confusion_by_speaker(one.target, one.chosen, one.speaker, classes).sum(axis=0))) for one in trainings
    ]
    return {
        "model": name,
        "title": spec["title"],
        "note": spec["note"],
        "seeds": [{"seed": params["seed"] + i, "uar": value} for i, value in enumerate(uars)],
        **over_seeds(uars),
    }


def _remark(speakers: int, seeds: int) -> str:
    """What is to be thought of the interval; empty where nothing speaks against it."""
    few = [f"{speakers} speaker(s)"] if speakers < FEW_SPEAKERS else []
    few += [f"{seeds} seeds"] if seeds < FEW_SEEDS else []
    return f"with {' and '.join(few)} the interval may be too narrow" if few else ""
