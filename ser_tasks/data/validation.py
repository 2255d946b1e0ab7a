"""Validation by Great Expectations: reviewed suites from `expectations/*.json` in an ephemeral context."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ser_tasks.data.drift import drift_table
from ser_tasks.data.manifest import SCHEMA
from ser_tasks.errors import BadInput

SHOWN_ROWS = 100
"""Of the rows that an expectation does not hold for, so many are named; all are counted."""
SEVERITIES = ("critical", "warning", "info")


def tables_to_validate(
    manifest: pd.DataFrame,
    rejected: pd.DataFrame,
    labels: list[str] | None,
    label_map: Mapping[str, str] | None = None,
    accepted: pd.DataFrame | None = None,
) -> dict[str, pd.DataFrame]:
    """The derived tables that suites speak of, since expectations on pandas see one table at a time.

    Args:
        manifest: Of one corpus.
        rejected: Of the same scan.
        labels: The study's classes after mapping; None for a corpus that trains no classes.
        label_map: The study's map from the corpus's emotions to its labels; emotions that it does not name stay.
        accepted: The manifest of the version that was accepted last, if there is one.

    Returns:
        `columns` (one row a column that every manifest has), `manifest` (one row a clip, with its `label`), `corpus`
        (one row of totals), `classes` (one row a class), `duplicates` (one row a clip whose bytes another clip has
        too), `votes` (one row a clip that has votes), `drift` (one row a feature). Without labels, votes or an accepted
        version their tables are absent; when a column is absent or wrong, all but `columns` are.
    """
    columns = _columns(manifest)
    if columns["fault"].notna().any():
        return {"columns": columns}
    label = manifest["emotion"].map(dict(label_map or {})).fillna(manifest["emotion"])
    clips = manifest.reset_index(drop=True).assign(label=label.to_numpy())
    found = len(clips) + len(rejected)
    corpus = pd.DataFrame(
        {
            "speakers": [clips["speaker_id"].nunique()],
            "utterances": [len(clips)],
            "rejected_share": [len(rejected) / found if found else 1.0],
        }
    )
    tables = {"columns": columns, "manifest": clips, "corpus": corpus, "duplicates": _duplicates(clips)}
    if labels:
        counts = clips["label"].value_counts()
        tables["classes"] = pd.DataFrame({"emotion": labels, "clips": [int(counts.get(name, 0)) for name in labels]})
    if clips["votes"].notna().any():
        tables["votes"] = _votes(clips)
    if accepted is not None:
        tables["drift"] = drift_table(clips, accepted)
    return tables


def _columns(manifest: pd.DataFrame) -> pd.DataFrame:
    def fault(field: pa.Field) -> str | None:
        if field.name not in manifest.columns:
            return "is absent"
        text = pa.types.is_string(field.type)
        if not _fits(manifest[field.name], text):
            return f"holds {manifest[field.name].dtype}, not {'text' if text else 'numbers'}"
        return None

    return pd.DataFrame([(field.name, fault(field)) for field in SCHEMA], columns=["column", "fault"], dtype=object)


def _fits(column: pd.Series, text: bool) -> bool:
    """Whether a column holds text or, else, numbers; one without any value fits both."""
    if pd.api.types.is_numeric_dtype(column.dtype):
        return not text or bool(column.isna().all())
    if isinstance(column.dtype, pd.StringDtype):
        return text or bool(column.isna().all())
    inferred = pd.api.types.infer_dtype(column, skipna=True)
    return inferred == "empty" or (inferred == "string") == text


def _duplicates(clips: pd.DataFrame) -> pd.DataFrame:
    same = clips.loc[
        clips["sha256"].duplicated(keep=False), ["sha256", "utterance_id", "path", "emotion", "speaker_id"]
    ]
    same = same.sort_values(["sha256", "utterance_id"], ignore_index=True)
    groups = same.groupby("sha256")
    emotions, speakers = (groups[name].transform("nunique") > 1 for name in ("emotion", "speaker_id"))
    conflicts = ["other emotion, other speaker", "other emotion", "other speaker"]
    return same.assign(
        conflict=np.select([emotions & speakers, emotions, speakers], conflicts, "same emotion, same speaker")
    )


def _votes(clips: pd.DataFrame) -> pd.DataFrame:
    voted = clips.loc[clips["votes"].notna(), ["utterance_id", "path", "votes"]].reset_index(drop=True)
    faults = {text: _fault_of_votes(text) for text in voted["votes"].unique()}
    return voted.assign(fault=voted["votes"].map(faults).astype(object))


def _fault_of_votes(text: str) -> str | None:
    """What is wrong with {"voice": {"counts": {emotion: n}, "responses": n}, ...}, or None."""
    try:
        for heard, tally in json.loads(text).items():
            total = sum(tally["counts"].values())
            if total != tally["responses"]:
                return f"{heard}: counts add up to {total}, not to the {tally['responses']} responses"
    except (ValueError, TypeError, AttributeError, KeyError):
        return f"is no table of counts and responses: {text[:80]}"
    return None


def validate(
    tables: Mapping[str, pd.DataFrame], suite: Mapping[str, Any], corpus: str = "", docs: Path | None = None
) -> dict[str, Any]:
    """Run a suite.

    Args:
        tables: From `tables_to_validate`.
        suite: {"name", "tables": {table: [{type, kwargs, severity, meta}]}}; tables that are absent are passed over.
        corpus: Its name, for the title of the Data Docs.
        docs: Folder to render Data Docs into; None for none.

    Returns:
        {"success", "expectations", "counts": {severity: {"held", "failed"}}}: success is False only when a critical
        expectation failed. An expectation is {table, type, severity, success, rule, observed, checked (rows),
        unexpected_count, unexpected (its first rows, by name and value), error}.
    """
    # Great Expectations takes seconds to import and draws progress bars unless told not to.
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    import great_expectations as gx
    from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults

    # The default makes a folder in /tmp for its own pages and leaves it there.
    backend = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
    config = DataContextConfig(store_backend_defaults=backend, progress_bars={"globally": False})
    context = gx.get_context(mode="ephemeral", project_config=config)
    source = context.data_sources.add_pandas("tables")
    results, outcomes = {}, []
    for table, expectations in suite["tables"].items():
        if table not in tables:
            continue
        batch = source.add_dataframe_asset(table).add_batch_definition_whole_dataframe("all")
        gx_suite = gx.ExpectationSuite(name=f"{suite['name']}.{table}", expectations=[dict(e) for e in expectations])
        definition = gx.ValidationDefinition(name=table, data=batch, suite=context.suites.add(gx_suite))
        # Positions of the first rows, not names of all: naming a million rows takes Great Expectations half a minute.
        result = definition.run(
            batch_parameters={"dataframe": tables[table]},
            result_format={"result_format": "SUMMARY", "partial_unexpected_count": SHOWN_ROWS},
        )
        order = [item["meta"]["rule"] for item in expectations]
        result.results.sort(key=lambda outcome: order.index(outcome.expectation_config.meta["rule"]))
        results[table] = result
        outcomes += [_outcome(table, tables[table], item) for item in result.results]
    counts = {
        severity: {
            state: sum(o["severity"] == severity and o["success"] is held for o in outcomes)
            for state, held in (("held", True), ("failed", False))
        }
        for severity in SEVERITIES
    }
    outcome = {"success": not counts["critical"]["failed"], "counts": counts, "expectations": outcomes}
    if docs is not None:
        from ser_tasks.data.data_docs import write_docs

        write_docs(corpus, suite["name"], results, outcome, docs)
    return outcome


def _outcome(table: str, rows: pd.DataFrame, item: Any) -> dict[str, Any]:
    config, detail = item.expectation_config, item.result or {}
    shown = rows.iloc[detail.get("partial_unexpected_index_list", [])]
    names = [name for name in _names(rows) if name != config.kwargs["column"]] + [config.kwargs["column"]]
    return {
        "table": table,
        "type": config.type,
        "severity": str(getattr(config.severity, "value", config.severity)),
        "success": bool(item.success),
        "rule": config.meta["rule"],
        "observed": json.loads(json.dumps(detail.get("observed_value"), default=str)),
        "checked": int(detail.get("element_count", 0)),
        "unexpected_count": int(detail.get("unexpected_count", 0)),
        "unexpected": [{name: _plain(row[name]) for name in names} for row in shown.to_dict("records")],
        "error": _exception(item.exception_info),
    }


def _names(table: pd.DataFrame) -> list[str]:
    """The columns that name a row: a clip's id and file where there are any, else the first."""
    if "utterance_id" in table.columns:
        return ["utterance_id", "path"]
    return [] if len(table) == 1 else [str(table.columns[0])]


def _plain(value: Any) -> Any:
    """As JSON has it: a missing value is null, a float has the six digits that float32 means."""
    if pd.isna(value):
        return None
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return value.item() if isinstance(value, np.generic) else value


def _exception(info: Any) -> str | None:
    """Great Expectations gives one exception, or a mapping of metrics to theirs."""
    for item in [info or {}, *(info or {}).values()]:
        if isinstance(item, Mapping) and item.get("exception_message"):
            return str(item["exception_message"])
    return None


def _in_words(item: Mapping[str, Any]) -> str:
    rows = [", ".join(f"{key}={value}" for key, value in row.items()) for row in item["unexpected"][:5]]
    more = item["unexpected_count"] - len(rows)
    return "; ".join(rows) + (f" (and {more} more)" if more > 0 else "") if rows else item["error"] or "no row is named"


def refuse_critical(outcome: Mapping[str, Any], corpus: str) -> None:
    """Raise BadInput when a critical expectation failed: names the rule and, of up to five rows, file and value."""
    failed = [item for item in outcome["expectations"] if item["severity"] == "critical" and not item["success"]]
    if failed:
        raise BadInput(
            f"{corpus}: {len(failed)} critical expectation(s) failed before any training. "
            + " | ".join(f"{item['rule']}: {_in_words(item)}" for item in failed)
            + ". Mend the corpus, its description or the study's bounds, and run again"
        )
