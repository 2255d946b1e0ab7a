"""Does each part of the stack do its work? Asked over the network, as a client would."""

from datetime import datetime

import httpx
from botocore.exceptions import BotoCoreError, ClientError

from include.stack.layout import State
from include.stack.objects import s3_client
from include.stack.services import BUCKETS

_TIMEOUT_S = 5.0

# Their word comes from Airflow's own health page, by these names.
_AIRFLOW_PARTS = {
    "airflow-scheduler": "scheduler",
    "airflow-dag-processor": "dag_processor",
    "airflow-triggerer": "triggerer",
}


def trouble(name: str, state: State, since: float) -> str:
    """What is wrong with a program, in words; empty when it is well.

    Args:
        name: the program, as the supervisor calls it.
        state: ports and secrets.
        since: a sign of life from before this time (seconds since 1970) does not count.
    """
    try:
        if name == "seaweedfs":
            return _seaweedfs(state)
        if name == "mlflow":
            httpx.get(f"{state.mlflow_url}/health", trust_env=False, timeout=_TIMEOUT_S).raise_for_status()
            return ""
        answer = httpx.get(f"{state.airflow_url}/api/v2/monitor/health", trust_env=False, timeout=_TIMEOUT_S)
        return _airflow(name, answer.raise_for_status().json(), since)
    except (httpx.HTTPError, BotoCoreError, ClientError, OSError, ValueError) as error:
        return str(error) or type(error).__name__


def _seaweedfs(state: State) -> str:
    present = {bucket["Name"] for bucket in s3_client(state, retries=1).list_buckets()["Buckets"]}
    missing = set(BUCKETS) - present
    return f"no bucket {', '.join(sorted(missing))}" if missing else ""


def _airflow(name: str, report: dict[str, dict[str, str | None]], since: float) -> str:
    part = _AIRFLOW_PARTS.get(name, "metadatabase")
    word = report[part]["status"]
    if word != "healthy":
        return f"{part} is {word}"
    heartbeat = report[part].get(f"latest_{part}_heartbeat")
    if heartbeat and datetime.fromisoformat(heartbeat).timestamp() < since:
        return f"{part} gave its last sign of life before this start"
    return ""
