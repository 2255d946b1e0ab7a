"""Airflow plugin: pages of published artifacts (Data Docs, reports), for people who are logged in to Airflow.

Links to them are set by `dags/links.py`. Every Airflow process loads this file: what is heavy is imported where the API
server alone comes by.
"""

import hashlib
import re
from functools import cache, cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from airflow.sdk.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from fastapi import FastAPI, Response

    from ser_tasks.store import Store

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".csv": "text/csv; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
"""What a page is made of. Recordings and models are not handed out here."""

HEADERS = {
    # A page may hold names that a corpus brought along: it runs no script and loads nothing from elsewhere.
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; media-src data:; "
    "style-src 'self' 'unsafe-inline'; font-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


@cache
def _store() -> "Store":
    from ser_tasks.store import Store

    return Store.from_env()


def page(kind: str, key: str, path: str) -> "Response":
    """One file of a published artifact: 404 for a name that its manifest does not list, 502 for a damaged blob."""
    from fastapi import HTTPException, Response

    asked = re.fullmatch(r"[a-z][a-z0-9_]*", kind) and re.fullmatch(r"[0-9a-f]{64}", key)
    media_type = TYPES.get(PurePosixPath(path).suffix)
    manifest = _store().manifest(kind, key) if asked and media_type else None
    hashes = {file["name"]: file["sha256"] for file in manifest["files"]} if manifest else {}
    if path not in hashes:
        raise HTTPException(404, f"There is no page {kind}/{key}/{path}")
    body = _store().get(f"blobs/sha256/{hashes[path]}")
    if body is None or hashlib.sha256(body).hexdigest() != hashes[path]:
        raise HTTPException(502, f"{path} of artifact {kind}/{key} is missing or damaged in the store")
    return Response(body, media_type=media_type, headers=HEADERS)


def make_app() -> "FastAPI":
    """The app behind /ser: whoever may see task instances may see their pages."""
    from airflow.api_fastapi.core_api.security import DagAccessEntity, requires_access_dag
    from fastapi import Depends, FastAPI

    app = FastAPI(title="SER pages", docs_url=None, redoc_url=None, openapi_url=None)
    allowed = Depends(requires_access_dag("GET", DagAccessEntity.TASK_INSTANCE))
    app.get("/pages/{kind}/{key}/{path:path}", dependencies=[allowed], response_model=None)(page)
    return app


class SerPages(AirflowPlugin):
    """Serves /ser/pages/<kind>/<key>/<file>."""

    name = "ser_pages"

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:
        return [{"app": make_app(), "url_prefix": "/ser", "name": "SER pages"}]
