"""What a run leaves behind of its trait: its plan, the registered direction, the run record."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ser_tasks.annotations.intake import take_in
from ser_tasks.artifact import git_commit
from ser_tasks.config import load_config
from ser_tasks.dataset import todays_dataset
from ser_tasks.errors import BadInput, Skipped
from ser_tasks.plan import accept, find, make_plan, read_plan
from ser_tasks.records import airflow_link, read_output, summarise
from ser_tasks.store import Store


def plan_trait(
    config: str, overrides: Mapping[str, Any], rebuild: Sequence[str], store: Store, by: str
) -> dict[str, Any]:
    """Plan the trait of a configuration alone, and say what later tasks are mapped over.

    Returns:
        {"results", "corpora", "splits", "models"}, and those of `Plan.trait_maps`; `splits` and `models` are empty
        where a pretrained encoder gives the embeddings, so that nothing has to be trained.
    """
    study = load_config(config, dict(overrides))
    if study.trait is None:
        raise BadInput(f"ser_rudeness: the configuration {config} has no trait: take one that has, or add it there")
    store.probe()
    for line in take_in(store, by).in_full():
        print(line)
    ratings = todays_dataset(study, store, by).ratings
    results = make_plan(study, store, by, rebuild, ratings, only_trait=True)
    plan = read_plan(store, results)
    for note in plan.notes:
        print("note:", note)
    return {
        "results": results,
        "corpora": list(plan.descriptions),
        "splits": [""] if plan.models else [],
        "models": plan.models,
        **plan.trait_maps,
    }


def register_trait(given: Sequence[Mapping[str, Any]], store: Store, by: str) -> dict[str, Any]:
    """Register the direction in MLflow, once for its artifact's key.

    Returns:
        {"model", "name", "version", "run_id", "new"}.

    Raises:
        Skipped: There is no trait.
    """
    from ser_tasks.trait_registry import FittedTrait, register_fitted_trait

    plan = read_plan(store, given)
    trait, figures = find(given, "trait", ""), find(given, "figures", "") or find(given, "trait_figures", "")
    if trait is None or figures is None or plan.config.trait is None:
        raise Skipped("skipped: no trait in config")
    embedder = plan.embedder
    source = ("encoder", plan.pretrained) if embedder == "encoder" else (f"train_{embedder}", embedder)
    encoder = find(given, *source)
    if encoder is None:
        raise BadInput(f"register: needs the result of {source[0]} about {source[1]}, which was not given")
    folder = store.cached(trait)
    corpora = [other.corpus for other in plan.config.trait.transfer]
    transfers = [read_output(store, given, "transfer", corpus, "metrics.json") for corpus in corpora]
    fitted = FittedTrait(
        experiment=plan.config.name,
        key=trait.key,
        folder=folder,
        encoder=store.cached(encoder),
        metrics=json.loads((folder / "metrics.json").read_text()),
        transfers=[found for found in transfers if found],
        pictures=sorted(Path(store.cached(figures)).glob("figures/trait-*.png")),
        tags={
            "ser.key": trait.key,
            "ser.artifact": str(trait),
            "ser.encoder": str(encoder),
            "ser.plan": str(find(given, "plan", "")),
            "ser.run": by,
            "ser.airflow": airflow_link(by),
            "ser.data": "synthetic" if plan.config.corpora[plan.config.trait.corpus].synthetic else "real",
            "git.commit": git_commit(),
        },
    )
    return {"model": "trait", **register_fitted_trait(fitted), "spent": asdict(store.spent)}


def record_trait(
    given: Sequence[Mapping[str, Any]], registered: Sequence[Mapping[str, Any]], store: Store, by: str
) -> dict[str, Any]:
    """Write `runs/<dag_id>/<run_id>.json`. Running it again replaces it by the same.

    Returns:
        {"record": key of the object}.
    """
    plan = read_plan(store, given)
    summary = summarise(given, store)
    summary["report"] = str(find(given, "trait_report", ""))
    body = {
        "run": by,
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "steps": list(given),
        "registered": list(registered),
        "summary": summary,
    }
    key = f"runs/{by}.json"
    store.put(key, json.dumps(body, indent=1).encode())
    for corpus in plan.descriptions:
        raw, scan = find(given, "raw", corpus), find(given, "scan", corpus)
        if raw and scan:
            accept(corpus, str(raw), str(scan), store)
    return {"record": key}
