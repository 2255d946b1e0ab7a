"""Step `seeds`: trainings that differ in their seed alone, on one corpus -> seeds.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ser_tasks.builds.compare import few, verdict
from ser_tasks.builds.evaluate import plain
from ser_tasks.builds.predictions import Predicted, Stored, of_role
from ser_tasks.errors import BadInput
from ser_tasks.evaluation.comparison import FEWEST_SEEDS, compare_over_seeds, over_seeds
from ser_tasks.evaluation.labels import open_where_it_differs, shared_labels
from ser_tasks.evaluation.metrics import Counts, confusion_by_speaker, uar


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: predictions/<model>/<number> (0: the first seed) and model/<model> of two models, the second of which is
    compared with the first. Params: corpus, labels (whose order is kept), seed (the first).

    All trainings are judged among the labels that they and the corpus share: see evaluation.labels.
    """
    names = [name.removeprefix("model/") for name in inputs if name.startswith("model/")]
    stored = {name: _trainings(inputs, name, params["labels"]) for name in names}
    some, every = stored[names[0]][0], [one for trainings in stored.values() for one in trainings]
    if any(one.utterance_id != some.utterance_id for one in every):
        raise BadInput("seeds: not all trainings were asked for the same clips: predict them again")
    shared = shared_labels([one.labels for one in every], some.label, params["corpus"])
    classes = len(shared.labels)
    tested = {name: [one.among(shared.labels) for one in trainings] for name, trainings in stored.items()}
    models = [_model(inputs, name, tested[name], classes, params["seed"]) for name in names]
    clips = tested[names[0]][0]
    taint = json.loads((inputs[f"predictions/{names[0]}/0"] / "protocol.json").read_text())["taint"]
    titles, notes = ([model[part] for model in models] for part in ("title", "note"))
    speakers, seeds = len(set(clips.speaker)), min(model["n"] for model in models)

    def compared(answers: list[list[Counts]], classes: int) -> dict[str, Any]:
        found = compare_over_seeds(answers[0], answers[1], clips.target, clips.speaker, classes)
        said = verdict(found["uar_difference"], speakers, 1, titles, notes, taint)
        if seeds < FEWEST_SEEDS and not said.startswith("no verdict"):
            said = f"undecided: {seeds} seeds; a verdict over seeds needs {FEWEST_SEEDS}"
        return found | {"verdict": said, "open": None}

    found = compared([[one.chosen for one in tested[name]] for name in names], classes)
    if shared.model_only:
        opened = compared([[one.open_answers(shared.labels) for one in stored[name]] for name in names], classes + 1)
        found["open"] = open_where_it_differs(
            found["uar_difference"], found["verdict"], opened["uar_difference"], opened["verdict"]
        )
    result = {
        "corpus": params["corpus"],
        "what": "mean UAR of the second minus mean UAR of the first, same clips, Student's t over seeds (each model's "
        "by themselves) and speakers (the same for both)",
        "labels_protocol": shared.told(),
        "clips": len(clips.target),
        "speakers": speakers,
        "models": models,
        **found,
        "remark": few(speakers, 1),
    }
    (out / "seeds.json").write_text(json.dumps(plain(result), indent=1))


def _trainings(inputs: Mapping[str, Path], name: str, order: list[str]) -> list[Stored]:
    """A model's predictions for test clips, one a seed."""
    seeds = sum(place.startswith(f"predictions/{name}/") for place in inputs)
    return [of_role(inputs[f"predictions/{name}/{i}"], order, "test") for i in range(seeds)]


def _model(
    inputs: Mapping[str, Path], name: str, trainings: list[Predicted], classes: int, seed: int
) -> dict[str, Any]:
    spec = json.loads((inputs[f"model/{name}"] / "model.json").read_text())
    uars = [
        float(uar(confusion_by_speaker(one.target, one.chosen, one.speaker, classes).sum(axis=0))) for one in trainings
    ]
    return {
        "model": name,
        "title": spec["title"],
        "note": spec["note"],
        "seeds": [{"seed": seed + i, "uar": value} for i, value in enumerate(uars)],
        **over_seeds(uars),
    }
