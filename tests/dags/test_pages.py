"""Pages of published artifacts behind Airflow's login, and the buttons that lead there: Airflow's own app."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ser_tasks.artifact import Ref
from ser_tasks.store import Store

CHECKOUT = Path(__file__).parents[2]

DAG = """
from airflow.sdk import dag, task
from dags.links import link

@dag(schedule=None)
def linked():
    @task
    def validate():
        return {"ref": "REF"}

    @task
    def broken():
        raise ValueError("no result")

    @task
    def refusing(**context):
        context["ti"].xcom_push(key="shown", value={"ref": "REF"})
        raise ValueError("the page says why")

    @task.short_circuit
    def answering(**context):
        context["ti"].xcom_push(key="shown", value={"ref": "REF"})
        return True

    link(answering(), "Data Docs", "docs/index.html")
    link(refusing(), "Data Docs", "docs/index.html")
    link(link(validate(), "Data Docs", "docs/index.html"), "Results", "results.json")
    link(broken(), "Data Docs", "docs/index.html")

linked()
"""

ASK = """
import json, sys
from airflow.api_fastapi.app import create_app
from airflow.dag_processing.dagbag import DagBag
from fastapi.testclient import TestClient

run = DagBag(sys.argv[1]).get_dag("linked").test()
client = TestClient(create_app(apps="core"), follow_redirects=False)
token = client.post("/auth/token", json={"username": "admin", "password": "secret"}).json()["access_token"]
bearer = {"Authorization": f"Bearer {token}"}
links = {
    task: client.get(
        f"/api/v2/dags/linked/dagRuns/{run.run_id}/taskInstances/{task}/links", headers=bearer
    ).json()["extra_links"]
    for task in ("validate", "broken", "refusing", "answering")
}
prefix = links["validate"]["Data Docs"].removesuffix("docs/index.html")
asked = {
    "anonymous": (links["validate"]["Data Docs"], {}),
    "forged": (links["validate"]["Data Docs"], {"Cookie": "_token=x.y.z"}),
    "bearer": (links["validate"]["Results"], bearer),
    "cookie": (links["validate"]["Data Docs"], {"Cookie": f"_token={token}"}),
    "unknown": (prefix + "docs/other.html", bearer),
    "recording": (prefix + "clip.wav", bearer),
    "damaged": (prefix + "damaged.json", bearer),
    "climbing": (prefix + "docs/%2e%2e/%2e%2e/manifest.json", bearer),
    "climbing in the key": ("/ser/pages/validate/%2e%2e/x.json", bearer),
    "climbing in the kind": (f"/ser/pages/%2e%2e/{'a' * 64}/x.json", bearer),
    "other key": (f"/ser/pages/validate/{'a' * 64}/results.json", bearer),
}
answers = {name: client.get(url, headers=headers) for name, (url, headers) in asked.items()}
print(json.dumps({
    "links": links, "heavy": [name for name in ("torch", "great_expectations", "mlflow") if name in sys.modules],
    "answers": {name: [a.status_code, a.text, dict(a.headers)] for name, a in answers.items()},
}))
"""


@pytest.fixture
def published(store: Store, tmp_path: Path) -> Ref:
    """An artifact with pages, a file that is no page, and a page whose blob was overwritten."""
    folder = tmp_path / "artifact"
    (folder / "docs").mkdir(parents=True)
    (folder / "docs" / "index.html").write_text("<h1>Datendokumente für Menschen</h1>")
    (folder / "results.json").write_text('{"success": true}')
    (folder / "clip.wav").write_bytes(b"RIFF")
    (folder / "damaged.json").write_text("{}")
    ref, _ = store.publish("validate", "c" * 64, folder, {})
    manifest = store.manifest("validate", "c" * 64)
    assert manifest
    blob = next(file["sha256"] for file in manifest["files"] if file["name"] == "damaged.json")
    store.put(f"blobs/sha256/{blob}", b"{...")
    return ref


@pytest.fixture
def seen(
    published: Ref, store: Store, seaweedfs: dict[str, str], airflow_env: dict[str, str], tmp_path: Path
) -> dict[str, Any]:
    """What a browser sees after the DAG ran."""
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "linked.py").write_text(DAG.replace("REF", str(published)))
    passwords = tmp_path / "passwords.json"
    passwords.write_text(json.dumps({"admin": "secret"}))
    env = {
        **{name: value for name, value in seaweedfs.items() if name.startswith(("SER_", "AWS_"))},
        **airflow_env,
        "SER_S3_BUCKET": store.bucket,
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(CHECKOUT / "include" / "airflow_plugins"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "AIRFLOW__API_AUTH__JWT_SECRET": "a secret that is long enough for HMAC with SHA-512, said its users: 64 bytes",
    }
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(dags)], env=env, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-10000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_a_task_links_to_pages_that_only_people_who_are_logged_in_see(seen: dict[str, Any]) -> None:
    assert seen["links"]["validate"] == {
        "Data Docs": f"/ser/pages/validate/{'c' * 64}/docs/index.html",
        "Results": f"/ser/pages/validate/{'c' * 64}/results.json",
    }
    assert seen["links"]["broken"] == {"Data Docs": None}
    assert seen["links"]["refusing"] == {"Data Docs": seen["links"]["validate"]["Data Docs"]}
    assert seen["links"]["answering"] == seen["links"]["refusing"]
    answers = seen["answers"]
    for name in ("anonymous", "forged"):
        assert answers[name][0] in (401, 403), answers[name]
        assert "Menschen" not in answers[name][1]
    status, text, headers = answers["cookie"]
    assert (status, text) == (200, "<h1>Datendokumente für Menschen</h1>")
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "script-src" not in headers["content-security-policy"]
    assert answers["bearer"][:2] == [200, '{"success": true}']
    for name in ("unknown", "recording", "other key", "climbing", "climbing in the key", "climbing in the kind"):
        assert answers[name][0] == 404, (name, answers[name])
    assert answers["damaged"][0] == 502
    assert seen["heavy"] == []
