"""One trait of one corpus, put to the test without the rest of the study."""

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task

from dags.links import link
from dags.study_tasks import (
    DEFAULTS,
    GPU,
    corpus_tasks,
    flat,
    gather,
    listed,
    register_trait,
    run,
    run_id,
    step,
    trait_tasks,
)
from ser_tasks.config import configs_folder
from ser_tasks.steps import STEPS

CONFIGS = sorted(path.stem for path in configs_folder().glob("*.yaml"))

PARAMS = {
    "config": Param(
        "demo", type="string", enum=CONFIGS, title="Configuration", description="A file in include/configs."
    ),
    "trait": Param(
        None,
        type=["null", "string"],
        pattern="^[a-z][a-z0-9_.-]*$",
        title="Trait",
        description="Instead of the configuration's trait.name: what the ratings call it, e.g. politeness.",
    ),
    "corpus": Param(
        None,
        type=["null", "string"],
        title="Corpus",
        description="Instead of the configuration's trait.corpus: one of its corpora.",
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
    dagrun_timeout=timedelta(days=1),
    default_args=DEFAULTS,
    params=PARAMS,
    tags=["ser"],
    doc_md="""Embed a corpus, fit the direction of a trait, put it to the test, try it on other corpora, report,
register `ser-trait-<name>`.

A pretrained encoder gives the embeddings where its weights can be had; else the CNN, which is trained first, or taken
from the store where a study has trained it.""",
)
def ser_rudeness() -> None:
    """Plan, then what the trait takes."""

    @task(doc_md="Resolve the configuration; pin corpora, encoders and annotations.", multiple_outputs=True)
    def plan() -> dict[str, Any]:
        from ser_tasks.store import Store
        from ser_tasks.trait_records import plan_trait

        params = get_current_context()["params"]
        overrides = {"trait.name": params["trait"], "trait.corpus": params["corpus"]}
        return plan_trait(params["config"], overrides, params["rebuild"], Store.from_env(), run_id())

    @task(
        doc_md="Train the model that embeds, where no pretrained encoder can be had.",
        map_index_template="{{ task.op_kwargs.get('model', '') }}",
        **GPU,
    )
    def train(given: list[Any], model: str) -> dict[str, Any]:
        return run(f"train_{model}", given, model)

    @task(doc_md="Write the run record `runs/<dag_id>/<run_id>.json`. The last task.")
    def record(given: list[Any], registered: list[Any]) -> dict[str, Any]:
        from ser_tasks.store import Store
        from ser_tasks.trait_records import record_trait

        return record_trait(flat(given), flat(registered), Store.from_env(), run_id())

    planned = plan()
    pinned = planned["results"]
    corpora = corpus_tasks.partial(pinned=pinned).expand(corpus=listed(planned, "corpora"))
    split = step("split").partial(given=[pinned, corpora]).expand(about=listed(planned, "splits"))
    rows = step("rows")([pinned, split], "fit")
    ratings = step("ratings").partial(given=[pinned]).expand(about=listed(planned, "rated"))
    data = gather("data", [pinned, corpora, split, rows, ratings])
    models = gather("models", [data, train.partial(given=[data]).expand(model=listed(planned, "models"))])
    found = gather("found", [models, trait_tasks(planned, models)])
    figures = step("trait_figures")([found])
    report = link(step("trait_report")([found, figures]), "Report", "index.html")
    record([found, figures, report], [register_trait([found, figures])])


ser_rudeness()
