"""Links from a task in Airflow's UI to a page that it published; include/airflow_plugins/ser_pages.py serves them."""

from typing import Any
from urllib.parse import urlsplit

import attrs
from airflow.sdk import BaseOperatorLink

SHOWN = "shown"
"""Key under which a task that fails, or returns something else, leaves the result whose pages its buttons open."""


@attrs.frozen
class PageLink(BaseOperatorLink):
    """A button that opens a page of the artifact that the task made or found.

    Attributes:
        name: What stands on the button.
        page: Name of the file in the artifact.
    """

    name: str
    page: str

    @property
    def xcom_key(self) -> str:
        """One a button: the worker puts the address there when the task has ended."""
        return f"_link_{self.name.lower().replace(' ', '_')}"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The page's address on Airflow's own server; empty when the task gave no artifact."""
        from airflow.sdk.configuration import conf
        from airflow.sdk.execution_time.xcom import XCom

        result = XCom.get_value(ti_key=ti_key, key="return_value")
        if not isinstance(result, dict):
            result = XCom.get_value(ti_key=ti_key, key=SHOWN)
        if not result:
            return ""
        kind, key, _ = result["ref"].split("/")
        return (
            f"{urlsplit(conf.get('api', 'base_url', fallback='')).path.rstrip('/')}/ser/pages/{kind}/{key}/{self.page}"
        )


def link(task: Any, name: str, page: str) -> Any:
    """Put a button on a task that gives a step's result: `link(step("report")(...), "Report", "index.html")`.

    Args:
        task: What calling a `@task` gave.
        name: What stands on the button; one of a kind among the task's.
        page: Name of the file in the artifact.

    Returns:
        The task.
    """
    task.operator.operator_extra_links = (*task.operator.operator_extra_links, PageLink(name, page))
    return task
