"""Registered models in MLflow: who is champion, challenger and previous, and how that changes.

Aliases move one at a time, in an order that never leaves a model without champion: `previous` gets the old champion
before `champion` moves. Killed in between and run again, it ends the same.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ser_tasks.errors import BadInput

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
REVIEW, REVIEWER, REASON = "ser.review", "ser.reviewer", "ser.review_reason"


def client() -> "MlflowClient":
    """A client of the server that MLFLOW_TRACKING_URI names."""
    import mlflow

    return mlflow.MlflowClient()


def aliases(name: str) -> dict[str, int]:
    """Alias to version of a registered model. Raises BadInput when there is no such model."""
    from mlflow.exceptions import MlflowException

    try:
        model = client().get_registered_model(name)
    except MlflowException as error:
        raise BadInput(f"registry: there is no registered model {name!r}: run ser_study first") from error
    return {alias: int(version) for alias, version in dict(model.aliases).items()}


def champion_artifact(name: str) -> str | None:
    """The reference of the training that the champion is; None when there is no champion."""
    try:
        version = aliases(name).get(CHAMPION)
    except BadInput:
        return None
    if version is None:
        return None
    return dict(client().get_model_version(name, str(version)).tags).get("ser.artifact")


def promote(name: str, version: int, who: str, why: str) -> dict[str, Any]:
    """Make a version the champion; the old champion becomes `previous`. A second call changes nothing.

    Returns:
        {"name", "champion", "previous"} as they are now; previous is None when there was no champion.

    Raises:
        BadInput: No such model or version.
    """
    _exists(name, version)
    now = aliases(name)
    service = client()
    if CHAMPION in now and now[CHAMPION] != version:
        service.set_registered_model_alias(name, PREVIOUS, str(now[CHAMPION]))
    service.set_registered_model_alias(name, CHAMPION, str(version))
    if now.get(CHALLENGER) == version:
        service.delete_registered_model_alias(name, CHALLENGER)
    _tag(name, version, {REVIEW: "promoted", REVIEWER: who, REASON: why})
    return standing(name)


def reject(name: str, version: int, who: str, why: str) -> dict[str, Any]:
    """Note that a version was refused, by whom and why; it is no challenger any more. The champion stays."""
    _exists(name, version)
    _tag(name, version, {REVIEW: "rejected", REVIEWER: who, REASON: why})
    if aliases(name).get(CHALLENGER) == version:
        client().delete_registered_model_alias(name, CHALLENGER)
    return standing(name)


def rollback(name: str, who: str, why: str, version: int | None = None) -> dict[str, Any]:
    """Make `previous` the champion again. Killed in between and run again with the version, it ends the same.

    Args:
        name: Of the registered model.
        who: Asked for it.
        why: The reason.
        version: The one to go back to; None: `previous`.

    Raises:
        BadInput: There is no other version to go back to.
    """
    now = aliases(name)
    version = now.get(PREVIOUS) if version is None else version
    if version is None or (version == now.get(CHAMPION) and now.get(PREVIOUS) in (None, version)):
        raise BadInput(
            f"registry: {name} has no previous champion to go back to: promote a version by its number, "
            f"'ser registry promote {name} VERSION'"
        )
    return promote(name, version, who, f"rollback: {why}")


def versions(name: str) -> list[dict[str, Any]]:
    """Every version, newest first: {"version", "aliases", "created_at" (ms), "run_id", "tags"}."""
    by_version: dict[int, list[str]] = {}
    for alias, version in aliases(name).items():
        by_version.setdefault(version, []).append(alias)
    found = client().search_model_versions(f"name = '{name}'")
    rows = [
        {
            "version": int(item.version),
            "aliases": sorted(by_version.get(int(item.version), [])),
            "created_at": item.creation_timestamp,
            "run_id": item.run_id,
            "tags": dict(item.tags),
        }
        for item in found
    ]
    return sorted(rows, key=lambda row: -row["version"])


def metrics_of(name: str, version: int) -> dict[str, float]:
    """Headline metrics of the run that made a version."""
    run_id = client().get_model_version(name, str(version)).run_id
    return dict(client().get_run(run_id).data.metrics)


def supersede(name: str, version: int, newer: int) -> dict[str, Any]:
    """Note that a version was not decided on since a newer challenger came. Nothing moves."""
    _tag(name, version, {REVIEW: "superseded", REVIEWER: "", REASON: f"version {newer} came before an answer"})
    return standing(name)


def card(name: str, version: int) -> str:
    """The description of a version. Raises BadInput when there is no such version."""
    _exists(name, version)
    return str(client().get_model_version(name, str(version)).description or "no card")


def standing(name: str) -> dict[str, Any]:
    """Who is champion and who was before: {"name", "champion", "previous"}, versions or None."""
    now = aliases(name)
    return {"name": name, "champion": now.get(CHAMPION), "previous": now.get(PREVIOUS)}


def _exists(name: str, version: int) -> None:
    have = [row["version"] for row in versions(name)]
    if version not in have:
        raise BadInput(f"registry: {name} has no version {version}; it has: {', '.join(map(str, sorted(have)))}")


def _tag(name: str, version: int, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        client().set_model_version_tag(name, str(version), key, value)
