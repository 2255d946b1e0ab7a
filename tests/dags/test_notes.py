"""Notes of runs, by the plugin and Airflow's own database: the newest first, a person's own never replaced."""

import json
import subprocess
import sys
from pathlib import Path

from tests.dags.conftest import CHECKOUT

DAG = """
from airflow.sdk import dag, task

@dag(schedule=None)
def telling():
    @task
    def look(**context):
        context["ti"].xcom_push(key="note", value="found " + "x" * 990)

    @task
    def tell(**context):
        context["ti"].xcom_push(key="note", value="the verdict")

    look() >> tell()

telling()
"""

ASK = """
import json, sys
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.api_fastapi.core_api.services.public.dag_run import patch_dag_run_note
from airflow.dag_processing.dagbag import DagBag
from airflow.models.dagrun import DagRun
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from include.airflow_plugins.ser_notes import on_dag_run_success
from sqlalchemy import select

run_id = DagBag(sys.argv[1]).get_dag("telling").test().run_id
notes = []
with create_session() as session:
    run = session.scalar(select(DagRun).where(DagRun.run_id == run_id))

    def end():
        on_dag_run_success(run, "")
        session.flush()
        notes.append(run.note)

    end()
    told = (XComModel.run_id == run_id, XComModel.task_id == "tell", XComModel.key == "note")
    row = session.scalar(select(XComModel).where(*told))
    row.value = XComModel.serialize_value("another verdict")
    session.flush()
    end()
    patch_dag_run_note(dag_run=run, note="heard it", user=SimpleAuthManagerUser(username="admin", role="admin"))
    end()
    run.dag_run_note = None
    session.flush()
    run.note = "why I started it"
    end()
print(json.dumps(notes))
"""


def test_the_verdict_stands_first_a_new_one_takes_its_place_and_a_persons_words_stay(
    airflow_env: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "telling.py").write_text(DAG)
    env = {**airflow_env, "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path), "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(tmp_path)], env=env, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    first, again, *persons = json.loads(done.stdout.splitlines()[-1])
    assert first.startswith("the verdict\nfound xxx")
    assert len(first) == 1000
    assert again.startswith("another verdict\nfound xxx")
    assert persons == ["heard it", "why I started it"]
