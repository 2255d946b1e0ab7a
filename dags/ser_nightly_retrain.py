"""Retrain every night on new annotations or uploads; skip in seconds when there are none."""

import os
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, Param, dag, get_current_context, task

from dags.links import SHOWN, link
from dags.study_tasks import DEFAULTS, run_id, study_tasks
from ser_tasks.config import configs_folder

CONFIGS = sorted(path.stem for path in configs_folder().glob("*.yaml"))


@dag(
    schedule=CronTriggerTimetable("0 2 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(days=3),  # two trainings may take a day each; the nights after it wait
    default_args=DEFAULTS,
    params={
        "config": Param(
            os.environ.get("SER_NIGHTLY_CONFIG", "demo"),
            type="string",
            enum=CONFIGS,
            title="Configuration",
            description="A file in include/configs.",
        )
    },
    tags=["ser"],
    doc_md="""At 02:00 UTC, or on demand: takes in what lies in `annotations/incoming/`. When the ratings that the
configuration reads, or the uploads under `raw/`, differ from those of the last finished night, the whole study again,
to the verdict; else the run is skipped and its note says so. A night never waits for a person.""",
)
def ser_nightly_retrain() -> None:
    """Look, then the study's tasks, then move the watermark and tell."""

    @task.short_circuit(doc_md="Takes in the drops; skips the night when nothing is new.")
    def intake() -> bool:
        from ser_tasks.nights import look
        from ser_tasks.store import Store

        context = get_current_context()
        found = look(context["params"]["config"], Store.from_env(), run_id())
        print(found.log)
        context["ti"].xcom_push(key="note", value=found.note)
        context["ti"].xcom_push(key=SHOWN, value={"ref": found.page})
        return found.new

    @task(doc_md="Resolve the configuration; pin corpora, encoders and annotations.", multiple_outputs=True)
    def plan() -> dict[str, Any]:
        from ser_tasks.records import plan_study
        from ser_tasks.store import Store

        return plan_study(get_current_context()["params"]["config"], {}, [], Store.from_env(), run_id(), night=True)

    @task(
        doc_md="Remember what this night was made of. Runs after everything is published and a person is asked, where "
        "there is something to ask.",
        trigger_rule="none_failed",
    )
    def move_watermark(planned: dict[str, Any]) -> None:
        from ser_tasks import nights
        from ser_tasks.store import Store

        nights.move_watermark(planned["results"], Store.from_env())

    @task(doc_md="How the night ended: note, page of nights, message where one is configured.", trigger_rule="all_done")
    def tell() -> dict[str, str]:
        import json

        from dags.notify import send
        from ser_tasks import nights
        from ser_tasks.store import Store

        store, context, by = Store.from_env(), get_current_context(), run_id()
        record = store.get(f"runs/{by}.json")
        text = nights.in_words(nights.close(store, by, json.loads(record) if record else None))
        print(text)
        context["ti"].xcom_push(key="note", value=text)
        print("\n".join(send(f"SER: {by}", text, context)) or "no notifier is configured (dags/notify.py)")
        return {"ref": nights.publish_page(store, by)}

    planned = plan()
    link(link(intake(), "Nights", "index.html"), "Not accepted", "listed.csv") >> planned
    recorded, asked = study_tasks(planned)
    [recorded, asked] >> move_watermark(planned)
    recorded >> link(tell(), "Nights", "index.html")


ser_nightly_retrain()
