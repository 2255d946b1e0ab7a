"""An Airflow of one's own: a migrated SQLite database and the checkout's DAG folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def airflow_env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables for a process that uses this Airflow."""
    env = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")),
        "AIRFLOW__CORE__DAGS_FOLDER": str(CHECKOUT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": str(CHECKOUT),
        "SER_CONFIGS": str(CHECKOUT / "tests" / "configs"),
        "SER_NIGHTLY_CONFIG": "tiny",
        "HF_HUB_OFFLINE": "1",
    }
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], env=env, check=True, capture_output=True)
    subprocess.run(
        [sys.executable, "-m", "airflow", "pools", "set", "gpu", "1", "training"],
        env=env,
        check=True,
        capture_output=True,
    )
    return env
