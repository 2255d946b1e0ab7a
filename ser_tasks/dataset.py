"""Today's data of a study: its corpora as they lie under raw/, and the ratings of what is in them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ser_tasks.annotations.choice import choose, uncertainty
from ser_tasks.annotations.intake import publish_ratings, read_ledger, read_ratings_version, read_standing
from ser_tasks.annotations.labelstudio import EMOTION
from ser_tasks.annotations.ledger import parted
from ser_tasks.annotations.version import current
from ser_tasks.artifact import Ref
from ser_tasks.config import StudyConfig
from ser_tasks.corpora.readers import load_description
from ser_tasks.plan import Plan, read_plan
from ser_tasks.steps import STEPS
from ser_tasks.store import Store


def raw_listings(config: StudyConfig, store: Store, by: str) -> dict[str, str]:
    """Corpus to the reference of what lies under raw/<corpus>/ now; corpora without any object are absent."""
    pinned = {corpus: store.pin_raw(f"raw/{corpus}/", {"built_by": by}) for corpus in config.used_corpora}
    return {corpus: str(ref) for corpus, ref in pinned.items() if ref is not None}


def manifests(config: StudyConfig, raw: Mapping[str, str], store: Store, by: str) -> pd.DataFrame:
    """Every clip of the study: utterance_id, corpus, speaker_id, path.

    A corpus that changed is scanned: by the study's own step, which finds it then.

    Raises:
        BadInput: A corpus cannot be read.
    """
    step, columns = STEPS["scan"], ["utterance_id", "corpus", "speaker_id", "path"]
    found = [pd.DataFrame(columns=columns, dtype="str")]
    for corpus, ref in raw.items():
        description = load_description(config.corpora[corpus].reader)
        plan = Plan(config, {corpus: description}, {}, [], [], {})
        inputs = {"raw": Ref.parse(ref)}
        built = store.materialise("scan", step.version, step.build, step.params(plan, corpus), inputs, by=by)
        found.append(pd.read_parquet(store.cached(built.ref) / "manifest.parquet", columns=columns))
    return pd.concat(found, ignore_index=True)


def clips_to_rate(
    config: StudyConfig, store: Store, by: str, trait: str, count: int, corpus: str | None
) -> tuple[pd.DataFrame, int]:
    """The clips that annotators should hear first, see `choose`; and how many have no object of their own."""
    raw = raw_listings(config, store, by)
    clips = manifests(config, {name: ref for name, ref in raw.items() if corpus in (None, name)}, store, by)
    objects = {item["key"] for name in raw for item in store.list(f"raw/{name}/")}
    there = ("raw/" + clips["corpus"] + "/" + clips["path"]).isin(objects)
    ratings = read_ratings_version(store, current(store))
    asked = uncertainties(config, store)
    told = clips[there].assign(uncertainty=clips["utterance_id"].map(asked).astype("float64"))
    return choose(told, ratings, trait, count), int((~there).sum())


def uncertainties(config: StudyConfig, store: Store) -> pd.Series:
    """How unsure the models of this study's newest run were of each utterance that they were asked about."""
    records = [json.loads(store.get(item["key"]) or b"{}") for item in store.list("runs/")]
    for record in sorted(records, key=lambda record: str(record.get("written_at", "")), reverse=True):
        predicted = [Ref.parse(item["ref"]) for item in record.get("steps", []) if item["step"] == "predict"]
        if predicted and read_plan(store, record["steps"]).config.name == config.name:
            return uncertainty(pd.concat([pd.read_parquet(store.cached(r) / "predictions.parquet") for r in predicted]))
    return pd.Series(dtype="float64")


@dataclass(frozen=True)
class Dataset:
    """What a study reads today.

    Attributes:
        raw: Corpus to the reference of its listing.
        version: Of the ratings as a whole (0: none).
        ratings: Reference of the current ratings that the study reads, of utterances that it has; empty for none.
        rated: How many these are.
        waiting: Ratings whose utterance the study does not have, one row each: file, row and what they say.
    """

    raw: dict[str, str]
    version: int
    ratings: str
    rated: int
    waiting: list[dict[str, Any]]


def traits_read(config: StudyConfig) -> set[str]:
    """The traits whose dropped ratings change what the study computes; ratings of others start no night."""
    trait = config.trait
    rated = trait is not None and (trait.ratings or any(other.ratings for other in trait.transfer))
    emotion = {EMOTION} if config.labels.policy != "intended" else set()
    return emotion | ({trait.name} if trait and rated else set())


def todays_dataset(config: StudyConfig, store: Store, by: str) -> Dataset:
    """The corpora as they lie there now, and the ratings of what is in them. Takes nothing in."""
    raw, version = raw_listings(config, store, by), current(store)
    if not version.ratings:
        return Dataset(raw, version.version, "", 0, [])
    files = {drop.sha256: drop.name for drop in read_ledger(store, version)}
    here, waiting = parted(read_standing(store, version), set(manifests(config, raw, store, by)["utterance_id"]))
    here = here[here["trait"].isin(traits_read(config))].reset_index(drop=True)
    ref = str(publish_ratings(store, here, by)) if len(here) else ""
    table = waiting.assign(file=waiting["drop"].map(files)).drop(columns="drop").astype(object)
    listed = table.where(table.notna(), None).to_dict("records")
    return Dataset(raw, version.version, ref, len(here), [{str(k): v for k, v in row.items()} for row in listed])
