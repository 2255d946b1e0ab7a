"""Retrain every night on new annotations; skip in seconds when there are none."""

import os
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, Param, dag, get_current_context, task

from dags.study_tasks import DEFAULTS, run_id, study_tasks
from ser_tasks.config import configs_folder

CONFIGS = sorted(path.stem for path in configs_folder().glob("*.yaml"))


@dag(
    schedule=CronTriggerTimetable("0 2 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=20),
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
    doc_md="At 02:00 UTC: when `annotations/incoming/` holds a drop that no night has used yet, the whole study again.",
)
def ser_nightly_retrain() -> None:
    """Look, then the study's tasks, then move the watermark."""

    @task.short_circuit(doc_md="Skips the night when no new annotation has come.")
    def new_annotations() -> bool:
        from ser_tasks.records import incoming_is_new
        from ser_tasks.store import Store

        return incoming_is_new(Store.from_env())

    @task(doc_md="Resolve the configuration; pin corpora, encoders and annotations.", multiple_outputs=True)
    def plan() -> dict[str, Any]:
        from ser_tasks.records import plan_study
        from ser_tasks.store import Store

        return plan_study(get_current_context()["params"]["config"], {}, [], Store.from_env(), run_id())

    @task(doc_md="Remember which annotations this night has used. Runs after everything is published.")
    def move_watermark(planned: dict[str, Any]) -> None:
        from ser_tasks.records import mark_incoming_used
        from ser_tasks.store import Store

        mark_incoming_used(planned["results"], Store.from_env())

    planned = plan()
    new_annotations() >> planned
    study_tasks(planned) >> move_watermark(planned)


ser_nightly_retrain()
