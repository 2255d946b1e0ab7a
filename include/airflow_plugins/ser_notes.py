"""Airflow plugin: what a task leaves in the XCom `note` becomes the note of its run, when the run ends.

A task may not write notes itself: it would need the password of a person. The scheduler may. What came last stands
first, since a note has room for little. After a Clear the run's new note takes the old one's place; a person's stays.
"""

import logging
import sys
from typing import Any

from airflow.listeners import hookimpl
from airflow.sdk.plugins_manager import AirflowPlugin

KEY = "note"
LONGEST = 1000
OWN = "ser_notes"
"""Whose notes these are, where a person's have the person's name."""


def _write(dag_run: Any) -> None:
    from airflow.models.xcom import XComModel
    from sqlalchemy import select
    from sqlalchemy.orm import object_session

    session = object_session(dag_run)
    note = dag_run.dag_run_note
    if session is None or (note is not None and note.user_id != OWN):
        return
    rows = select(XComModel).where(
        XComModel.dag_id == dag_run.dag_id, XComModel.run_id == dag_run.run_id, XComModel.key == KEY
    )
    told = sorted(session.scalars(rows), key=lambda row: row.timestamp, reverse=True)
    if told:
        text = "\n".join(str(XComModel.deserialize_value(row)) for row in told)[:LONGEST]
        if note is None:
            dag_run.note = (text, OWN)
        else:
            note.content = text


def _safely(dag_run: Any) -> None:
    try:
        _write(dag_run)
    except Exception:  # a note is never worth a scheduler
        logging.getLogger(__name__).exception("no note for %s", dag_run.run_id)


@hookimpl
def on_dag_run_success(dag_run: Any, msg: str) -> None:
    """Runs in the scheduler, in its transaction."""
    _safely(dag_run)


@hookimpl
def on_dag_run_failed(dag_run: Any, msg: str) -> None:
    """Runs in the scheduler, in its transaction."""
    _safely(dag_run)


class SerNotes(AirflowPlugin):
    """Listens to runs that end."""

    name = "ser_notes"
    listeners = (sys.modules[__name__],)
