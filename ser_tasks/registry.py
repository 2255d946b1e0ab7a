"""Registered models in MLflow: who is champion, challenger and previous, and how that changes.

Aliases move one at a time, in an order that never leaves a model without champion: `previous` gets the old champion
before `champion` moves. Killed in between and run again, it ends the same.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ser_tasks.errors import BadInput

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
REVIEW, REVIEWER, REASON, REVIEW_RUN = "ser.review", "ser.reviewer", "ser.review_reason", "ser.review_run"
"""Tags of a version: what became of it (waiting, promoted, rejected, superseded, no answer); who, why, which run."""
GATE, GATE_SENTENCE = "ser.gate", "ser.gate_sentence"
"""Tags of a version that its registration sets: the gate's verdict (pass, fail, undecided, first) and its sentence."""
_GOING_BACK = "ser.going_back_to"


def client() -> "MlflowClient":
    """A client of the server that MLFLOW_TRACKING_URI names. Raises BadInput when it names none."""
    import mlflow

    if not os.environ.get("MLFLOW_TRACKING_URI"):
        raise BadInput(
            "registry: MLFLOW_TRACKING_URI is not set: start the stack with `make up`, then "
            "`set -a; . .local/stack/env; set +a`"
        )
    return mlflow.MlflowClient()


def models() -> list[str]:
    """Names of all registered models."""
    return sorted(model.name for model in client().search_registered_models())


def aliases(name: str) -> dict[str, int]:
    """Alias to version of a registered model. Raises BadInput when there is no such model."""
    from mlflow.exceptions import MlflowException

    try:
        model = client().get_registered_model(name)
    except MlflowException as error:
        raise BadInput(f"registry: there is no registered model {name!r}: run ser_study first") from error
    return {alias: int(version) for alias, version in dict(model.aliases).items()}


def find_version(name: str, version: str) -> int:
    """The number that a person gave, or the version that an alias (champion, challenger, previous) names.

    Raises:
        BadInput: No such alias, model or version.
    """
    now = aliases(name)
    if not version.isdigit() and version not in now:
        have = ", ".join(f"{alias} ({number})" for alias, number in now.items()) or "none"
        raise BadInput(f"registry: {name} has no alias {version!r}; it has: {have}")
    number = int(version) if version.isdigit() else now[version]
    _exists(name, number)
    return number


def champion_artifact(name: str) -> str | None:
    """The reference of the training that the champion is; None when there is no champion."""
    try:
        version = aliases(name).get(CHAMPION)
    except BadInput:
        return None
    if version is None:
        return None
    return dict(client().get_model_version(name, str(version)).tags).get("ser.artifact")


def promote(name: str, version: int, who: str, why: str, run: str = "") -> dict[str, Any]:
    """Make a version the champion; the old champion becomes `previous`. A second call changes nothing.

    Args:
        name: Of the registered model.
        version: Which.
        who: Who decided.
        why: Kept with the version.
        run: The run in which it was decided, if any.

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
    tag(name, version, {REVIEW: "promoted", REVIEWER: who, REASON: why, REVIEW_RUN: run})
    if _GOING_BACK in service.get_registered_model(name).tags:
        service.delete_registered_model_tag(name, _GOING_BACK)
    return standing(name)


def reject(name: str, version: int, who: str, why: str, run: str = "") -> dict[str, Any]:
    """Note that a version was refused, by whom and why; it is no challenger any more. The champion stays."""
    _exists(name, version)
    tag(name, version, {REVIEW: "rejected", REVIEWER: who, REASON: why, REVIEW_RUN: run})
    if aliases(name).get(CHALLENGER) == version:
        client().delete_registered_model_alias(name, CHALLENGER)
    return standing(name)


def rollback_target(name: str) -> int:
    """The version that a rollback makes champion: `previous`, or that of a rollback that was killed.

    Raises:
        BadInput: There is no other version to go back to.
    """
    now = aliases(name)
    begun = client().get_registered_model(name).tags.get(_GOING_BACK)
    if begun:
        return int(begun)
    if PREVIOUS not in now or now[PREVIOUS] == now.get(CHAMPION):
        raise BadInput(
            f"registry: {name} has no previous champion to go back to: promote a version by its number, "
            f"'ser registry promote {name} VERSION'"
        )
    return now[PREVIOUS]


def rollback(name: str, who: str, why: str) -> dict[str, Any]:
    """Make `previous` the champion again, and the champion `previous`. Killed in between, the next call ends it.

    Raises:
        BadInput: There is no other version to go back to.
    """
    target = rollback_target(name)
    client().set_registered_model_tag(name, _GOING_BACK, str(target))
    return promote(name, target, who, f"rollback: {why}")


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


def card(name: str, version: int) -> str:
    """The description of a version. Raises BadInput when there is no such version."""
    _exists(name, version)
    return str(client().get_model_version(name, str(version)).description or "no card")


def standing(name: str) -> dict[str, Any]:
    """Who is champion and who was before: {"name", "champion", "previous"}, versions or None."""
    now = aliases(name)
    return {"name": name, "champion": now.get(CHAMPION), "previous": now.get(PREVIOUS)}


def tag(name: str, version: int, tags: Mapping[str, str]) -> None:
    """Set tags of a version."""
    for key, value in tags.items():
        client().set_model_version_tag(name, str(version), key, value)


def tags_of(name: str, version: int) -> dict[str, str]:
    """The tags of a version. Raises BadInput when there is no such version."""
    _exists(name, version)
    return dict(client().get_model_version(name, str(version)).tags)


def _exists(name: str, version: int) -> None:
    have = [row["version"] for row in versions(name)]
    if version not in have:
        raise BadInput(f"registry: {name} has no version {version}; it has: {', '.join(map(str, sorted(have)))}")
