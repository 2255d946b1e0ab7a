"""The study, triggered by a person in Airflow's UI or over REST."""

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task

from dags.study_tasks import DEFAULTS, run_id, study_tasks
from ser_tasks.config import configs_folder
from ser_tasks.steps import STEPS

CONFIGS = sorted(path.stem for path in configs_folder().glob("*.yaml"))

PARAMS = {
    "config": Param(
        "demo",
        type="string",
        enum=CONFIGS,
        title="Configuration",
        description="A file in include/configs: which corpora, labels, split, models and trait.",
    ),
    "seed": Param(
        None,
        type=["null", "integer"],
        minimum=0,
        title="Seed",
        description="Instead of the configuration's seed: initial weights, batch order, bootstrap.",
    ),
    "cnn_epochs": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        maximum=1000,
        title="Epochs of the CNN",
        description="Instead of the configuration's cnn.fit.epochs.",
    ),
    "wav2vec2_epochs": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        maximum=1000,
        title="Epochs of wav2vec2",
        description="Instead of the configuration's wav2vec2.fit.epochs.",
    ),
    "rebuild": Param(
        [],
        type="array",
        items={"type": "string", "enum": list(STEPS)},
        examples=list(STEPS),
        title="Build again",
        description="Steps to build anew although their result is there already.",
    ),
}


@dag(
    schedule=None,
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(days=3),
    default_args=DEFAULTS,
    params=PARAMS,
    tags=["ser"],
    doc_md="""Validate, split, train a CNN and wav2vec2, evaluate within and across corpora, fit the trait direction,
report, register.

Results are kept by what they were made from: what is unchanged is taken from the store, and the task's log says so.
The run record, written last, leads from every figure to its bytes.""",
)
def ser_study() -> None:
    """Plan, then the study's tasks."""

    @task(doc_md="Resolve the configuration; pin corpora, encoders and annotations.", multiple_outputs=True)
    def plan() -> dict[str, Any]:
        from ser_tasks.records import plan_study
        from ser_tasks.store import Store

        params = get_current_context()["params"]
        overrides = {
            "seed": params["seed"],
            "cnn.fit.epochs": params["cnn_epochs"],
            "wav2vec2.fit.epochs": params["wav2vec2_epochs"],
        }
        return plan_study(params["config"], overrides, params["rebuild"], Store.from_env(), run_id())

    study_tasks(plan())


ser_study()
