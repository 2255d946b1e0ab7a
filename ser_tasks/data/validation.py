"""Validation by Great Expectations: reviewed suites from `expectations/*.json` in an ephemeral context."""

import json
import logging
from collections.abc import Mapping
from typing import Any

import pandas as pd

from ser_tasks.errors import BadInput


def tables_to_validate(
    manifest: pd.DataFrame, rejected: pd.DataFrame, labels: list[str] | None
) -> dict[str, pd.DataFrame]:
    """The derived tables that suites speak of, since expectations on pandas see one table at a time.

    Args:
        manifest: Of one corpus.
        rejected: Of the same scan.
        labels: The study's classes after mapping; None for a corpus that trains no classes.

    Returns:
        `manifest` as it is, `corpus` with one row of totals, `classes` with one row a class (absent without labels).
    """
    found = len(manifest) + len(rejected)
    corpus = pd.DataFrame(
        {
            "speakers": [manifest["speaker_id"].nunique()],
            "utterances": [len(manifest)],
            "rejected_share": [len(rejected) / found if found else 1.0],
        }
    )
    tables = {"manifest": manifest, "corpus": corpus}
    if labels:
        counts = manifest["emotion"].value_counts()
        tables["classes"] = pd.DataFrame({"emotion": labels, "clips": [int(counts.get(label, 0)) for label in labels]})
    return tables


def validate(tables: Mapping[str, pd.DataFrame], suite: Mapping[str, Any]) -> dict[str, Any]:
    """Run a suite.

    Args:
        tables: From `tables_to_validate`.
        suite: {"name", "tables": {table: [{type, kwargs, severity, meta}]}}; tables that are absent are passed over.

    Returns:
        {"success", "expectations": [{table, type, severity, success, rule, unexpected: [...]}]}: success is False only
        when a critical expectation failed.
    """
    # Great Expectations takes seconds to import and draws progress bars unless told not to.
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_pandas("tables")
    outcomes = []
    for table, expectations in suite["tables"].items():
        if table not in tables:
            continue
        batch = source.add_dataframe_asset(table).add_batch_definition_whole_dataframe("all")
        gx_suite = gx.ExpectationSuite(name=f"{suite['name']}.{table}", expectations=[dict(e) for e in expectations])
        definition = gx.ValidationDefinition(name=table, data=batch, suite=context.suites.add(gx_suite))
        result = definition.run(
            batch_parameters={"dataframe": tables[table]},
            result_format={"result_format": "COMPLETE", "unexpected_index_column_names": _index_columns(tables[table])},
        )
        for outcome in result.results:
            config = outcome.expectation_config
            detail = outcome.result or {}
            outcomes.append(
                {
                    "table": table,
                    "type": config.type,
                    "severity": str(getattr(config.severity, "value", config.severity)),
                    "success": bool(outcome.success),
                    "rule": (config.meta or {}).get("rule", config.type),
                    "observed": json.loads(json.dumps(detail.get("observed_value"), default=str)),
                    "unexpected": json.loads(json.dumps(detail.get("unexpected_index_list") or [], default=str)),
                    "error": _exception(outcome.exception_info),
                }
            )
    broken = [o for o in outcomes if o["severity"] == "critical" and not o["success"]]
    return {"success": not broken, "expectations": outcomes}


def _index_columns(table: pd.DataFrame) -> list[str]:
    names = [name for name in ("utterance_id", "path", "emotion") if name in table.columns][:2]
    return names or list(table.columns)


def _exception(info: Any) -> str | None:
    message = (info or {}).get("exception_message")
    return str(message) if message else None


def _row_in_words(row: Any) -> str:
    """A row is a mapping where the table has columns that name it, else its position."""
    return ", ".join(f"{key}={value}" for key, value in row.items()) if isinstance(row, dict) else f"row {row}"


def refuse_critical(outcome: Mapping[str, Any], corpus: str) -> None:
    """Raise BadInput when a critical expectation failed: names the rule and up to five rows."""
    sentences = []
    for item in outcome["expectations"]:
        if item["severity"] == "critical" and not item["success"]:
            rows = "; ".join(_row_in_words(row) for row in item["unexpected"][:5])
            more = f" (and {len(item['unexpected']) - 5} more)" if len(item["unexpected"]) > 5 else ""
            seen = (
                rows + more
                if rows
                else f"found {item['observed']}"
                if item["observed"] is not None
                else item["error"] or ""
            )
            sentences.append(f"{item['rule']}: {seen}")
    if sentences:
        raise BadInput(
            f"{corpus}: {len(sentences)} critical expectation(s) failed before any training. " + " | ".join(sentences)
        )
