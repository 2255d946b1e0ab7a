"""What the DAG `ser_promote` does around a person's answer: what is to be decided, and carrying it out."""

from collections.abc import Mapping, Sequence
from typing import Any

from ser_tasks import registry
from ser_tasks.errors import BadInput
from ser_tasks.registry import (
    CHALLENGER,
    CHAMPION,
    GATE,
    GATE_CHAMPION,
    GATE_NAME,
    GATE_SENTENCE,
    GATE_SUPERIOR,
    NO_ANSWER,
    PROMOTED,
    REASON,
    REJECTED,
    RESTORED_RUN,
    REVIEW,
    REVIEW_RUN,
    REVIEWER,
    ROLLED_BACK,
    SUPERSEDED,
    WAITING,
)
from ser_tasks.tracking import GATE_RESULT, PICTURE, mlflow_address


def offers(registered: Sequence[Mapping[str, Any]], automatic: bool) -> list[dict[str, Any]]:
    """Runs of `ser_promote` that a study starts: one for each challenger on which nobody has decided yet.

    Args:
        registered: Results of registration: {"name", "version", "run_id", ...}.
        automatic: Whether a challenger that passes the gate and is shown better is promoted without asking.

    Returns:
        {"trigger_run_id", "conf"} each; the same for the same version and verdict, so that a retry starts none twice.
    """
    found = []
    for item in registered:
        name, version = item["name"], int(item["version"])
        tags = registry.tags_of(name, version)
        if registry.aliases(name).get(CHALLENGER) == version and REVIEW not in tags:
            conf = {"model": name, "version": version, "action": "ask", "automatic": automatic}
            run = "_".join(filter(None, (name, str(version), item["run_id"][:8], tags.get(GATE_RESULT, "")[:6])))
            found.append({"trigger_run_id": run, "conf": conf})
    return found


def prepare(name: str, version: int | None, action: str, automatic: bool, who: str, run: str) -> dict[str, Any]:
    """Find what is to be decided on, and whether a person is asked. Running it again gives the same.

    Args:
        name: Of the registered model.
        version: Which; None: the challenger, or for a rollback the previous champion.
        action: ask, promote or rollback.
        automatic: With ask: promote a challenger that passed the gate and is shown better without asking.
        who: The person, or the run, that started this.
        run: The id of the run of `ser_promote`; notes on the version lead back to it.

    Returns:
        {"model", "version", "decision": ask | promote | rollback | refuse | supersede | none, "who", "why", "run",
        "subject", "body"}.

    Raises:
        BadInput: No such model or version, no challenger to decide on, no champion to go back to.
    """
    chosen = _decided_in(name, run, action) or version or _default_version(name, action)
    body = registry.card(name, chosen)
    decision, decider, why = _decide(name, chosen, action, automatic, run)
    champion = registry.aliases(name).get(CHAMPION)
    against = f"the champion is version {champion}" if champion else "there is no champion yet"
    return {
        "model": name,
        "version": chosen,
        "decision": decision,
        "who": decider or who,
        "why": why,
        "run": run,
        "subject": f"Promote {name} version {chosen}? ({against})",
        "body": body.replace(f"]({PICTURE}", f"]({mlflow_address()}/{PICTURE}"),
    }


def _decided_in(name: str, run: str, action: str) -> int | None:
    """The version that this run has decided on already, when the whole of it is run again."""
    tag = RESTORED_RUN if action == "rollback" else REVIEW_RUN
    return next((row["version"] for row in registry.versions(name) if row["tags"].get(tag) == run), None)


def _default_version(name: str, action: str) -> int:
    if action == "rollback":
        return registry.rollback_target(name)
    challenger = registry.aliases(name).get(CHALLENGER)
    if challenger is None:
        raise BadInput(f"promotion: {name} has no challenger: give the version")
    return challenger


def _decide(name: str, version: int, action: str, automatic: bool, run: str) -> tuple[str, str, str]:
    """The decision; who took it, where it was not a person; and why."""
    if action != "ask":
        return action, "", ""
    tags, champion = registry.tags_of(name, version), registry.aliases(name).get(CHAMPION)
    ended = tags.get(REVIEW_RUN) == run and tags[REVIEW] in (PROMOTED, REJECTED, ROLLED_BACK)
    if ended or champion == version:
        return "none", "", "decided already"
    verdict, sentence = tags.get(GATE, ""), tags.get(GATE_SENTENCE, "")
    # A verdict about another champion than today's says nothing: a person decides.
    if tags.get(GATE_CHAMPION) != str(champion or ""):
        verdict = ""
    if verdict == "fail":
        return "refuse", GATE_NAME, sentence
    # The tag comes before the look at the aliases: of two that start at once, the older is seen by one of the two.
    registry.tag(name, version, {REVIEW: WAITING, REVIEWER: "", REASON: "", REVIEW_RUN: run})
    newer = _newer(name, version)
    if newer:
        return "supersede", "", f"version {newer} came before an answer"
    if automatic and verdict == "pass" and tags.get(GATE_SUPERIOR) == "yes":
        return "promote", GATE_NAME, f"promotion.automatic: {sentence}"
    return "ask", "", ""


def _newer(name: str, version: int) -> int | None:
    """A later version that is challenger, or has become champion since."""
    now = registry.aliases(name)
    return max((now[alias] for alias in (CHALLENGER, CHAMPION) if now.get(alias, 0) > version), default=None)


def older_waiting(prepared: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Runs that wait for an answer on an older version of the same model: begun again, they end as superseded.

    Returns:
        {"trigger_run_id", "conf"} each; none when this version is not offered itself.
    """
    if prepared["decision"] not in ("ask", "promote"):
        return []
    return [
        {
            "trigger_run_id": row["tags"][REVIEW_RUN],
            "conf": {"model": prepared["model"], "version": row["version"], "action": "ask"},
        }
        for row in registry.versions(prepared["model"])
        if row["version"] < prepared["version"] and row["tags"].get(REVIEW) == WAITING
    ]


def settle(prepared: Mapping[str, Any], answer: Mapping[str, Any] | None, reason: str) -> dict[str, Any]:
    """Carry out what was decided. Running it again changes nothing.

    Args:
        prepared: From `prepare`.
        answer: The approval's result (`chosen_options`, `params_input`, `responded_by_user`); None: no answer in time.
        reason: From the trigger form.

    Returns:
        {"outcome": promoted | rejected | superseded | no answer | decided already, "name", "champion", "previous"}.
    """
    name, version, run = prepared["model"], int(prepared["version"]), prepared["run"]
    decision, who = prepared["decision"], prepared["who"]
    why = ": ".join(filter(None, (prepared["why"], reason)))
    if decision == "ask":
        decision, who, why = _answered(name, version, answer)
    if decision == "promote":
        return {"outcome": "promoted", **registry.promote(name, version, who, why, run)}
    if decision == "rollback":
        return {"outcome": "promoted", **registry.rollback(name, who, why, run, version)}
    if decision == "refuse":
        return {"outcome": "rejected", **registry.reject(name, version, who, why, run)}
    if decision == "none":
        return {"outcome": "decided already", **registry.standing(name)}
    outcome = SUPERSEDED if decision == "supersede" else NO_ANSWER
    registry.tag(name, version, {REVIEW: outcome, REVIEWER: "", REASON: why})
    return {"outcome": outcome, **registry.standing(name)}


def _answered(name: str, version: int, answer: Mapping[str, Any] | None) -> tuple[str, str, str]:
    """The decision that a person's answer makes, who gave it, and why."""
    if answer is None:
        return "no answer", "", "nobody answered in time; it stays the challenger"
    who = (answer.get("responded_by_user") or {}).get("name") or "unknown"
    why = (answer.get("params_input") or {}).get("reason") or ""
    if answer["chosen_options"] != ["Approve"]:
        return "refuse", who, why or "refused in Airflow, no reason given"
    newer = _newer(name, version)
    if newer:
        return "supersede", "", f"version {newer} came before an answer"
    return "promote", who, why or "approved in Airflow"
