"""Reviewed Great Expectations suites: JSON in `expectations/`, with the config's bounds filled in."""

import json
from pathlib import Path
from typing import Any

from ser_tasks.config import Validation
from ser_tasks.errors import BadInput


def expectations_folder() -> Path:
    """Where the reviewed suites lie: `expectations/` beside the package."""
    return Path(__file__).parents[2] / "expectations"


def load_suite(name: str, bounds: Validation) -> dict[str, Any]:
    """A suite with the config's bounds put where it says {"$bound": name}.

    Raises:
        BadInput: There is no such suite, or it names a bound that the configuration does not have.
    """
    path = expectations_folder() / f"{name}.json"
    values = bounds.model_dump()

    def fill(node: Any) -> Any:
        if isinstance(node, dict) and "$bound" in node:
            if node["$bound"] not in values:
                raise BadInput(f"validation: {path} names the bound {node['$bound']!r}; there are: {', '.join(values)}")
            return values[node["$bound"]]
        if isinstance(node, dict):
            return {key: fill(value) for key, value in node.items()}
        return [fill(value) for value in node] if isinstance(node, list) else node

    filled: dict[str, Any] = fill(read_suite(name))
    return filled


def read_suite(name: str) -> dict[str, Any]:
    """A suite as it is written. Raises BadInput when there is none of that name."""
    path = expectations_folder() / f"{name}.json"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.json"))) or "none"
        raise BadInput(f"validation: {path} does not exist; in {path.parent} there are: {known}")
    suite: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return suite
