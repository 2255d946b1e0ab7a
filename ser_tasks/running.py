"""How a step of a planned study is run: by reference, through the store."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from ser_tasks.artifact import Ref, artifact_key
from ser_tasks.errors import BadInput, Refused, Skipped
from ser_tasks.materialise import imported, materialise
from ser_tasks.plan import Result, find, read_plan
from ser_tasks.processes import in_processes, wanted_processes
from ser_tasks.steps import STEPS
from ser_tasks.store import Store


def run_step(name: str, given: Sequence[Mapping[str, Any]], about: str, store: Store, by: str) -> Result:
    """Materialise one step of a planned study.

    A training runs in as many processes as SER_TRAIN_PROCESSES says; the first of them is the run that asks.

    Args:
        name: In `STEPS`.
        given: Results of earlier steps, the plan's among them; those that this step needs are picked from them.
        about: Which corpus, model or pair; empty for steps of the whole study.
        store: The object store.
        by: The run that asks, kept with what it builds.

    Returns:
        {"step", "about", "ref", "hit", "built_by", "built_at", "seconds", "spent": {"requests", "added" (bytes)}}.

    Raises:
        Skipped: The configuration leaves this step out.
        BadInput: From the build, or a result that is needed was not given.
        Refused: The result is there, and a critical fault in it stops the run.
        Busy: Another run is building the same.
    """
    before = store.spent
    step, plan = STEPS[name], read_plan(store, given)
    if reason := step.left_out(plan, about):
        raise Skipped(f"skipped: {reason}")
    inputs: dict[str, Ref] = {}
    for needed, (source, source_about) in step.needs(plan, about).items():
        ref = find(given, source, source_about)
        if ref is not None:
            inputs[needed.removesuffix("?")] = ref
        elif not needed.endswith("?"):
            raise BadInput(
                f"{name}: needs the result of step {source} about {source_about or 'the study'}, which was not given"
            )
    params, salt = step.params(plan, about), plan.salts.get(name, "")
    during = None
    if step.resumable:
        processes = wanted_processes()
        if processes > 1 and store.manifest(name, artifact_key(name, step.version, params, inputs, salt)) is None:
            asked = {"name": name, "given": list(given), "about": about, "by": by}
            return in_processes(processes, "ser_tasks.step_process", asked)
        from ser_tasks.live import training_under

        during = partial(
            training_under, store=store, experiment=plan.config.name, name=f"ser-{about.replace('/', '-')}"
        )
    built = materialise(
        store, name, step.version, step.build, params, inputs,
        by=by, salt=salt, leased=step.leased, during=during,
    )  # fmt: skip
    result = {
        "step": name, "about": about, "ref": str(built.ref), "hit": built.hit,
        "built_by": built.built_by, "built_at": built.built_at, "seconds": built.seconds,
        "spent": asdict(store.spent - before),
    }  # fmt: skip
    if step.refuse:
        try:
            imported(step.refuse)(store.cached(built.ref))
        except BadInput as error:
            raise Refused(str(error), result) from error
    return result


def describe(result: Mapping[str, Any]) -> str:
    """One line for the task's log."""
    what = f"{result['step']} {result['about']}".strip()
    if result["hit"]:
        return (
            f"{what}: cache hit, built by {result['built_by']} at {result['built_at']}; "
            f'to build again, trigger with rebuild=["{result["step"]}"]'
        )
    return f"{what}: built in {result['seconds']:.1f} s -> {result['ref']}"
