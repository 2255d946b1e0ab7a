"""A step's code cannot change unnoticed: its version is part of the key under which old results are found.

When this fails: does the change alter what the step produces for the same inputs and parameters? Then raise the step's
version in ser_tasks/steps.py. Either way record the sources anew, in the same commit:

    .venv/bin/python -m tests.test_step_versions
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import grimp

from ser_tasks.steps import STEPS

RECORD = Path(__file__).with_name("step_sources.json")
PACKAGE = Path(__file__).parents[1] / "ser_tasks"


def sources() -> dict[str, Any]:
    """Step -> its version and a hash of every module of ser_tasks that its build reaches."""
    graph = grimp.build_graph("ser_tasks", cache_dir=None)
    found = {}
    for name, step in STEPS.items():
        start = step.build.split(":")[0]
        digest = hashlib.sha256()
        for module in sorted({start, *graph.find_upstream_modules(start)}):
            path = PACKAGE.joinpath(*module.split(".")[1:])
            file = path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"
            digest.update(file.read_bytes())
        for template in sorted(PACKAGE.glob("report/*.j2")) if name == "report" else []:
            digest.update(template.read_bytes())
        found[name] = {"version": step.version, "sources": digest.hexdigest()}
    return found


def test_the_recorded_sources_are_those_of_today() -> None:
    recorded = json.loads(RECORD.read_text())
    changed = [name for name, now in sources().items() if recorded.get(name) != now]
    assert not changed, f"the code of {', '.join(changed)} changed: read the head of {Path(__file__).name}"
    assert set(recorded) == set(STEPS)


if __name__ == "__main__":
    RECORD.write_text(json.dumps(sources(), indent=1) + "\n")
