"""The tasks of a study, wired: `ser_study` and `ser_nightly_retrain` call `study_tasks()`.

Nothing heavy is imported here: the DAG processor parses this file again and again.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule, get_current_context, task, task_group

from dags.links import SHOWN, link
from ser_tasks.errors import BadInput, Busy, Refused, Skipped
from ser_tasks.running import describe, run_step
from ser_tasks.steps import STEPS

DEFAULTS = {
    "retries": 2,
    "retry_delay": timedelta(seconds=10),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=5),
    "execution_timeout": timedelta(hours=2),
    "retry_policy": ExceptionRetryPolicy(
        rules=[RetryRule(exception=BadInput, action=RetryAction.FAIL, reason="bad input: trying again cannot help")]
    ),
}
GPU = {"pool": "gpu", "queue": "gpu", "execution_timeout": timedelta(hours=24)}
REGISTERED = ["cnn", "wav2vec2"]
PROMOTE = "ser_promote"
WAIT_FOR_OTHER_RUN = timedelta(seconds=60)


def run_id() -> str:
    """`<dag_id>/<run_id>`: who asks, kept with what a task builds."""
    context = get_current_context()
    return f"{context['dag'].dag_id}/{context['run_id']}"


def flat(given: list[Any]) -> list[dict[str, Any]]:
    """Results of upstream tasks: single ones, lists of mapped ones, None of skipped ones -> one list of results."""
    results: list[dict[str, Any]] = []
    for item in given:
        if isinstance(item, dict):
            results.append(item)
        elif item is not None:
            results.extend(flat(list(item)))
    return results


def run(name: str, given: list[Any], about: str = "") -> dict[str, Any]:
    """Run a step by reference; another run that builds the same is waited for without holding a slot."""
    from airflow.sdk.exceptions import AirflowRescheduleException, AirflowSkipException

    from ser_tasks.store import Store

    try:
        result = run_step(name, flat(given), about, Store.from_env(), run_id())
    except Skipped as reason:
        raise AirflowSkipException(str(reason)) from reason
    except Busy as reason:
        print(reason, "- waiting for it")
        raise AirflowRescheduleException(datetime.now(UTC) + WAIT_FOR_OTHER_RUN) from reason
    except Refused as refused:
        # A task that fails returns nothing: its buttons find the page under this name.
        get_current_context()["ti"].xcom_push(key=SHOWN, value=refused.result)
        raise
    print(describe(result))
    return result


def step(name: str, **options: Any) -> Any:
    """A task that runs one step of the table, named and documented as the table has it."""

    named = {"task_id": name, "map_index_template": "{{ task.op_kwargs.get('about', '') }}"} | options

    @task(doc_md=STEPS[name].doc, **named)
    def run_named_step(given: list[Any], about: str = "") -> dict[str, Any]:
        return run(name, given, about)

    return run_named_step


def gather(task_id: str, given: list[Any]) -> Any:
    """The results of several tasks as one list, so that what follows has one arrow instead of many."""

    @task(task_id=task_id, doc_md="The results so far, in one list.", trigger_rule="none_failed")
    def one_list(given: list[Any]) -> list[dict[str, Any]]:
        return flat(given)

    return one_list(given)


def listed(planned: Any, name: str) -> Any:
    """A list out of the plan's output, as a task of its own: Airflow maps over whole return values only."""

    @task(task_id=name, doc_md=f"What later tasks are mapped over: {name}.")
    def one_list(planned: dict[str, Any]) -> list[str]:
        return list(planned[name])

    return one_list(planned)


@task_group(group_id="corpus")
def corpus_tasks(pinned: list[Any], corpus: str) -> Any:
    """One corpus: scan, validate, pack."""
    scan = step("scan")([pinned], about=corpus)
    validated = link(step("validate")([pinned, scan], about=corpus), "Data Docs", "docs/index.html")
    packed = step("pack")([pinned, scan], about=corpus)
    validated >> packed
    return gather("scanned", [scan, validated, packed])


def study_tasks(planned: Any) -> tuple[Any, Any]:
    """Everything after the plan.

    Args:
        planned: The plan task's output: {"results", "corpora", "tested", "pairs", "seeded", "seed_pairs"} and what
            `trait_tasks` takes.

    Returns:
        The last task, and the one that asks for a review of what is new: it may be skipped.
    """
    pinned = planned["results"]
    corpora = corpus_tasks.partial(pinned=pinned).expand(corpus=listed(planned, "corpora"))
    split = step("split")([pinned, corpora])
    # What a stage may see is an artifact of its own: training cannot open the rows that test it.
    rows = step("rows").partial(given=[pinned, split]).expand(about=["fit", "gate"])
    ratings = step("ratings").partial(given=[pinned]).expand(about=listed(planned, "rated"))
    tones = step("tones", trigger_rule="none_failed")([pinned, ratings, rows])
    data = gather("data", [pinned, corpora, split, rows, ratings, tones])
    trained = [
        step("train_baseline")([data], "baseline"),
        step("train_cnn", **GPU)([data], "cnn"),
        step("train_wav2vec2", **GPU)([data], "wav2vec2"),
        step("train_probe", **GPU)([data], "probe"),
    ]
    models = gather("models", [data, *trained])
    pairs = listed(planned, "pairs")
    spectra = step("spectra")([data])
    predicted = step("predict").partial(given=[models]).expand(about=pairs)
    shown = gather("shown", [models, predicted, spectra])
    evaluated = step("evaluate").partial(given=[shown]).expand(about=pairs)
    tested = listed(planned, "tested")
    compared = step("compare").partial(given=[models, predicted]).expand(about=tested)
    over_seeds = seed_tasks(planned, tested, data, [models, predicted])
    found = gather("found", [models, spectra, predicted, evaluated, compared, over_seeds, trait_tasks(planned, models)])
    figures = step("figures")([found])
    report = link(step("report")([found, figures]), "Report", "index.html")
    harm = step("harm").partial(given=[models]).expand(about=REGISTERED)
    gated = step("gate").partial(given=[models, harm]).expand(about=REGISTERED)
    registered = register.partial(given=[found, figures, report, gated]).expand(model=REGISTERED)
    asked = TriggerDagRunOperator.partial(
        task_id="start_promotion",
        trigger_dag_id=PROMOTE,
        logical_date=None,
        skip_when_already_exists=True,  # a retry asks once
        doc_md="Start ser_promote for a new challenger, and do not wait for the answer.",
    ).expand_kwargs(offer(planned, registered))
    return record([found, figures, report, harm, gated], [registered, register_trait([found, figures])]), asked


@task(
    doc_md="The CNN and wav2vec2 with further seeds, where the configuration asks for several (seeds).",
    map_index_template="{{ task.op_kwargs.get('about', '') }}",
    **GPU,
)
def train_seeds(given: list[Any], about: str) -> dict[str, Any]:
    """The step that trains a model, about `cnn/1`: the same artifact as a study's whose seed is that one."""
    return run(f"train_{about.partition('/')[0]}", given, about)


def seed_tasks(planned: Any, tested: Any, data: Any, first: list[Any]) -> list[Any]:
    """Further seeds of the networks, and what several seeds say. All are skipped with one seed.

    Args:
        planned: The plan task's output: {"seeded", "seed_pairs"}.
        tested: The test corpora.
        data: Results that training takes.
        first: Trainings and predictions of the first seed.
    """
    trained = train_seeds.partial(given=[data]).expand(about=listed(planned, "seeded"))
    predict = step("predict", task_id="predict_seeds").partial(given=[data, trained])
    predicted = predict.expand(about=listed(planned, "seed_pairs"))
    return [trained, predicted, step("seeds").partial(given=[*first, predicted]).expand(about=tested)]


def trait_tasks(planned: Any, models: Any) -> Any:
    """Embeddings, shared by several tasks; prosody; the trait's direction; what other corpora make of it.

    Args:
        planned: The plan task's output: {"parts", "embedded", "transfers"}.
        models: Results of everything before: pinned encoders, scans, audio, ratings, trained models.
    """
    prosody = step("prosody")([models])
    parts = step("embed").partial(given=[models]).expand(about=listed(planned, "parts"))
    embedded = step("embeddings").partial(given=[models, parts]).expand(about=listed(planned, "embedded"))
    trait = step("trait", trigger_rule="none_failed")([models, embedded, prosody])
    moved = step("transfer").partial(given=[models, embedded, trait]).expand(about=listed(planned, "transfers"))
    return gather("trait_found", [prosody, parts, embedded, trait, moved])


@task(
    doc_md="Register the trained model in MLflow as `challenger`, with metrics, parameters and data digests; found "
    "again by the training's key, so a retry makes no second version.",
    map_index_template="{{ task.op_kwargs.get('model', '') }}",
)
def register(given: list[Any], model: str) -> dict[str, Any]:
    """Runs ser_tasks.records.register."""
    from ser_tasks.records import register as register_model
    from ser_tasks.store import Store

    return register_model(model, flat(given), Store.from_env(), run_id())


@task(doc_md="Which of the registered models go to a person for review: new challengers.")
def offer(planned: dict[str, Any], registered: list[Any]) -> list[dict[str, Any]]:
    """Runs ser_tasks.promotion.offers."""
    from ser_tasks.plan import read_plan
    from ser_tasks.promotion import offers
    from ser_tasks.store import Store

    promotion = read_plan(Store.from_env(), planned["results"]).config.promotion
    return offers(flat([registered]), promotion.automatic)


@task(
    doc_md="Register the trait's direction in MLflow as `ser-trait-<name>`, alias `challenger`; found again by the "
    "artifact's key, so a retry makes no second version."
)
def register_trait(given: list[Any]) -> dict[str, Any]:
    """Runs ser_tasks.trait_records.register_trait."""
    from airflow.sdk.exceptions import AirflowSkipException

    from ser_tasks.store import Store
    from ser_tasks.trait_records import register_trait as register_direction

    try:
        return register_direction(flat(given), Store.from_env(), run_id())
    except Skipped as reason:
        raise AirflowSkipException(str(reason)) from reason


@task(
    doc_md="Write the run record `runs/<dag_id>/<run_id>.json` and the study's run in MLflow. The last task.",
    trigger_rule="none_failed",
)
def record(given: list[Any], registered: list[Any]) -> dict[str, Any]:
    """Runs ser_tasks.records.record."""
    from ser_tasks.records import record as write_record
    from ser_tasks.store import Store

    return write_record(flat(given), flat(registered), Store.from_env(), run_id())
