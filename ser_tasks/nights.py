"""A night: take in what was dropped, see whether anything is new, and remember what was used once it is published.

What a night is compared with is the watermark of its configuration, `refs/nights/<config>.json`: the ratings and the
uploads that the last finished night was made of. It moves after publication only, so a night that dies is not lost.
"""

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ser_tasks.annotations.intake import take_in
from ser_tasks.annotations.version import current
from ser_tasks.artifact import Ref, artifact_key
from ser_tasks.config import load_config
from ser_tasks.dataset import Dataset, todays_dataset
from ser_tasks.plan import find, read_plan
from ser_tasks.store import Spent, Store

NIGHTS = "nights/"
"""One JSON object a night, `nights/<run>.json`: what the page draws."""


@dataclass(frozen=True)
class Look:
    """What the first task of a night found: whether there is something new, and it all in words."""

    new: bool
    note: str


def look(config_name: str, store: Store, by: str) -> Look:
    """Take in the drops and compare today's dataset with the watermark.

    Args:
        config_name: Of the study.
        store: The object store.
        by: `<dag_id>/<run_id>` of the night.
    """
    config = load_config(config_name)
    intake = take_in(store, by)
    data = todays_dataset(config, store, by)
    reasons = whats_new(config.name, data, store)
    lines = intake.in_words()
    if data.waiting:
        lines.append(f"{len(data.waiting)} rating(s) wait for the audio of their utterances")
    lines.append("new: " + "; ".join(reasons) if reasons else "nothing new since the last night: skipped")
    told: dict[str, Any] = {"run": by, "at": _now(), "outcome": "started" if reasons else "skipped", "why": reasons}
    told |= _of_ratings(store) | {"waiting": len(data.waiting), "rated": data.rated}
    told |= {"intake_spent": asdict(store.spent), "spent": asdict(store.spent)}
    if not reasons:
        lines.append(cost(told))
    write_night(store, by, told)
    return Look(bool(reasons), "\n".join(lines))


def whats_new(config: str, data: Dataset, store: Store) -> list[str]:
    """What differs from the last finished night, in words; empty when nothing does.

    Before the first night of a configuration, uploads that a study has accepted are not new.
    """
    held = store.pointer(f"nights/{config}")
    used: dict[str, Any] = {"ratings": "", "raw": {name: _accepted(name, store) for name in data.raw}}
    used = held[0] if held else used
    reasons = []
    if _digest(data.ratings) != _digest(used["ratings"]):
        reasons.append(f"ratings (version {data.version}, {data.rated} in use)")
    reasons += [f"uploads under raw/{name}/" for name, ref in data.raw.items() if used["raw"].get(name) != ref]
    return reasons


def move_watermark(results: Sequence[Mapping[str, Any]], store: Store) -> None:
    """Remember what a night was made of, as its plan pinned it: what came later stays new."""
    name = read_plan(store, results).config.name
    ratings = find(results, "annotations", "")
    raw = {item["about"]: item["ref"] for item in results if item["step"] == "raw"}
    value = {"ratings": str(ratings or ""), "raw": raw}
    held = store.pointer(f"nights/{name}")
    if held is None or held[0] != value:
        store.move_pointer(f"nights/{name}", value, held[1] if held else None)


def close(store: Store, by: str, record: Mapping[str, Any] | None) -> dict[str, Any]:
    """Write down how a night ended.

    Args:
        store: The object store.
        by: `<dag_id>/<run_id>` of the night.
        record: Its run record; None when it has none: then it failed.

    Returns:
        The night, as the page has it.
    """
    night: dict[str, Any] = json.loads(store.get(_key(by)) or b"{}")
    night |= {"run": by, "ended_at": _now(), "outcome": "trained" if record else "failed"}
    if record:
        night |= _of_record(record, store)
        night["spent"] = asdict(_spent(night, record) + store.spent)
    write_night(store, by, night)
    return night


def publish_page(store: Store, by: str) -> str:
    """Draw every night so far, one point each, and publish the page (index.html). Returns its reference."""
    from ser_tasks.report.nights_page import render_nights

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "index.html").write_text(page := render_nights(read_nights(store)), encoding="utf-8")
        key = artifact_key("nights", 1, {"page": hashlib.sha256(page.encode()).hexdigest()}, {})
        return str(store.publish("nights", key, Path(folder), {"built_by": by, "params": {}, "inputs": {}})[0])


def write_night(store: Store, by: str, night: Mapping[str, Any]) -> None:
    """Put or replace a night's object."""
    store.put(_key(by), json.dumps(dict(night), indent=1).encode())


def read_nights(store: Store) -> list[dict[str, Any]]:
    """Every night, the oldest first."""
    nights = [json.loads(store.get(item["key"]) or b"{}") for item in store.list(NIGHTS)]
    return sorted((night for night in nights if night), key=lambda night: night["at"])


def in_words(night: Mapping[str, Any]) -> str:
    """A summary for a note or a message: figures and names of runs, nothing secret."""
    lines = [f"{night['run']}: {night['outcome']}"]
    if night.get("why"):
        lines.append("new: " + "; ".join(night["why"]))
    for trait, value in night.get("alpha", {}).items():
        lines.append(f"agreement on {trait}: alpha {'unknown' if value is None else f'{value:.3f}'}")
    lines += [f"UAR {name}: {value:.3f}" for name, value in night.get("uar", {}).items()]
    lines += [f"drift {name}: {value:.3f}" for name, value in night.get("drift", {}).items()]
    lines += [f"{item['name']} version {item['version']}" for item in night.get("registered", []) if item["new"]]
    if "built" in night:
        lines.append(f"{night['built']} step(s) built")
    lines.append(cost(night))
    return "\n".join(lines)


def cost(night: Mapping[str, Any]) -> str:
    """What a night cost at the store, in words."""
    spent = Spent(**night["spent"]) if "spent" in night else Spent()
    return f"{spent.added / 1e6:.1f} MB added, {spent.requests} requests to the store"


def _of_ratings(store: Store) -> dict[str, Any]:
    version = current(store)
    if not version.ledger:
        return {"version": 0, "alpha": {}}
    found = json.loads((store.cached(Ref.parse(version.ledger)) / "agreement.json").read_text(encoding="utf-8"))
    return {"version": version.version, "alpha": {trait: item["alpha"]["value"] for trait, item in found.items()}}


def _of_record(record: Mapping[str, Any], store: Store) -> dict[str, Any]:
    rows = record["summary"]["rows"]
    return {
        "uar": {f"{row['model']} on {row['corpus']}": row["uar"] for row in rows},
        "rudeness_auc": (record["summary"]["rudeness"] or {}).get("auc"),
        "drift": _drift(record, store),
        "registered": [{k: item[k] for k in ("name", "version", "new")} for item in record["registered"]],
        "built": sum(item.get("hit") is False for item in record["steps"]),
    }


def _spent(night: Mapping[str, Any], record: Mapping[str, Any]) -> Spent:
    """What the tasks counted that gave a result; not those that were skipped or killed, nor MLflow in its bucket."""
    parts = [night["intake_spent"], record["spent"], *(item["spent"] for item in record["registered"])]
    parts += [item["spent"] for item in record["steps"] if "spent" in item]  # what the plan pins is in the plan's
    return sum((Spent(**part) for part in parts), Spent())


def _drift(record: Mapping[str, Any], store: Store) -> dict[str, float]:
    """Corpus to the largest distance from the version that was accepted before."""
    found = {}
    for item in record["steps"]:
        if item["step"] == "validate":
            outcome = json.loads((store.cached(Ref.parse(item["ref"])) / "results.json").read_text(encoding="utf-8"))
            if isinstance(outcome["drift"], dict):
                distances = [row["distance"] for row in outcome["drift"]["features"] if row["distance"] is not None]
                found[item["about"]] = max(map(float, distances), default=0.0)
    return found


def _accepted(corpus: str, store: Store) -> str | None:
    held = store.pointer(f"accepted/{corpus}")
    return held[0]["raw"] if held else None


def _digest(ref: str) -> str:
    return Ref.parse(ref).digest if ref else ""


def _key(by: str) -> str:
    return f"{NIGHTS}{by.split('/', 1)[-1]}.json"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
