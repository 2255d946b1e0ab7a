"""A person decides on a registered model: approve, refuse, promote or roll back."""

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param, dag, get_current_context, task

from dags.study_tasks import DEFAULTS, run_id

MODELS = ["ser-cnn", "ser-wav2vec2"]
ANSWER_WITHIN = timedelta(days=7)

PARAMS = {
    "model": Param(MODELS[0], type="string", enum=MODELS, title="Registered model"),
    "version": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        title="Version",
        description="Which version; none: the challenger. A rollback needs none.",
    ),
    "action": Param(
        "ask",
        type="string",
        enum=["ask", "promote", "rollback"],
        title="What to do",
        description="ask: show the model's card and wait for Approve or Reject. promote, rollback: at once.",
    ),
    "reason": Param("", type="string", title="Why", description="Kept with the version.", maxLength=500),
}


@dag(
    schedule=None,
    catchup=False,
    max_active_runs=16,  # an approval may wait for a week: later ones do not wait for it
    default_args=DEFAULTS | {"retries": 2},
    params=PARAMS,
    tags=["ser"],
    doc_md="""Promotion of a registered model. Started by a study or a night with the challenger's version, or by hand.

`ask` shows the card under *Required Actions* and waits 7 days; without an answer the challenger stays one.
`promote` and `rollback` act at once. The old champion becomes `previous`.""",
)
def ser_promote() -> None:
    """Prepare, then ask a person or not, then settle."""

    @task(doc_md="Find the version and its card; older requests for the same model are closed.")
    def prepare() -> dict[str, Any]:
        from ser_tasks.promotion import prepare as prepare_promotion

        params = get_current_context()["params"]
        return prepare_promotion(params["model"], params["version"], params["action"], run_id())

    @task.branch(doc_md="Ask a person, or act at once.")
    def ask_or_act(prepared: dict[str, Any]) -> str:
        return "approve" if prepared["action"] == "ask" else "settle"

    @task(doc_md="Promote, refuse or roll back, and note who and why.", trigger_rule="none_failed_min_one_success")
    def settle(prepared: dict[str, Any]) -> dict[str, Any]:
        from ser_tasks.promotion import settle as settle_promotion

        context = get_current_context()
        answer = context["ti"].xcom_pull(task_ids="approve")
        return settle_promotion(prepared, answer, context["params"]["reason"])

    prepared = prepare()
    approve = ApprovalOperator(
        task_id="approve",
        subject="{{ ti.xcom_pull(task_ids='prepare')['subject'] }}",
        body="{{ ti.xcom_pull(task_ids='prepare')['body'] }}",
        response_timeout=ANSWER_WITHIN,
        retries=0,
        execution_timeout=None,
        doc_md="Approve or Reject under *Required Actions*.",
    )
    # A refusal skips what follows directly; `settle` stands behind it and notes the refusal too.
    approved = EmptyOperator(task_id="approved")
    settled = settle.override(trigger_rule="all_done")(prepared)
    ask_or_act(prepared) >> [approve, settled]
    approve >> approved >> settled


ser_promote()
