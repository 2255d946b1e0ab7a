"""A trait's direction as a registered MLflow model. It is found again by its key, so a retry makes nothing twice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_tasks.tracking import READY, find_run, served_requirements

if TYPE_CHECKING:
    from mlflow import MlflowClient

SERVED_TRAIT = Path(__file__).parent / "served_trait.py"


@dataclass(frozen=True)
class FittedTrait:
    """A direction, as a reviewer wants to see it.

    Attributes:
        experiment: Name of the experiment.
        key: Of the trait's artifact: names its run and version for ever.
        folder: What the trait step wrote.
        encoder: Folder of the encoder or model that gave the embeddings.
        metrics: Of the trait step.
        transfers: metrics.json of each other corpus.
        pictures: Figures of the trait.
        tags: For the run and the version.
    """

    experiment: str
    key: str
    folder: Path
    encoder: Path
    metrics: Mapping[str, Any]
    transfers: Sequence[Mapping[str, Any]]
    pictures: Sequence[Path]
    tags: Mapping[str, str]

    @property
    def name(self) -> str:
        """Of the registered model."""
        return f"ser-trait-{self.metrics['trait']}"


def register_fitted_trait(fitted: FittedTrait) -> dict[str, Any]:
    """Log a direction and register it with the alias `challenger`.

    Returns:
        {"name", "version", "run_id", "new"}; new is False when this key was registered before: then nothing changes.
    """
    import mlflow

    client = mlflow.MlflowClient()
    found = client.search_model_versions(f"name = '{fitted.name}' and tag.`ser.key` = '{fitted.key}'")
    if found and READY in found[0].tags:
        return {"name": fitted.name, "version": int(found[0].version), "run_id": found[0].run_id, "new": False}
    if found:  # a try before this one was killed here
        return _show(client, fitted, found[0])
    experiment = mlflow.set_experiment(fitted.experiment).experiment_id
    run_id = find_run(client, experiment, "ser.key", fitted.key)
    with mlflow.start_run(run_id=run_id, run_name=fitted.name):
        mlflow.set_tags(dict(fitted.tags))
        mlflow.log_metrics(headline(fitted.metrics, fitted.transfers))
        mlflow.log_dict(dict(fitted.metrics), "metrics.json")
        for picture in fitted.pictures:
            mlflow.log_artifact(str(picture), "figures")
        info = _log_model(fitted)
    made = mlflow.register_model(info.model_uri, fitted.name, tags=dict(fitted.tags))
    return _show(client, fitted, made)


def _show(client: "MlflowClient", fitted: FittedTrait, version: Any) -> dict[str, Any]:
    """Give a version its card and the alias; the tag that says that it has both comes last."""
    client.update_model_version(fitted.name, version.version, trait_card(fitted))
    client.set_registered_model_alias(fitted.name, "challenger", version.version)
    client.set_model_version_tag(fitted.name, version.version, READY, "yes")
    return {"name": fitted.name, "version": int(version.version), "run_id": version.run_id, "new": True}


def _log_model(fitted: FittedTrait) -> Any:
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, Schema

    outputs = [ColSpec("double", "score"), ColSpec("double", "percentile"), ColSpec("string", "percentile_of")]
    return mlflow.pyfunc.log_model(
        name="model",
        python_model=str(SERVED_TRAIT),
        artifacts={"trait": str(fitted.folder), "encoder": str(fitted.encoder)},
        code_paths=[str(SERVED_TRAIT.parent)],
        signature=ModelSignature(Schema([ColSpec("binary", "audio")]), Schema(outputs)),
        pip_requirements=served_requirements(),
    )


def headline(metrics: Mapping[str, Any], transfers: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """`auc_inside_speakers` and `auc_one_clip` with their intervals, and the same as `transfer.<corpus>.*`."""
    values: dict[str, float | None] = {}
    for name, found in metrics["auc"].items():
        values |= {f"auc_{name}": found["value"], f"auc_{name}_low": found["low"], f"auc_{name}_high": found["high"]}
    for found in transfers:
        if found["pooled"]:
            values[f"transfer.{found['corpus']}.auc_inside_speakers"] = found["within_speaker"]["value"]
            values[f"transfer.{found['corpus']}.auc_one_clip"] = found["pooled"]["value"]
    return {name: value for name, value in values.items() if value is not None}


def trait_card(fitted: FittedTrait) -> str:
    """What a reviewer needs, as the version's description (Markdown)."""
    metrics, evidence = fitted.metrics, fitted.metrics["evidence"]
    aucs = [
        f"{found['name']} {found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})"
        for found in metrics["auc"].values()
    ]
    lines = [f"**{fitted.name}**, trait `{fitted.key[:12]}`"]
    if fitted.tags.get("ser.data") == "synthetic":
        lines.append("Fitted on **synthetic** speech: says nothing about real speech.")
    lines += [
        f"- {metrics['groups']}; {metrics['clips']} clips of {metrics['speakers']} speakers",
        f"- embeddings by {metrics['embeddings']}{': ' + metrics['note'] if metrics['note'] else ''}",
        f"- {'; '.join(aucs)}; {metrics['left_out_together']} held out",
        f"- explained by **{metrics['explained_by']}**: {evidence['verdict']['why']}",
        f"- continuous: {evidence['shape']['verdict']}: {evidence['shape']['why']}",
        *(f"- not carried by this much data: {words}" for words in evidence["refused"]),
    ]
    if fitted.tags.get("ser.airflow"):
        lines.append(f"- [Airflow run]({fitted.tags['ser.airflow']})")
    return "\n\n".join(lines[:2]) + "\n" + "\n".join(lines[2:])
