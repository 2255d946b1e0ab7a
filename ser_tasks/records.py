"""What a run leaves behind: its plan, registered models, the study's run in MLflow, and the run record."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ser_tasks.annotations.intake import take_in
from ser_tasks.artifact import Ref, git_commit
from ser_tasks.config import load_config
from ser_tasks.dataset import todays_dataset
from ser_tasks.plan import Plan, accept, find, make_plan, read_plan
from ser_tasks.store import Store


def plan_study(
    config: str, overrides: Mapping[str, Any], rebuild: Sequence[str], store: Store, by: str, night: bool = False
) -> dict[str, Any]:
    """Plan a study and say what later tasks are mapped over. A night may start from the champions (nights.start).

    Returns:
        {"results", "corpora", "tested", "pairs", "seeded", "seed_pairs"}, and those of `Plan.trait_maps`.
    """
    study = load_config(config, dict(overrides))
    store.probe()
    for line in take_in(store, by).in_full():
        print(line)
    data = todays_dataset(study, store, by)
    if data.waiting:
        print(f"{len(data.waiting)} rating(s) wait for the audio of their utterances: see 'ser annotate status'")
    results = make_plan(study, store, by, rebuild, data.ratings, champions(store))
    results += _champion_rows(results, store)
    if night and study.nights.start == "champion":
        results += _starts(results)
    plan = read_plan(store, results)
    results[0]["spent"] = asdict(store.spent)
    for note in plan.notes:
        print("note:", note)
    print(f"{results[0]['ref']}:\n{json.dumps(study.model_dump(mode='json'), indent=1)}")
    return {
        "results": results,
        "corpora": study.used_corpora,
        "tested": study.emotion_corpora,
        "pairs": plan.pairs,
        "seeded": plan.seeded,
        "seed_pairs": plan.seed_pairs,
        **plan.trait_maps,
    }


REGISTERED = ("cnn", "wav2vec2")
"""Models that are registered in MLflow, as ser-<model>."""


def champions(store: Store) -> dict[str, str]:
    """Model to its champion's training in the store; without those that have none, or whose training is gone."""
    from ser_tasks import registry

    if not os.environ.get("MLFLOW_TRACKING_URI"):
        return {}
    found = {}
    for model in REGISTERED:
        ref = registry.champion_artifact(f"ser-{model}")
        if ref and store.manifest(Ref.parse(ref).kind, Ref.parse(ref).key):
            found[model] = ref
    return found


def _champion_rows(results: Sequence[Mapping[str, Any]], store: Store) -> list[dict[str, Any]]:
    """The rows that each pinned champion learnt from: whom it must not be measured on."""
    found = []
    for item in results:
        if item["step"] == "champion":
            ref = Ref.parse(item["ref"])
            rows = (store.manifest(ref.kind, ref.key) or {"inputs": {}})["inputs"].get("rows")
            if rows:
                found.append({"step": "champion_rows", "about": item["about"], "ref": rows})
    return found


def _starts(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What a night's networks start from: pinned champions, and the rows that each learnt from."""
    learnt = {item["about"] for item in results if item["step"] == "champion_rows"}
    steps = {"champion": "start", "champion_rows": "start_rows"}
    return [
        {**item, "step": steps[item["step"]]} for item in results if item["step"] in steps and item["about"] in learnt
    ]


def read_output(store: Store, given: Sequence[Mapping[str, Any]], step: str, about: str, name: str) -> Any:
    """A JSON file of the result of a step; None where the step was left out."""
    ref = find(given, step, about)
    return json.loads((store.cached(ref) / name).read_text()) if ref else None


def register(model: str, given: Sequence[Mapping[str, Any]], store: Store, by: str) -> dict[str, Any]:
    """Register a trained model in MLflow, once for its training's key; what is known of it anew goes to its version.

    Returns:
        {"model", "gate", "name", "version", "run_id", "new", "spent"}; spent: requests to the store, without MLflow's.
    """
    from ser_tasks import registry
    from ser_tasks.data.conditions import conditions
    from ser_tasks.data.learnt import in_words, read_learnt
    from ser_tasks.data.manifest import read_manifest
    from ser_tasks.model_card import Card
    from ser_tasks.tracking import RESULTS, TESTED, Training, marks, register_training
    from ser_tasks.verdicts import digest, verdict_of

    plan = read_plan(store, given)
    trained = find(given, f"train_{model}", model)
    figures = find(given, "figures", "")
    if trained is None or figures is None:
        raise ValueError(f"register: neither training nor figures of {model} were given")
    manifest = store.manifest(trained.kind, trained.key) or {}
    folder = store.cached(trained)
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    metrics = [
        read_output(store, given, "evaluate", f"{model}@{corpus}", "metrics.json")
        for corpus in plan.config.emotion_corpora
    ]
    datasets = {corpus: find(given, "scan", corpus) for corpus in plan.config.emotion_corpora}
    scan = datasets[plan.config.emotion.train_corpus]
    made = [corpus for corpus in plan.config.emotion_corpora if plan.config.corpora[corpus].synthetic]
    spec = json.loads((folder / "model.json").read_text())
    split, report = find(given, "split", ""), find(given, "report", "")
    roles = read_output(store, given, "split", "", "roles.json") or {}
    tested = {corpus: sorted(name for name, role in held.items() if role == "test") for corpus, held in roles.items()}
    predicted = [find(given, "predict", f"{model}@{corpus}") for corpus in plan.config.emotion_corpora]
    protocol = read_output(store, given, "split", "", "protocol.json") or {}
    learnt = in_words(read_learnt(folder))
    name = f"ser-{model}"
    found = read_output(store, given, "gate", model, "gate.json")
    gate, gate_tags = verdict_of(name, trained.key, find(given, "champion", model), found)
    baselines = {
        corpus: read_output(store, given, "evaluate", f"baseline@{corpus}", "metrics.json")
        for corpus in plan.config.emotion_corpora
    }
    card = Card(
        name=name,
        key=trained.key,
        title=spec["title"],
        note=spec["note"],
        synthetic=made,
        metrics=metrics,
        licences={corpus: plan.descriptions[corpus]["licence"] for corpus in plan.config.emotion_corpora},
        commercial=[c for c in plan.config.emotion_corpora if plan.descriptions[c].get("commercial_use") is True],
        digests={corpus: ref.digest for corpus, ref in datasets.items() if ref},
        gate=gate,
        champion=gate_tags.get(registry.GATE_CHAMPION, ""),
        known_issues=[
            *plan.notes,
            *_warnings(plan.config.emotion_corpora, given, store),
            *(line for corpus, ref in datasets.items() if ref for line in _known_issues(corpus, store.cached(ref))),
        ],
        shown=1,
        links={"Airflow run": airflow_link(by), "Report": report_link(report)},
        baselines={corpus: item for corpus, item in baselines.items() if item},
        conditions=conditions(read_manifest(store.cached(scan) / "manifest.parquet")) if scan else None,
        learnt=learnt,
    )
    training = Training(
        name=name,
        experiment=plan.config.name,
        key=trained.key,
        folder=folder,
        params=manifest.get("params", {}),
        history=history,
        metrics=metrics,
        datasets={corpus: (store.cached(ref), ref.digest) for corpus, ref in datasets.items() if ref},
        pictures=sorted(
            {
                *store.cached(figures).glob(f"**/*confusion*{model}*.png"),
                *store.cached(figures).glob("**/calibration*.png"),
            }
        ),
        files=[
            *([store.cached(split) / "test.parquet", store.cached(split) / "protocol.json"] if split else []),
            *(store.cached(ref) / "predictions.parquet" for ref in predicted if ref),
        ],
        config=plan.config.model_dump(mode="json"),
        tags={
            "ser.key": trained.key,
            "ser.artifact": str(trained),
            "ser.plan": str(find(given, "plan", "")),
            "ser.run": by,
            "ser.airflow": airflow_link(by),
            "ser.data": "synthetic" if made else "real",
            "ser.corpora": ", ".join(f"{corpus} {ref.digest[:12]}" for corpus, ref in datasets.items() if ref),
            "ser.learnt": "; ".join(learnt),
            "ser.encoder": _encoder_in_words(model, plan),
            "ser.note": spec["note"],
            TESTED: marks(tested),
            "ser.evaluation": protocol.get("evaluation", ""),
            RESULTS: digest(metrics),
            **gate_tags,
            "git.commit": git_commit(),
        },
        card=card,
    )
    registered = register_training(training)
    if not registered["new"]:
        registry.reopen(name, registered["version"])
    verdict = (gate or {}).get("verdict", "not asked")
    return {"model": model, "gate": verdict, **registered, "spent": asdict(store.spent)}


def _known_issues(corpus: str, scan: Path) -> list[str]:
    """What is known to be wrong with clips of a corpus: how many, and the first names."""
    import pandas as pd

    rows = pd.read_parquet(scan / "manifest.parquet", columns=["utterance_id", "known_issue"]).dropna()
    return [
        f"{corpus}: {issue}: {len(names)} clip{'s' if len(names) > 1 else ''} ({', '.join(sorted(names)[:3])}"
        f"{', ...' if len(names) > 3 else ''})"
        for issue, names in rows.groupby("known_issue")["utterance_id"]
    ]


def _encoder_in_words(model: str, plan: Plan) -> str:
    """Name and revision of the encoder that a model began from; `none` for the CNN."""
    if model != "wav2vec2":
        return "none"
    name = plan.config.wav2vec2.encoder
    if not plan.has_encoder(name):
        return "random"
    pin = plan.config.wav2vec2.pin.revision
    return f"{name} {pin + ' ' if pin else ''}({plan.encoders[name]})"


def _warnings(corpora: Sequence[str], given: Sequence[Mapping[str, Any]], store: Store) -> list[str]:
    """What validation warned of, in words."""
    found = []
    for corpus in corpora:
        results = read_output(store, given, "validate", corpus, "results.json")
        for item in (results or {"expectations": []})["expectations"]:
            if not item["success"]:
                found.append(f"{corpus}: it does not hold that {item['rule']} ({item['unexpected_count']} rows)")
    return found


def report_link(report: Ref | None) -> str:
    """The address of a report behind Airflow's login; empty where no address is configured."""
    base = os.environ.get("SER_AIRFLOW_URL", "")
    return f"{base}/ser/pages/{report.kind}/{report.key}/index.html" if base and report else ""


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
            seeds=[Ref.parse(item["ref"]).key for item in given if item["about"] in plan.seeded],
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
        "spent": asdict(store.spent),
    }
    key = f"runs/{by}.json"
    store.put(key, json.dumps(body, indent=1).encode())
    for corpus in plan.config.used_corpora:
        raw, scan = find(given, "raw", corpus), find(given, "scan", corpus)
        if raw and scan:
            accept(corpus, str(raw), str(scan), store)
    return {"record": key}


def summarise(given: Sequence[Mapping[str, Any]], store: Store) -> dict[str, Any]:
    """The figures that a person looks for first: one row a model and corpus, several seeds, the trait's AUC.

    `evaluation` names the clips and labels that decide and test: figures of two versions are not comparable.
    """
    plan = read_plan(store, given)
    rows = []
    for pair in plan.pairs:
        metrics = read_output(store, given, "evaluate", pair, "metrics.json")
        if metrics:
            rows.append(
                {
                    "model": metrics["title"],
                    "corpus": metrics["corpus"],
                    "relation": metrics["relation"],
                    "uar": metrics["uar"]["value"],
                    "low": metrics["uar"]["low"],
                    "high": metrics["uar"]["high"],
                    "accuracy": metrics["accuracy"]["value"],
                    "macro_f1": metrics["macro_f1"]["value"],
                    "n": metrics["clips"],
                    "speakers": metrics["speakers"],
                    "chance": metrics["chance_uar"],
                    "labels": metrics["labels_protocol"]["sentence"],
                    "uar_open": metrics["open"]["uar"]["value"] if metrics["open"] else None,
                    "answers": metrics["answers"],
                    "note": metrics["note"],
                }
            )
    trait = read_output(store, given, "trait", "", "metrics.json")
    protocol = read_output(store, given, "split", "", "protocol.json") or {}
    seeds = [read_output(store, given, "seeds", corpus, "seeds.json") for corpus in plan.config.emotion_corpora]
    synthetic = [name for name in plan.config.used_corpora if plan.config.corpora[name].synthetic]
    return {
        "synthetic": bool(synthetic),
        "note": f"synthetic speech made by this project ({', '.join(synthetic)}): says nothing about real speech"
        if synthetic
        else "",
        "notes": plan.notes,
        "evaluation": protocol.get("evaluation", ""),
        "rows": rows,
        "seeds": [found for found in seeds if found],
        "rudeness": trait
        and {
            "trait": trait["trait"],
            "groups": trait["groups"],
            "auc": trait["auc"],
            "n": trait["clips"],
            "speakers": trait["speakers"],
        },
    }
