"""What the DAG `ser_promote` does around a person's answer."""

from collections.abc import Mapping
from typing import Any

from ser_tasks import registry
from ser_tasks.errors import BadInput


def prepare(name: str, version: int | None, action: str, by: str) -> dict[str, Any]:
    """Find what is to be decided on.

    Args:
        name: Of the registered model.
        version: Which; None: the challenger, or for a rollback the previous champion.
        action: ask, promote or rollback.
        by: The run that asks.

    Returns:
        {"model", "version", "action", "by", "subject", "body"}.

    Raises:
        BadInput: No such model or version, or no challenger to decide on.
    """
    now = registry.aliases(name)
    wanted = registry.PREVIOUS if action == "rollback" else registry.CHALLENGER
    chosen = version if version is not None else now.get(wanted)
    if chosen is None:
        raise BadInput(f"promotion: {name} has no {wanted}: give the version")
    card = registry.card(name, chosen)
    champion = now.get(registry.CHAMPION)
    against = f"the champion is version {champion}" if champion else "there is no champion yet"
    return {
        "model": name,
        "version": chosen,
        "action": action,
        "by": by,
        "subject": f"Promote {name} version {chosen}? ({against})",
        "body": card,
    }


def settle(prepared: Mapping[str, Any], answer: Mapping[str, Any] | None, reason: str) -> dict[str, Any]:
    """Carry out what was decided. Running it again changes nothing.

    Args:
        prepared: From `prepare`.
        answer: The approval's result (`chosen_options`, `responded_by_user`); None: nobody answered in time.
        reason: From the trigger form.

    Returns:
        {"outcome": promoted | rolled back | rejected | superseded | no answer, "name", "champion", "previous"}.
    """
    name, version = prepared["model"], int(prepared["version"])
    if prepared["action"] == "rollback":
        return {"outcome": "rolled back", **registry.rollback(name, prepared["by"], reason)}
    if prepared["action"] == "promote":
        return {"outcome": "promoted", **registry.promote(name, version, prepared["by"], reason)}
    if answer is None:
        return {"outcome": "no answer", **registry.standing(name)}
    who = (answer.get("responded_by_user") or {}).get("name") or "unknown"
    if answer["chosen_options"] != ["Approve"]:
        return {"outcome": "rejected", **registry.reject(name, version, who, reason or "refused in Airflow")}
    newer = registry.aliases(name).get(registry.CHALLENGER)
    if newer is not None and newer > version:
        return {"outcome": "superseded", **registry.supersede(name, version, newer)}
    return {"outcome": "promoted", **registry.promote(name, version, who, reason or "approved in Airflow")}
