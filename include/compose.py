"""`python -m include.compose env|initialise`: what docker-compose.yaml needs besides images.

`env` writes .env with fresh secrets, for its owner's eyes only, where there is none yet. `initialise` makes databases
and buckets that are missing, and checks that the object store's conditional writes are atomic; it can be done again at
any time.
"""

import base64
import os
import secrets
import sys
from pathlib import Path

ENV = Path(".env")
BUCKETS = ("ser", "mlflow")
DATABASES = ("mlflow", "mlflow_auth")


def fresh_secrets() -> dict[str, str]:
    """Every secret that docker-compose.yaml asks for; safe within addresses."""
    names = (
        "POSTGRES_PASSWORD", "VALKEY_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY", "MLFLOW_ADMIN_PASSWORD",
        "MLFLOW_SECRET_KEY", "AIRFLOW_ADMIN_PASSWORD", "AIRFLOW_SECRET_KEY", "AIRFLOW_JWT_SECRET",
    )  # fmt: skip
    return {name: secrets.token_hex(24) for name in names} | {
        "AIRFLOW_FERNET_KEY": base64.urlsafe_b64encode(os.urandom(32)).decode()
    }


def write_secrets(path: Path) -> None:
    """Write fresh secrets into a new file of mode 0600.

    Raises:
        FileExistsError: There is one: what it holds are the passwords of a database that may be alive.
    """
    path.touch(mode=0o600, exist_ok=False)
    path.write_text("".join(f"{name}={value}\n" for name, value in fresh_secrets().items()), encoding="utf-8")


def initialise() -> None:
    """Make what is missing. Reads SER_DATABASE and the store's variables."""
    import psycopg2
    from psycopg2 import sql

    from ser_tasks.store import Store

    connection = psycopg2.connect(os.environ["SER_DATABASE"].replace("+psycopg2", ""))
    connection.autocommit = True  # CREATE DATABASE refuses to be part of a transaction
    with connection.cursor() as cursor:
        for name in DATABASES:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            if cursor.fetchone() is None:
                cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    connection.close()
    store = Store.from_env()
    there = {bucket["Name"] for bucket in store.client.list_buckets()["Buckets"]}
    for name in BUCKETS:
        if name not in there:
            store.client.create_bucket(Bucket=name)
    store.probe()


def main() -> int:
    """Run one command. Returns the exit status."""
    if sys.argv[1:] == ["env"]:
        try:
            write_secrets(ENV)
        except FileExistsError:
            print(
                f"{ENV} is there, with the passwords of what was made with it: nothing was written. For a new start "
                "delete the volumes (docker compose down --volumes) and then the file.",
                file=sys.stderr,
            )
            return 1
        print(f"{ENV}: fresh secrets, readable by you alone")
    elif sys.argv[1:] == ["initialise"]:
        initialise()
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
