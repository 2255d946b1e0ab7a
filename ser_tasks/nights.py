"""A night: take in what was dropped, see whether anything is new, and remember what was used once it is published.

What a night is compared with is the watermark of its configuration, `refs/nights/<config>.json`: the ratings and the
uploads that the last finished night was made of. It moves after publication only, so a night that dies is not lost.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from ser_tasks.annotations.intake import listed_rows, take_in
from ser_tasks.annotations.version import current
from ser_tasks.artifact import Ref, artifact_key, content_digest, list_files
from ser_tasks.config import load_config
from ser_tasks.dataset import Dataset, todays_dataset
from ser_tasks.objects import Spent
from ser_tasks.plan import find, read_plan
from ser_tasks.store import Store

NIGHTS = "nights/"
"""One JSON object a night, `nights/<run>.json`: what the page draws."""
PAGE = "nights-page"
"""Pointer to the newest page."""
LISTED = 20
"""So many of the rows that were not accepted stand on the page; listed.csv beside it has all."""


@dataclass(frozen=True)
class Look:
    """What the first task of a night found.

    Attributes:
        new: Whether there is something new.
        note: It all in words: few lines, the verdict first.
        log: The same in full: every file, and why rows were not accepted.
        page: Reference of the page of nights (index.html; listed.csv: every row that was not accepted, and why).
    """

    new: bool
    note: str
    log: str
    page: str


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
    night = _blank(by) | {"config": config.name, "outcome": "started" if reasons else "skipped", "why": reasons}
    night |= _of_ratings(store) | {"waiting": len(data.waiting), "rated": data.rated}
    _end_cut_off(store, by)
    page = publish_page(store, by, night)
    night |= {"intake_spent": asdict(store.spent), "spent": asdict(store.spent)}
    write_night(store, by, night)
    skipped = ["nothing new since the last night: skipped", cost(night)]
    lines = ["new: " + "; ".join(reasons)] if reasons else skipped
    if data.waiting:
        lines.append(f"{len(data.waiting)} rating(s) wait for the audio of their utterances")
    return Look(bool(reasons), "\n".join([*lines, *intake.in_words()]), "\n".join([*lines, *intake.in_full()]), page)


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
        record: Its run record; None when it has none: then it failed, maybe before it had looked.

    Returns:
        The night, as the page has it.
    """
    night: dict[str, Any] = _blank(by) | json.loads(store.get(_key(by)) or b"{}")
    night |= {"ended_at": _now(), "outcome": "trained" if record else "failed"}
    if record:
        night |= _of_record(record, store)
        night["spent"] = asdict(_spent(night, record) + store.spent)
    write_night(store, by, night)
    return night


def publish_page(store: Store, by: str, tonight: Mapping[str, Any] | None = None) -> str:
    """Draw every night so far, one point each, publish the page and let `refs/nights-page.json` hold it.

    Args:
        store: The object store.
        by: Who asks.
        tonight: A night that is not written down yet.

    Returns:
        The reference: index.html, and listed.csv with file, row and reason of what was dropped and not accepted.
    """
    from ser_tasks.report.nights_page import render_nights

    listed = listed_rows(store, current(store))
    nights = [night for night in read_nights(store) if not tonight or night["run"] != tonight["run"]]
    page = render_nights([*nights, *([tonight] if tonight else [])], listed[:LISTED], len(listed))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "index.html").write_text(page, encoding="utf-8")
        pd.DataFrame(listed, columns=["file", "row", "reason"]).to_csv(folder / "listed.csv", index=False)
        key = artifact_key("nights", 1, {"files": content_digest(list_files(folder))}, {})
        ref = str(store.publish("nights", key, folder, {"built_by": by, "params": {}, "inputs": {}})[0])
    held = store.pointer(PAGE)
    store.move_pointer(PAGE, {"page": ref}, held[1] if held else None)  # lost to a night that is as new
    return ref


def write_night(store: Store, by: str, night: Mapping[str, Any]) -> None:
    """Put or replace a night's object."""
    store.put(_key(by), json.dumps(dict(night), indent=1).encode())


def read_nights(store: Store) -> list[dict[str, Any]]:
    """Every night, the oldest first."""
    nights = [json.loads(store.get(item["key"]) or b"{}") for item in store.list(NIGHTS)]
    return sorted((_blank(night["run"]) | night for night in nights if "run" in night), key=lambda night: night["at"])


def _blank(by: str) -> dict[str, Any]:
    """A night of which nothing is known but its name."""
    nothing = asdict(Spent())
    return {
        "run": by, "at": _now(), "config": "", "outcome": "started", "why": [], "version": 0, "rated": 0, "waiting": 0,
        "alpha": {}, "intake_spent": nothing, "spent": nothing,
    }  # fmt: skip


def _end_cut_off(store: Store, by: str) -> None:
    """Nights that began and never told how they ended: one runs at a time, so they were cut off (dagrun_timeout)."""
    for night in read_nights(store):
        if night["outcome"] == "started" and night["run"] != by:
            write_night(store, night["run"], night | {"outcome": "cut off"})


def in_words(night: Mapping[str, Any]) -> str:
    """A summary for a note or a message: figures and names of runs, nothing secret."""
    lines = [f"{night['run']}: {night['outcome']}"]
    lines += [f"{item['name']} version {item['version']}" for item in night.get("registered", []) if item["new"]]
    if "built" in night:
        lines.append(f"{night['built']} step(s) built")
    lines.append(cost(night))
    if night.get("why"):
        lines.append("new: " + "; ".join(night["why"]))
    if night.get("evaluation"):
        lines.append(f"evaluation {night['evaluation']}")
    lines += [f"{name}: {value:.3f}" for name, value in night.get("auc", {}).items()]
    lines += [f"UAR {name}: {value:.3f}" for name, value in night.get("uar", {}).items()]
    for trait, value in night.get("alpha", {}).items():
        lines.append(f"agreement on {trait}: alpha {'unknown' if value is None else f'{value:.3f}'}")
    lines += [f"drift {name}: {value:.3f}" for name, value in night.get("drift", {}).items()]
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


def _of_trait(trait: Mapping[str, Any]) -> dict[str, float]:
    """Each AUC by name; a record of before there were two has neither."""
    if not isinstance(trait["auc"], Mapping):
        return {}
    found = {f"{trait['trait']}, {auc['name']}": auc["value"] for auc in trait["auc"].values()}
    return {name: value for name, value in found.items() if value is not None}


def _of_record(record: Mapping[str, Any], store: Store) -> dict[str, Any]:
    rows, trait = record["summary"]["rows"], record["summary"]["rudeness"]
    return {
        "uar": {f"{row['model']} on {row['corpus']}": row["uar"] for row in rows},
        "evaluation": record["summary"]["evaluation"],
        "auc": _of_trait(trait) if trait else {},
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
