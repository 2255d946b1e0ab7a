"""What a run leaves behind: its plan, registered models, the study's run in MLflow, and the run record."""

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ser_tasks.annotations.intake import take_in
from ser_tasks.artifact import Ref, git_commit
from ser_tasks.config import load_config
from ser_tasks.dataset import todays_dataset
from ser_tasks.plan import accept, find, make_plan, read_plan
from ser_tasks.store import Store


def plan_study(
    config: str, overrides: Mapping[str, Any], rebuild: Sequence[str], store: Store, by: str, night: bool = False
) -> dict[str, Any]:
    """Plan a study and say what later tasks are mapped over. A night may start from the champions (nights.start).

    Returns:
        {"results", "corpora", "tested", "pairs"}.
    """
    study = load_config(config, dict(overrides))
    store.probe()
    for line in take_in(store, by).in_words():
        print(line)
    data = todays_dataset(study, store, by)
    if data.waiting:
        print(f"{len(data.waiting)} rating(s) wait for the audio of their utterances: see 'ser annotate status'")
    results = make_plan(study, store, by, rebuild, data.ratings)
    if night and study.nights.start == "champion":
        results += _champions(store)
    plan = read_plan(store, results)
    for note in plan.notes:
        print("note:", note)
    print(f"{results[0]['ref']}:\n{json.dumps(study.model_dump(mode='json'), indent=1)}")
    return {
        "results": results,
        "corpora": study.used_corpora,
        "tested": study.emotion_corpora,
        "pairs": plan.pairs,
    }


def _champions(store: Store) -> list[dict[str, Any]]:
    """The networks' champions and the rows that they learnt from, pinned; a model without champion is absent."""
    from ser_tasks.tracking import champion_artifact

    found = []
    for model in ("cnn", "wav2vec2"):
        if text := champion_artifact(f"ser-{model}"):
            ref = Ref.parse(text)
            rows = (store.manifest(ref.kind, ref.key) or {"inputs": {}})["inputs"].get("rows")
            if rows:
                found.append({"step": "champion", "about": model, "ref": text})
                found.append({"step": "champion_rows", "about": model, "ref": rows})
    return found


def _read_json(store: Store, given: Sequence[Mapping[str, Any]], step: str, about: str, name: str) -> Any:
    ref = find(given, step, about)
    return json.loads((store.cached(ref) / name).read_text()) if ref else None


def register(model: str, given: Sequence[Mapping[str, Any]], store: Store, by: str) -> dict[str, Any]:
    """Register a trained model in MLflow, once for its training's key.

    Returns:
        {"model", "name", "version", "run_id", "new"}.
    """
    from ser_tasks.tracking import Training, register_training

    plan = read_plan(store, given)
    trained = find(given, f"train_{model}", model)
    figures = find(given, "figures", "")
    if trained is None or figures is None:
        raise ValueError(f"register: neither training nor figures of {model} were given")
    manifest = store.manifest(trained.kind, trained.key) or {}
    folder = store.cached(trained)
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    metrics = [
        _read_json(store, given, "evaluate", f"{model}@{corpus}", "metrics.json")
        for corpus in plan.config.emotion_corpora
    ]
    datasets = {corpus: find(given, "scan", corpus) for corpus in plan.config.emotion_corpora}
    synthetic = any(plan.config.corpora[corpus].synthetic for corpus in plan.config.used_corpora)
    training = Training(
        name=f"ser-{model}",
        experiment=plan.config.name,
        key=trained.key,
        folder=folder,
        params=manifest.get("params", {}),
        history=history,
        metrics=metrics,
        datasets={corpus: (store.cached(ref), ref.digest) for corpus, ref in datasets.items() if ref},
        pictures=sorted((store.cached(figures)).glob(f"**/*confusion*{model}*.png")),
        config=plan.config.model_dump(mode="json"),
        tags={
            "ser.key": trained.key,
            "ser.artifact": str(trained),
            "ser.plan": str(find(given, "plan", "")),
            "ser.run": by,
            "ser.airflow": airflow_link(by),
            "ser.data": "synthetic" if synthetic else "real",
            "ser.note": json.loads((folder / "model.json").read_text())["note"],
            "git.commit": git_commit(),
        },
    )
    return {"model": model, **register_training(training)}


def airflow_link(by: str) -> str:
    """The address of a run's page in Airflow; empty where no address is configured."""
    dag_id, run = by.split("/", 1)
    base = os.environ.get("SER_AIRFLOW_URL", "")
    return f"{base}/dags/{dag_id}/runs/{run}" if base else ""


def record(
    given: Sequence[Mapping[str, Any]],
    registered: Sequence[Mapping[str, Any]],
    store: Store,
    by: str,
) -> dict[str, Any]:
    """Write the study's run in MLflow and `runs/<dag_id>/<run_id>.json`. Running it again replaces both by the same.

    Returns:
        {"record": key of the object}.
    """
    from ser_tasks.tracking import log_study

    plan = read_plan(store, given)
    summary = summarise(given, store)
    report = find(given, "report", "")
    if report is not None:
        summary["report"] = str(report)
        summary["mlflow_run_url"] = log_study(
            experiment=plan.config.name,
            run=by,
            title=plan.config.title,
            summary=summary,
            trainings=[item["run_id"] for item in registered],
            report=store.cached(report),
            tags={
                "ser.plan": str(find(given, "plan", "")),
                "ser.run": by,
                "ser.airflow": airflow_link(by),
                "git.commit": git_commit(),
            },
        )
    body = {
        "run": by,
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "steps": list(given),
        "registered": list(registered),
        "summary": summary,
    }
    key = f"runs/{by}.json"
    store.put(key, json.dumps(body, indent=1).encode())
    for corpus in plan.config.used_corpora:
        raw, scan = find(given, "raw", corpus), find(given, "scan", corpus)
        if raw and scan:
            accept(corpus, str(raw), str(scan), store)
    return {"record": key}


def summarise(given: Sequence[Mapping[str, Any]], store: Store) -> dict[str, Any]:
    """The figures that a person looks for first: one row a model and corpus, and the trait's AUC."""
    plan = read_plan(store, given)
    rows = []
    for pair in plan.pairs:
        metrics = _read_json(store, given, "evaluate", pair, "metrics.json")
        if metrics:
            rows.append(
                {
                    "model": metrics["title"],
                    "corpus": metrics["corpus"],
                    "relation": metrics["relation"],
                    "uar": metrics["uar"]["value"],
                    "low": metrics["uar"]["low"],
                    "high": metrics["uar"]["high"],
                    "n": metrics["clips"],
                    "speakers": metrics["speakers"],
                    "chance": metrics["chance_uar"],
                    "note": metrics["note"],
                }
            )
    trait = _read_json(store, given, "trait", "", "metrics.json")
    synthetic = [name for name in plan.config.used_corpora if plan.config.corpora[name].synthetic]
    return {
        "synthetic": bool(synthetic),
        "note": f"synthetic speech made by this project ({', '.join(synthetic)}): says nothing about real speech"
        if synthetic
        else "",
        "notes": plan.notes,
        "rows": rows,
        "rudeness": trait
        and {
            "trait": trait["trait"],
            "groups": trait["groups"],
            "auc": trait["auc"]["value"],
            "low": trait["auc"]["low"],
            "high": trait["auc"]["high"],
            "n": trait["clips"],
            "speakers": trait["speakers"],
        },
    }
