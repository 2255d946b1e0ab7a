"""Today's data of a study: its corpora as they lie under raw/, and the ratings of what is in them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ser_tasks.annotations.choice import choose, ranked, uncertainty
from ser_tasks.annotations.intake import publish_ratings, read_ledger, read_ratings_version, read_standing
from ser_tasks.annotations.labelstudio import EMOTION
from ser_tasks.annotations.ledger import parted
from ser_tasks.annotations.version import current
from ser_tasks.artifact import Ref
from ser_tasks.config import StudyConfig
from ser_tasks.corpora.readers import load_description
from ser_tasks.errors import BadInput
from ser_tasks.materialise import materialise
from ser_tasks.plan import Plan, find, read_plan
from ser_tasks.running import run_step
from ser_tasks.steps import STEPS
from ser_tasks.store import Store

JUDGES = ("dev", "gate", "test")
"""Roles of clips that shape no weights: dev selects, gate decides, test is reported."""


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
        built = materialise(store, "scan", step.version, step.build, step.params(plan, corpus), inputs, by=by)
        found.append(pd.read_parquet(store.cached(built.ref) / "manifest.parquet", columns=columns))
    return pd.concat(found, ignore_index=True)


def clips_to_rate(
    config: StudyConfig, store: Store, by: str, trait: str, count: int, corpus: str | None, evaluation: bool = False
) -> tuple[pd.DataFrame, int]:
    """The clips that annotators should hear first, see `choose`; and how many have no object of their own.

    Speakers who select, decide and test in the study's newest run are left out unless `evaluation` asks for them: their
    ratings train nothing. How unsure the model is counts among clips of the same role and corpus. Before the first run
    nobody's role is known, and every clip counts as equally uncertain.

    Raises:
        BadInput: Every clip is of such a speaker.
    """
    raw = raw_listings(config, store, by)
    chosen = {name: ref for name, ref in raw.items() if corpus in (None, name)}
    clips = manifests(config, chosen, store, by)
    objects = {item["key"] for name in raw for item in store.list(f"raw/{name}/")}
    there = ("raw/" + clips["corpus"] + "/" + clips["path"]).isin(objects)
    run = newest_run(config, store)
    role = _roles(clips, run, store)
    teaches = pd.Series(True, index=clips.index) if evaluation else ~role.isin(JUDGES)
    if len(clips) and not teaches.any():
        raise BadInput(
            "every clip is of a speaker who selects, decides or tests, so that a rating trains nothing: --evaluation "
            "takes them"
        )
    asked = uncertainties(run, list(chosen), store, by)
    unsure = ranked(clips["utterance_id"].map(asked).astype("float64"), clips["corpus"] + "/" + role)
    told = clips[there & teaches].assign(uncertainty=unsure)
    return choose(told, read_ratings_version(store, current(store)), trait, count), int((~there).sum())


def newest_run(config: StudyConfig, store: Store) -> list[dict[str, Any]]:
    """The steps of this study's newest run that has trained; none before the first."""
    records = [json.loads(store.get(item["key"]) or b"{}") for item in store.list("runs/")]
    for record in sorted(records, key=lambda record: str(record.get("written_at", "")), reverse=True):
        steps: list[dict[str, Any]] = record.get("steps", [])
        trained = find(steps, "train_cnn", "cnn") and find(steps, "split", "")
        if trained and read_plan(store, steps).config.name == config.name:
            return steps
    return []


def uncertainties(run: Sequence[Mapping[str, Any]], corpora: Sequence[str], store: Store, by: str) -> pd.Series:
    """How unsure a run's CNN is of every clip of corpora that it has packed; a clip that came later is not in it."""
    found: list[pd.Series] = [pd.Series(dtype="float64")]
    for corpus in corpora:
        if find(run, "pack", corpus):
            ref = Ref.parse(run_step("uncertain", run, corpus, store, by)["ref"])
            found.append(uncertainty(pd.read_parquet(store.cached(ref) / "predictions.parquet")))
    asked: pd.Series = pd.concat(found)
    return asked[~asked.index.duplicated()]


def _roles(clips: pd.DataFrame, run: Sequence[Mapping[str, Any]], store: Store) -> pd.Series:
    """The role of each clip's speaker in a run; empty where there is none."""
    split = find(run, "split", "")
    roles = json.loads((store.cached(split) / "roles.json").read_text(encoding="utf-8")) if split else {}
    people = zip(clips["corpus"], clips["speaker_id"], strict=True)
    return pd.Series([roles.get(corpus, {}).get(who, "") for corpus, who in people], index=clips.index, dtype="str")


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
