"""Registered models in MLflow: who is champion, challenger and previous, and how that changes.

Aliases move one at a time, in an order that never leaves a model without champion: `previous` gets the old champion
before `champion` moves. Killed in between and run again, it ends the same.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ser_tasks.errors import BadInput
from ser_tasks.tracking import CARD_FILE, HEADLINES

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
REVIEW, REVIEWER, REASON, REVIEW_RUN = "ser.review", "ser.reviewer", "ser.review_reason", "ser.review_run"
"""Tags of a version: what became of it, one of those below; who, why, which run."""
WAITING, NO_ANSWER, SUPERSEDED = "waiting", "no answer", "superseded"
PROMOTED, REJECTED, ROLLED_BACK = "promoted", "rejected", "rolled back"
RESTORED, RESTORED_RUN = "ser.restored", "ser.restored_run"
"""Tags of a version that a rollback made champion again: by whom and why, in which run."""
GATE, GATE_SENTENCE, GATE_CHAMPION = "ser.gate", "ser.gate_sentence", "ser.gate_champion"
"""Tags of a version that its registration sets: the gate's verdict (pass, fail, undecided, first), its sentence, and
the version that it compared with, empty for none."""
GATE_SPEAKERS, GATE_LOOKS, GATE_LOOK = "ser.gate_speakers", "ser.gate_looks", "ser.gate_look"
"""Tags of a version that its registration sets: marks of the speakers who decided; the days on which they decided on it
(ISO dates); which look of a year at these speakers the verdict is."""
GATE_SUPERIOR = "ser.gate_superior"
"""Tag of a version: yes where it is shown better than the champion over all looks of a year, else no."""
GATE_NAME = "gate"
"""The reviewer of what the gate refused or let pass without a person."""
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


def version_of(name: str, key: str) -> int | None:
    """The version that a training (by its key) was registered as."""
    found = client().search_model_versions(f"name = '{name}' and tag.`ser.key` = '{key}'")
    return int(found[0].version) if found else None


def champion_version(name: str) -> int | None:
    """The champion; None when there is none, or no such model."""
    try:
        return aliases(name).get(CHAMPION)
    except BadInput:
        return None


def champion_artifact(name: str) -> str | None:
    """The reference of the training that the champion is; None when there is no champion."""
    version = champion_version(name)
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
    _crown(name, version)
    tag(name, version, {REVIEW: PROMOTED, REVIEWER: who, REASON: why, REVIEW_RUN: run})
    _went_back(name)
    return standing(name)


def _crown(name: str, version: int) -> None:
    now, service = aliases(name), client()
    if CHAMPION in now and now[CHAMPION] != version:
        service.set_registered_model_alias(name, PREVIOUS, str(now[CHAMPION]))
    service.set_registered_model_alias(name, CHAMPION, str(version))
    if now.get(CHALLENGER) == version:
        service.delete_registered_model_alias(name, CHALLENGER)


def _went_back(name: str) -> None:
    if _GOING_BACK in client().get_registered_model(name).tags:
        client().delete_registered_model_tag(name, _GOING_BACK)


def reject(name: str, version: int, who: str, why: str, run: str = "") -> dict[str, Any]:
    """Note that a version was refused, by whom and why. The champion stays.

    It is no challenger any more: that is again the newest version since the champion that waits for an answer or had
    none, if there is one.
    """
    _exists(name, version)
    tag(name, version, {REVIEW: REJECTED, REVIEWER: who, REASON: why, REVIEW_RUN: run})
    now = aliases(name)
    if now.get(CHALLENGER) == version:
        undecided = (
            row["version"]
            for row in versions(name)
            if row["version"] > now.get(CHAMPION, 0) and row["tags"].get(REVIEW) in (WAITING, NO_ANSWER)
        )
        if (other := next(undecided, None)) is not None:
            client().set_registered_model_alias(name, CHALLENGER, str(other))
        else:
            client().delete_registered_model_alias(name, CHALLENGER)
    return standing(name)


def reopen(name: str, version: int) -> bool:
    """Make a version that the gate has refused a challenger again, since its verdict is another now.

    Only what the gate alone refused, and only while no newer version is challenger or champion. Killed in between, the
    next call ends it.

    Returns:
        Whether it was reopened.
    """
    tags, now = tags_of(name, version), aliases(name)
    refused = (tags.get(REVIEW), tags.get(REVIEWER)) == (REJECTED, GATE_NAME) and tags.get(GATE) != "fail"
    if not refused or any(now.get(alias, 0) > version for alias in (CHALLENGER, CHAMPION)):
        return False
    client().set_registered_model_alias(name, CHALLENGER, str(version))
    for key in (REASON, REVIEW_RUN, REVIEW, REVIEWER):  # the last two are what the next call goes by
        if key in tags:
            client().delete_model_version_tag(name, str(version), key)
    return True


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


def rollback(name: str, who: str, why: str, run: str = "", version: int | None = None) -> dict[str, Any]:
    """Make `previous` the champion again, and the champion `previous`. Killed in between, the next call ends it.

    The version that is left says that it was rolled back, by whom and why; the other keeps its own review.

    Args:
        name: Of the registered model.
        who: Who decided.
        why: Kept with both versions.
        run: The run in which it was decided, if any.
        version: To go back to; None: `previous`.

    Raises:
        BadInput: There is no other version to go back to, or no such version.
    """
    target = rollback_target(name) if version is None else version
    _exists(name, target)
    # First, since `previous` names the version that is left as soon as the aliases move.
    client().set_registered_model_tag(name, _GOING_BACK, str(target))
    left = aliases(name).get(CHAMPION)
    if left is not None and left != target:
        tag(name, left, {REVIEW: ROLLED_BACK, REVIEWER: who, REASON: why})
    _crown(name, target)
    if tags_of(name, target).get(REVIEW) != PROMOTED:
        tag(name, target, {REVIEW: PROMOTED, REVIEWER: who, REASON: f"rollback: {why}", REVIEW_RUN: run})
    tag(name, target, {RESTORED: f"{who}: {why}", RESTORED_RUN: run})
    _went_back(name)
    return standing(name)


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
    """Headline metrics of the run that made a version, without those of its epochs."""
    run_id = client().get_model_version(name, str(version)).run_id
    found = client().get_run(run_id).data.metrics
    return {metric: value for metric, value in found.items() if metric.startswith(HEADLINES)}


def card(name: str, version: int) -> str:
    """The whole card of a version; its description where its run has none. Raises BadInput: there is no such version.

    A description is cut to what MLflow keeps of it.
    """
    import mlflow

    _exists(name, version)
    found = client().get_model_version(name, str(version))
    if any(item.path == CARD_FILE for item in client().list_artifacts(found.run_id)):
        return str(mlflow.artifacts.load_text(f"runs:/{found.run_id}/{CARD_FILE}"))
    return str(found.description or "no card")


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
