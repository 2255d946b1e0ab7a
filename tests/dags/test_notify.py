"""The summary goes out where a connection is configured, and never says where or with which key."""

import email
import http.server
import json
import socketserver
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


class Mailbox(socketserver.StreamRequestHandler):
    """Enough of SMTP (RFC 5321) to take one message; the letters go to `server.letters`."""

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                letter = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.server.letters.append(letter.decode())  # type: ignore[attr-defined]
            self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")
            if verb == b"QUIT":
                return


def test_an_email_reaches_whom_the_connection_names(airflow_env: dict[str, str]) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mailbox) as server:
        server.letters = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        extra = {"to": "a@example.org", "from_email": "b@example.org", "disable_ssl": True, "disable_tls": True}
        smtp = {"conn_type": "smtp", "host": "127.0.0.1", "port": server.server_address[1], "extra": extra}
        assert send(airflow_env, ser_smtp=smtp)[0] == ["summary sent by ser_smtp"]
        (letter,) = server.letters  # type: ignore[attr-defined]
        server.shutdown()
    message = email.message_from_string(letter)
    assert (message["To"], message["Subject"]) == ("a@example.org", "SER: a night")
    (part,) = [part for part in message.walk() if not part.is_multipart()]
    assert "UAR &lt;.5&gt;" in part.get_payload(decode=True).decode()
