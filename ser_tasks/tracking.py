"""MLflow: runs, registered models, aliases. Everything is found again by tag, so a retry makes nothing twice."""

import hashlib
import io
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ser_tasks.model_card import Card, shortened, write_card

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

_log = logging.getLogger(__name__)
SERVED = Path(__file__).parent / "served.py"
SERVED_NEEDS = ("torch", "torchaudio", "transformers", "safetensors", "numpy", "soundfile", "soxr", "tqdm")
"""What a served model imports, pinned to the versions that it was trained with."""

PICTURE = "get-artifact?path=figures/"
"""Where MLflow's server gives a run's figures, relative to its pages; `&run_uuid=` follows the name."""

CARD_FILE = "card.md"
"""The whole card, among a run's artifacts."""

HEADLINES = ("within.", "across.")
"""What the names of headline metrics begin with."""

READY = "ser.ready"
"""Tag of a version whose registration is complete."""

RESULTS, GATE_RESULT, TESTED = "ser.results", "ser.gate_result", "ser.test"
"""Tags of a version: digests of what was measured and of what the gate found; marks of the test speakers."""

OF_THE_TRAINING = ("ser.key", "ser.artifact", "ser.encoder", "git.commit")
"""Tags that stay as they are when a version is measured anew."""

MOST_MARKS = 500
"""MLflow keeps 5,000 characters of a tag."""


@dataclass(frozen=True)
class Training:
    """A finished training, as a reviewer wants to see it.

    Attributes:
        name: Of the registered model.
        experiment: Name of the experiment.
        key: Of the training's artifact: names its run and version for ever.
        folder: model.json, model.safetensors, and what the model has learnt from; served models pack all of it.
        params: Of the training step.
        history: One mapping an epoch.
        metrics: One metrics.json a corpus.
        datasets: Corpus to (folder of its scan artifact, digest).
        pictures: Confusion matrices.
        config: The whole study's.
        tags: For the run and the version; `ser.test` tells which test speakers (`marks`), `ser.results` and
            `ser.gate_result` whether a version that is there says what is known now.
        card: What the version's page says.
        files: Further files for the run's artifacts.
    """

    name: str
    experiment: str
    key: str
    folder: Path
    params: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]
    metrics: Sequence[Mapping[str, Any]]
    datasets: Mapping[str, tuple[Path, str]]
    pictures: Sequence[Path]
    config: Mapping[str, Any]
    tags: Mapping[str, str]
    card: Card
    files: Sequence[Path] = ()


def register_training(training: Training) -> dict[str, Any]:
    """Log a training and register its model with the alias `challenger`.

    A version that is there gets a new card, tags and metrics when it was measured on other clips or labels since, or
    the gate found something else; aliases and what people decided stay.

    Returns:
        {"name", "version", "run_id", "new"}; new is False when this key was registered before.
    """
    import mlflow

    client = mlflow.MlflowClient()
    found = client.search_model_versions(f"name = '{training.name}' and tag.`ser.key` = '{training.key}'")
    if found and READY in found[0].tags:
        _renew(client, training, found[0])
        return {"name": training.name, "version": int(found[0].version), "run_id": found[0].run_id, "new": False}
    if found:  # a try before this one was killed here
        return _show(client, training, found[0])
    experiment = mlflow.set_experiment(training.experiment).experiment_id
    run_id = find_run(client, experiment, "ser.key", training.key)
    with mlflow.start_run(run_id=run_id, run_name=training.name) as run:
        mlflow.set_tags(dict(training.tags))
        mlflow.log_params({key: str(value)[:500] for key, value in _flatten(training.params).items()})
        _log_epochs(client, run.info.run_id, training.history)
        mlflow.log_dict(dict(training.config), "config.json")
        _log_results(training)
        info = _log_model(training)
    version = mlflow.register_model(info.model_uri, training.name, tags=dict(training.tags))
    return _show(client, training, version)


def _log_results(training: Training) -> None:
    """Everything of a run that another evaluation of the same training changes."""
    import mlflow

    mlflow.log_metrics(headline(training.metrics))
    _log_datasets(training)
    for item in training.metrics:
        mlflow.log_dict(dict(item), f"metrics/{item['corpus']}.json")
    for picture in training.pictures:
        mlflow.log_artifact(str(picture), "figures")
    for file in training.files:
        mlflow.log_artifact(str(file), f"data/{file.parent.name[:12]}")


def _renew(client: "MlflowClient", training: Training, version: Any) -> None:
    """Bring a version's run, card and tags up to date; the tags that say that they are come last."""
    import mlflow

    said = dict(version.tags)
    if all(said.get(tag) == training.tags.get(tag) for tag in (RESULTS, GATE_RESULT)):
        return
    mlflow.set_experiment(experiment_id=client.get_run(version.run_id).info.experiment_id)
    with mlflow.start_run(run_id=version.run_id):
        _log_results(training)
    _write_card(client, training, version)
    tags = {name: value for name, value in training.tags.items() if name not in OF_THE_TRAINING}
    for name in sorted(tags, key=lambda name: name in (RESULTS, GATE_RESULT)):
        client.set_tag(version.run_id, name, tags[name])
        client.set_model_version_tag(training.name, version.version, name, tags[name])


def marks(tested: Mapping[str, Sequence[str]]) -> str:
    """Short hashes of the test speakers of each corpus, for the tag `ser.test`.

    Of very many speakers the smallest hashes stand for all: two sets that share speakers share those (Broder 1997).

    Args:
        tested: Corpus to speakers.
    """
    names = (f"{corpus}/{speaker}" for corpus, speakers in tested.items() for speaker in speakers)
    return " ".join(sorted(hashlib.sha256(name.encode()).hexdigest()[:8] for name in names)[:MOST_MARKS])


def _write_card(client: "MlflowClient", training: Training, version: Any) -> None:
    """The card, with how many versions have met some of these test speakers."""
    known = client.search_model_versions(f"name = '{training.name}'")
    tested = set(training.tags[TESTED].split())
    shown = {item.version for item in known if tested & set(dict(item.tags).get(TESTED, "").split())}
    pictures = {path.stem: f"{PICTURE}{quote(path.name)}&run_uuid={version.run_id}" for path in training.pictures}
    text = write_card(replace(training.card, shown=len(shown | {version.version}), pictures=pictures))
    client.log_text(version.run_id, text, CARD_FILE)
    client.update_model_version(training.name, version.version, shortened(text))


def _show(client: "MlflowClient", training: Training, version: Any) -> dict[str, Any]:
    """Give a version its card and the alias; the tag that says that it has both comes last."""
    _write_card(client, training, version)
    client.set_registered_model_alias(training.name, "challenger", version.version)
    client.set_model_version_tag(training.name, version.version, READY, "yes")
    return {"name": training.name, "version": int(version.version), "run_id": version.run_id, "new": True}


@contextmanager
def stream(experiment: str, name: str, key: str) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Log epochs to MLflow while a training runs, and what the machine is doing; a retry continues the same run.

    A training does not stop because MLflow does: what could not be logged is said once and logged at registration.

    Args:
        experiment: Name of the experiment.
        name: Of the registered model.
        key: Of the training's artifact; the run is found again by it.

    Yields:
        A function that takes an epoch's metrics. Without MLFLOW_TRACKING_URI it does nothing.
    """
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        yield lambda epoch: None
        return
    import mlflow

    client = mlflow.MlflowClient()
    lost: list[Exception] = []

    def guarded(action: Callable[[], Any]) -> Any:
        if lost:  # each further try would wait for minutes
            return None
        try:
            return action()
        except Exception as error:  # whatever it is, hours of training weigh more
            _log.warning("MLflow does not answer (%s): training goes on, epochs are logged at registration", error)
            lost.append(error)
            return None

    def begin() -> str:
        experiment_id = mlflow.set_experiment(experiment).experiment_id
        run_id = find_run(client, experiment_id, "ser.key", key)
        run = mlflow.start_run(run_id=run_id, run_name=name, tags={"ser.key": key}, log_system_metrics=True)
        return str(run.info.run_id)

    run_id = guarded(begin)
    status = "FAILED"
    try:
        yield lambda epoch: guarded(lambda: _log_epochs(client, run_id, [epoch])) if run_id else None
        status = "FINISHED"
    finally:
        if run_id:
            guarded(lambda: mlflow.end_run(status))


def _log_epochs(client: "MlflowClient", run_id: str, history: Sequence[Mapping[str, Any]]) -> None:
    """Log those epochs that are not logged yet."""
    from mlflow.entities import Metric

    logged = {point.step for point in client.get_metric_history(run_id, "dev_uar")}
    for epoch in history:
        if int(epoch["epoch"]) not in logged:
            values = {key: float(value) for key, value in epoch.items() if key != "epoch" and value is not None}
            now = int(time.time() * 1000)
            metrics = [Metric(name, value, now, int(epoch["epoch"])) for name, value in sorted(values.items())]
            client.log_batch(run_id, metrics)


def find_run(client: "MlflowClient", experiment: str, tag: str, value: str) -> str | None:
    """The run of an experiment (by id) that carries a tag."""
    runs = client.search_runs([experiment], f"tags.`{tag}` = '{value}'", max_results=1)
    return str(runs[0].info.run_id) if runs else None


def _log_datasets(training: Training) -> None:
    import mlflow
    import pandas as pd
    from mlflow.exceptions import MlflowException

    for corpus, (folder, digest) in training.datasets.items():
        frame = pd.read_parquet(
            folder / "manifest.parquet", columns=["utterance_id", "speaker_id", "emotion", "duration_s"]
        )
        dataset = mlflow.data.from_pandas(frame, name=corpus, digest=digest[:32])  # MLflow allows 36 characters
        context = "training" if corpus == training.metrics[0]["corpus"] else "across"
        try:
            mlflow.log_input(dataset, context=context)
        except (
            MlflowException
        ):  # two models that name a new dataset at once: MLflow refuses one of them, and now has it
            mlflow.log_input(dataset, context=context)


def _log_model(training: Training) -> Any:
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types.schema import AnyType, ColSpec, Schema

    from ser_tasks.data.learnt import in_words, read_learnt
    from ser_tasks.models.files import read_spec

    # One of three ways a clip; samples are of no declared type, since MLflow checks each of a typed list on its own.
    kinds = {"audio": "binary", "path": "string", "samples": AnyType(), "sample_rate": "long"}
    inputs = [ColSpec(kind, name, required=False) for name, kind in kinds.items()]
    numbers = [*(f"p_{name}" for name in _labels(training.folder)), *(["tone"] if _has_tone(training.folder) else [])]
    outputs = [ColSpec("string", "label"), *(ColSpec("double", name) for name in numbers)]
    return mlflow.pyfunc.log_model(
        name="model",
        python_model=str(SERVED),
        artifacts={"model": str(training.folder)},
        code_paths=[str(SERVED.parent)],
        signature=ModelSignature(Schema(inputs), Schema(outputs)),
        input_example=_example(),
        metadata={
            "learnt_from": in_words(read_learnt(training.folder)),
            "probabilities": read_spec(training.folder).calibration,
        },
        pip_requirements=served_requirements(),
    )


def served_requirements() -> list[str]:
    """What a served model needs, pinned; without `+cpu` and the like, which only their own index has."""
    return [f"{package}=={version(package).partition('+')[0]}" for package in SERVED_NEEDS]


def _example() -> "pd.DataFrame":
    """A clip to try the model with: a quarter of a second of a tone of 220 Hz."""
    import numpy as np
    import pandas as pd
    import soundfile

    buffer = io.BytesIO()
    tone = 0.1 * np.sin(2 * np.pi * 220 * np.arange(4000) / 16_000)
    soundfile.write(buffer, tone, 16_000, format="WAV", subtype="PCM_16")
    return pd.DataFrame({"audio": [buffer.getvalue()]})


def _labels(folder: Path) -> list[str]:
    return list(json.loads((folder / "model.json").read_text())["labels"])


def _has_tone(folder: Path) -> bool:
    return bool(json.loads((folder / "model.json").read_text())["options"].get("tone"))


def headline(metrics: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Headline metrics by name: `within.uar`, `across.ravdess.uar`, each with its interval.

    `uar_open` is that of a model that may answer labels which the corpus lacks, where it has such.
    """
    values = {}
    for item in metrics:
        place = "within" if item["relation"] == "within" else f"across.{item['corpus']}"
        for name in ("uar", "accuracy", "macro_f1"):
            values[f"{place}.{name}"] = item[name]["value"]
        values[f"{place}.uar_low"], values[f"{place}.uar_high"] = item["uar"]["low"], item["uar"]["high"]
        if item["open"]:
            values[f"{place}.uar_open"] = item["open"]["uar"]["value"]
    return values


def mlflow_address() -> str:
    """Where people reach MLflow, for links: SER_MLFLOW_URL, else the address that tasks use."""
    return (os.environ.get("SER_MLFLOW_URL") or os.environ.get("MLFLOW_TRACKING_URI", "")).rstrip("/")


def log_study(
    *,
    experiment: str,
    run: str,
    title: str,
    summary: Mapping[str, Any],
    trainings: Sequence[str],
    seeds: Sequence[str],
    report: Path,
    tags: Mapping[str, str],
) -> str:
    """Log the study's run, one for each DAG run, with the headline metrics and the report; a retry finds it again.

    Args:
        experiment: Name of the experiment.
        run: Of the DAG, by which the study's run is found.
        title: Of the study.
        summary: Of `records.summarise`.
        trainings: Ids of the registered trainings' runs, for the tag `ser.trainings`.
        seeds: Keys of the trainings of further seeds, whose runs stand in that tag too.
        report: Folder.
        tags: Further tags.

    Returns:
        The address of the run in MLflow's UI.
    """
    import mlflow

    client = mlflow.MlflowClient()
    experiment_id = mlflow.set_experiment(experiment).experiment_id
    run_id = find_run(client, experiment_id, "ser.study", run)
    with mlflow.start_run(run_id=run_id, run_name=title) as started:
        further = [find_run(client, experiment_id, "ser.key", key) for key in seeds]  # None: trained in another study
        linked = ",".join([*trainings, *filter(None, further)])
        text = {"mlflow.note.content": results_in_words(summary["rows"])}
        mlflow.set_tags({**tags, **text, "ser.study": run, "ser.trainings": linked})
        for row in summary["rows"]:
            name = "".join(c if c.isalnum() else "_" for c in row["model"])
            place = f"{row['relation']}.{row['corpus']}.{name}"
            mlflow.log_metrics({f"{place}.{metric}": row[metric] for metric in ("uar", "accuracy", "macro_f1")})
            mlflow.log_metrics({f"{place}.uar_{end}": row[end] for end in ("low", "high")})
            if row["uar_open"] is not None:
                mlflow.log_metric(f"{place}.uar_open", row["uar_open"])
        for over in summary["seeds"]:
            for model in over["models"]:
                place = f"seeds.{over['corpus']}.{model['model']}"
                mlflow.log_metrics({f"{place}.uar_mean": model["mean"], f"{place}.uar_sd": model["sd"]})
        if summary["rudeness"]:
            trait = summary["rudeness"]
            aucs = {f"{trait['trait']}.auc_{name}": found["value"] for name, found in trait["auc"].items()}
            mlflow.log_metrics({name: value for name, value in aucs.items() if value is not None})
        mlflow.log_dict(dict(summary), "summary.json")
        mlflow.log_artifacts(str(report), "report")
        found: str = started.info.run_id
    return f"{mlflow_address()}/#/experiments/{experiment_id}/runs/{found}/artifacts"


def results_in_words(rows: Sequence[Mapping[str, Any]]) -> str:
    """What MLflow shows above a study's run, in Markdown: each number, which labels it is about, and odd answers."""
    return "\n".join(
        f"- {row['model']} on {row['corpus']} ({row['relation']}): UAR **{row['uar']:.3f}** ({row['low']:.3f} to "
        f"{row['high']:.3f}); {row['labels']}" + (f". **{row['answers']}**" if row["answers"] else "")
        for row in rows
    )


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
