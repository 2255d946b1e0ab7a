"""The little of Airflow's REST API that starting and watching a run takes."""

import time
from datetime import UTC, datetime
from typing import Any

import httpx

from include.stack.errors import StackError
from include.stack.layout import Layout, State
from ser_tasks.config import configs_folder

Json = dict[str, Any]

_PATIENCE_S = 90.0  # a training on every core may keep the API server waiting


class Airflow:
    """A client that logs in by itself, and bears with a server that is busy."""

    def __init__(self, state: State) -> None:
        self.url = state.airflow_url
        self._password = state.secrets.airflow_password
        self._http = httpx.Client(base_url=self.url, trust_env=False, timeout=30)

    def call(self, method: str, path: str, missing_ok: bool = False, **options: Any) -> Json:
        """Send a request to `/api/v2/<path>` and return the answer's JSON; `{}` for 404 when `missing_ok`.

        Raises:
            StackError: Airflow refused, in its words, or did not answer for a long time.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                answer = self._http.request(method, f"/api/v2/{path}", **options)
            except httpx.TransportError as error:
                if time.monotonic() > deadline:
                    raise StackError(
                        f"Airflow at {self.url} does not answer: {error or type(error).__name__}"
                    ) from error
            else:
                if answer.status_code == httpx.codes.NOT_FOUND and missing_ok:
                    return {}
                if answer.is_success:
                    return dict(answer.json())
                if answer.status_code == httpx.codes.UNAUTHORIZED and time.monotonic() < deadline:
                    self._log_in()
                elif not answer.is_server_error or time.monotonic() > deadline:
                    raise StackError(f"Airflow refused {method} {path}: {answer.status_code} {answer.text[:500]}")
            time.sleep(0.5)

    def _log_in(self) -> None:
        answer = self._http.post("/auth/token", json={"username": "admin", "password": self._password})
        if answer.is_success:
            self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def ensure_pool(self, name: str, slots: int) -> None:
        """Make a pool; one that is there keeps the slots that a person gave it."""
        if not self.call("GET", f"pools/{name}", missing_ok=True):
            self.call("POST", "pools", json={"name": name, "slots": slots, "description": "trainings at one time"})

    def trigger(self, dag_id: str, layout: Layout, conf: Json, timeout: float = 120) -> str:
        """Start a run of a DAG, as its files stand now, and return the run's id."""
        # The folder of configurations changes with their names, which the DAG's form lists.
        read = [*layout.dags.rglob("*.py"), configs_folder()]
        written = max(path.stat().st_mtime for path in read)
        deadline = time.monotonic() + timeout
        while not (dag := self._parsed(dag_id, written)):
            if time.monotonic() > deadline:
                raise StackError(f"Airflow does not know the DAG {dag_id} after {timeout:.0f} s: see {layout.dags}")
            time.sleep(0.5)
        if dag["is_paused"]:
            self.call("PATCH", f"dags/{dag_id}", json={"is_paused": False})
        run_id = f"{conf.get('config', 'run')}_{datetime.now(UTC):%Y%m%dT%H%M%S_%f}"
        # With an id of its own, a request that is sent twice makes one run.
        self.call("POST", f"dags/{dag_id}/dagRuns", json={"dag_run_id": run_id, "logical_date": None, "conf": conf})
        return run_id

    def _parsed(self, dag_id: str, since: float) -> Json:
        """The DAG, once it was parsed after its files were last written; `{}` until then."""

        def is_new(time_text: str | None) -> bool:
            return bool(time_text) and datetime.fromisoformat(str(time_text)).timestamp() >= since

        for error in self.call("GET", "importErrors")["import_errors"]:
            if is_new(error["timestamp"]):
                raise StackError(f"Airflow cannot read {error['filename']}:\n{error['stack_trace']}")
        dag = self.call("GET", f"dags/{dag_id}", missing_ok=True)
        return dag if dag and not dag["is_stale"] and is_new(dag["last_parsed_time"]) else {}

    def run(self, dag_id: str, run_id: str) -> Json:
        """A run's record; `state` is queued, running, success or failed."""
        return self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}")

    def tasks(self, dag_id: str, run_id: str) -> list[Json]:
        """The run's task instances in the order in which they started."""
        found: list[Json] = []
        while True:
            page = self.call(
                "GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances", params={"limit": 100, "offset": len(found)}
            )
            found += page["task_instances"]
            if not page["task_instances"] or len(found) >= page["total_entries"]:
                return sorted(found, key=lambda task: task["start_date"] or task["end_date"] or "9")

    def log(self, task: Json, lines: int) -> list[str]:
        """The last lines of a task's log, an exception as its type and message."""
        answer = self.call(
            "GET",
            f"dags/{task['dag_id']}/dagRuns/{task['dag_run_id']}/taskInstances/{task['task_id']}"
            f"/logs/{task['try_number']}",
            missing_ok=True,
            params={"map_index": task["map_index"], "full_content": "true"},
            headers={"Accept": "application/json"},
        )
        told: list[str] = []
        for entry in answer.get("content", []):
            if isinstance(entry, str):
                told.append(entry)
                continue
            # Lines that fold the log in the UI begin with two colons.
            told += [line for line in str(entry["event"]).splitlines() if not line.startswith("::")]
            for cause in entry.get("error_detail") or []:
                told += f"{cause['exc_type']}: {cause['exc_value']}".splitlines()
                if cause.get("frames"):
                    told.append(f"  at {cause['frames'][-1]['filename']}:{cause['frames'][-1]['lineno']}")
        return told[-lines:]

    def run_page(self, dag_id: str, run_id: str) -> str:
        return f"{self.url}/dags/{dag_id}/runs/{run_id}"
