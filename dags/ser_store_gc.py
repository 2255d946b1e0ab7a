"""Once a week: say what nothing needs any more, then take it out of the store."""

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, Param, dag, get_current_context, task

from dags.study_tasks import DEFAULTS, run_id


@dag(
    schedule=CronTriggerTimetable("0 12 * * 0", timezone="UTC"),
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=12),
    default_args=DEFAULTS,
    params={
        "dry_run": Param(False, type="boolean", title="Dry run", description="Only say what would be done."),
        "older_than_days": Param(
            30, type="integer", minimum=1, title="Grace period, days", description="What is younger stays."
        ),
        "trash_days": Param(
            7,
            type="integer",
            minimum=7,
            title="Days in the trash",
            description="What is moved to trash/ is deleted from there by a run that comes so many days later.",
        ),
    },
    tags=["ser"],
    doc_md="Sundays at 12:00 UTC. What no run record, pointer, registered model version or live lease leads to is "
    "moved to `trash/` and deleted a week later. `ser store gc --why KEY` says what keeps a thing.",
)
def ser_store_gc() -> None:
    """List, then delete."""

    def spans() -> tuple[timedelta, timedelta]:
        params = get_current_context()["params"]
        return timedelta(days=params["older_than_days"]), timedelta(days=params["trash_days"])

    @task(doc_md="Say what would go, key by key; changes nothing.")
    def list_unneeded() -> dict[str, Any]:
        from ser_tasks.keeping.collect import find, summary
        from ser_tasks.store import Store

        inventory, found = find(Store.from_env(), *spans())
        for title, keys in (("to trash/", found.away), ("out of trash/", found.gone), ("missing", found.missing)):
            for key in keys:
                print(f"{title}: {key}")
        return summary(inventory, found)

    @task.short_circuit(doc_md="Ends a dry run here.")
    def not_dry(listed: dict[str, Any]) -> bool:
        return not get_current_context()["params"]["dry_run"]

    @task(doc_md="Look again, since time has passed, and do it. Fails, to be tried again, while another one goes on.")
    def delete() -> dict[str, Any]:
        from ser_tasks.keeping.collect import collect
        from ser_tasks.store import Store

        told = collect(Store.from_env(), run_id(), *spans())
        print(told)
        return told

    not_dry(list_unneeded()) >> delete()


ser_store_gc()
