"""The summary goes out where a connection is configured, and never says where or with which key."""

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

SEND = """
import json
from dags.notify import send
print(json.dumps(send("SER: a night", "UAR <.5>", {})))
"""


@pytest.fixture
def listener() -> Iterator[tuple[str, list[tuple[dict[str, str], Any]]]]:
    """A server that takes every POST; gives its address and what it took."""
    taken: list[tuple[dict[str, str], Any]] = []

    class Taker(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.append((dict(self.headers), json.loads(body)))
            self.send_response(500 if self.path == "/broken" else 200)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Quiet."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Taker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", taken
    server.shutdown()


def send(env: dict[str, str], **connections: dict[str, Any]) -> tuple[list[str], str]:
    told = {f"AIRFLOW_CONN_{name.upper()}": json.dumps(value) for name, value in connections.items()}
    done = subprocess.run([sys.executable, "-c", SEND], env=env | told, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]), done.stdout + done.stderr


def test_nothing_configured_sends_nothing(airflow_env: dict[str, str]) -> None:
    assert send(airflow_env)[0] == []


def test_a_webhook_gets_the_text_and_its_key(airflow_env: dict[str, str], listener: Any) -> None:
    address, taken = listener
    said, log = send(airflow_env, ser_webhook={"conn_type": "http", "host": f"{address}/hook", "password": "s3cret"})
    assert said == ["summary sent by ser_webhook"]
    ((headers, body),) = taken
    assert body == {"text": "UAR <.5>"}
    assert headers["Authorization"] == "Bearer s3cret"
    assert "s3cret" not in log


def test_one_that_fails_is_named_without_address_or_key(airflow_env: dict[str, str], listener: Any) -> None:
    webhook = {"conn_type": "http", "host": f"{listener[0]}/broken", "password": "s3cret"}
    extra = {"to": "a@example.org", "from_email": "b@example.org", "disable_ssl": True, "retry_limit": 1}
    smtp = {"conn_type": "smtp", "host": "127.0.0.1", "port": 9, "login": "me", "password": "s3cret", "extra": extra}
    said, _ = send(airflow_env, ser_webhook=webhook, ser_smtp=smtp)
    assert [line.split(":")[0] for line in said] == [
        "summary NOT sent by ser_smtp", "summary NOT sent by ser_webhook",
    ]  # fmt: skip
    assert not any(secret in line for line in said for secret in ("s3cret", "127.0.0.1", "example"))
