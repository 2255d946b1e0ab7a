"""A person decides on a registered model: approve, refuse, promote or roll back."""

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import Param, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from dags.study_tasks import DEFAULTS, PROMOTE, run_id

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
    "automatic": Param(
        False,
        type="boolean",
        title="Promote without asking",
        description="With ask: a challenger that passed the gate and is shown better is promoted without asking.",
    ),
    "days": Param(
        ANSWER_WITHIN.days,
        type="number",
        exclusiveMinimum=0,
        maximum=90,
        title="Days to answer",
        description="Without an answer the challenger stays one.",
    ),
    "reason": Param("", type="string", title="Why", description="Kept with the version.", maxLength=500),
}


class Approval(ApprovalOperator):
    """An approval that waits as long as the run's `days` say, and is skipped when no answer came."""

    def execute(self, context: Any) -> Any:
        """Ask, and wait without holding a worker."""
        self.response_timeout = timedelta(days=context["params"]["days"])
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Take the answer. A refusal skips nothing, as ApprovalOperator's would: `settle` notes it."""
        if event.get("error_type") == "timeout":
            raise AirflowSkipException("nobody answered in time")
        return HITLOperator.execute_complete(self, context, event)


@dag(
    schedule=None,
    catchup=False,
    max_active_runs=16,  # an approval may wait for a week: later ones do not wait for it
    is_paused_upon_creation=False,  # studies start it
    default_args=DEFAULTS,
    params=PARAMS,
    tags=["ser"],
    doc_md="""Promotion of a registered model. Started by a study or a night with the challenger's version, or by hand.

`ask` shows the card under *Required Actions* and waits 7 days; without an answer the challenger stays one, and a newer
challenger closes the request. A version that fails the gate is refused without asking. `promote` and `rollback` act at
once, on any version. The old champion becomes `previous`.""",
)
def ser_promote() -> None:
    """Prepare, then ask a person or not, then settle."""

    @task(doc_md="Find the version and its card, and whether a person is asked.")
    def prepare() -> dict[str, Any]:
        from ser_tasks.promotion import prepare as prepare_promotion

        context = get_current_context()
        params, run = context["params"], context["dag_run"]
        who = run.triggering_user_name or run_id()
        return prepare_promotion(
            params["model"], params["version"], params["action"], params["automatic"], who, run.run_id
        )

    @task(doc_md="Runs that still wait for an answer on an older version of the model.")
    def older(prepared: dict[str, Any]) -> list[dict[str, Any]]:
        from ser_tasks.promotion import older_waiting

        return older_waiting(prepared)

    @task.branch(doc_md="Ask a person, or act at once.")
    def ask_or_act(prepared: dict[str, Any]) -> str:
        return "approve" if prepared["decision"] == "ask" else "settle"

    @task(doc_md="Promote, refuse or roll back, and note who and why.", trigger_rule="none_failed")
    def settle(prepared: dict[str, Any]) -> dict[str, Any]:
        from ser_tasks.promotion import settle as settle_promotion

        context = get_current_context()
        answer = context["ti"].xcom_pull(task_ids="approve") if prepared["decision"] == "ask" else None
        settled = settle_promotion(prepared, answer, context["params"]["reason"])
        print(settled)
        return settled

    prepared = prepare()
    TriggerDagRunOperator.partial(
        task_id="close_older",
        trigger_dag_id=PROMOTE,
        logical_date=None,
        reset_dag_run=True,  # begun again, they see the newer challenger and end
        doc_md="Begin the older runs again: they see that a newer version came, note it, and end.",
    ).expand_kwargs(older(prepared))
    approve = Approval(
        task_id="approve",
        subject="{{ ti.xcom_pull(task_ids='prepare')['subject'] }}",
        body="{{ ti.xcom_pull(task_ids='prepare')['body'] }}",
        response_timeout=ANSWER_WITHIN,
        params={"reason": Param("", type="string", title="Why", description="Kept with the version.", maxLength=500)},
        doc_md="Approve or Reject under *Required Actions*.",
    )
    settled = settle(prepared)
    ask_or_act(prepared) >> [approve, settled]
    approve >> settled


ser_promote()
