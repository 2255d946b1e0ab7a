"""A summary by Airflow notifier, where a person has configured one of two connections:

- `ser_smtp` (type smtp): e-mail; its extra names `to`, and `from_email` as usual;
- `ser_webhook` (type http): a POST of {"text": ...}; its host is the whole address, its password a bearer token.
"""

from html import escape
from typing import Any

from airflow.sdk import BaseHook, BaseNotifier, Connection
from airflow.sdk.exceptions import AirflowRuntimeError

SMTP, WEBHOOK = "ser_smtp", "ser_webhook"


class WebhookNotifier(BaseNotifier):
    """Posts a text to the address of a connection."""

    def __init__(self, text: str, connection: Connection) -> None:
        super().__init__()
        self.text = text
        self.connection = connection

    def notify(self, context: Any) -> None:
        """Raises httpx.HTTPError when the address does not take it."""
        import httpx

        key = self.connection.password
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        answer = httpx.post(str(self.connection.host), json={"text": self.text}, headers=headers, timeout=20)
        answer.raise_for_status()


def _connection(name: str) -> Connection | None:
    try:
        return BaseHook.get_connection(name)
    except (AirflowRuntimeError, LookupError):
        return None
    except Exception as error:  # a missing connection has another class in every secrets backend
        if "NotFound" in type(error).__name__:
            return None
        raise


def send(subject: str, text: str, context: Any) -> list[str]:
    """Send a text by every notifier that is configured; one that fails is named and stops nothing.

    Returns:
        What was done, one line a notifier. Addresses and keys are in none of them.
    """
    said = []
    for name in (SMTP, WEBHOOK):
        connection = _connection(name)
        if connection is None:
            continue
        try:
            _notifier(name, connection, subject, text).notify(context)
            said.append(f"summary sent by {name}")
        except Exception as error:
            # Its message may hold the address or a key.
            said.append(f"summary NOT sent by {name}: {type(error).__name__}; look at the connection")
    return said


def _notifier(name: str, connection: Connection, subject: str, text: str) -> Any:
    if name == WEBHOOK:
        return WebhookNotifier(text, connection)
    from airflow.providers.smtp.notifications.smtp import SmtpNotifier

    to = connection.extra_dejson["to"]
    return SmtpNotifier(to=to, subject=subject, html_content=f"<pre>{escape(text)}</pre>", smtp_conn_id=SMTP)
