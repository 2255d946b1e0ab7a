"""Great Expectations on a drop's rows: the reviewed suite in `expectations/annotations.json`.

A row for which a critical expectation fails is rejected with the suite's words; the others are accepted. Warnings and
information are counted and said, and reject nothing.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from ser_tasks.annotations.labelstudio import EMOTION
from ser_tasks.data.suites import read_suite

ACCEPTED = ["row", "utterance_id", "annotator_id", "trait", "rating", "label", "scale", "created_at", "source"]
"""Of an accepted rating: `rating` is a number (NaN for an emotion), `label` an emotion (empty for a number)."""
DEFAULT_SCALE = "1-5"
ENOUGH = 10
"""Ratings from which on an annotator who always says the same is noted."""
AHEAD = timedelta(days=1)
"""A time so far ahead is a wrong clock's: the rating would be the newest for ever."""
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


def check_rows(rows: pd.DataFrame, now: datetime | None = None) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Sort a drop's rows.

    Args:
        rows: From `read_drop`.
        now: The time, in UTC; None: the clock's.

    Returns:
        (accepted with the columns `ACCEPTED`, listed with row and reason, warnings in words). Every row is in exactly
        one of the two tables.
    """
    silent = rows["left_out"] != ""
    latest = ((now or datetime.now(UTC)) + AHEAD).strftime(_TIME)
    tables = _tables(rows[~silent].reset_index(drop=True), latest)
    reasons, warnings = _run(read_suite("annotations"), {name: table for name, table in tables.items() if len(table)})
    judged = tables["rows"]
    bad = judged.index.isin(list(reasons))
    listed = pd.concat(
        [
            judged[bad][["row"]].assign(reason=[reasons[i] for i in judged.index[bad]]),
            rows.loc[silent, ["row"]].assign(reason="left out: " + rows.loc[silent, "left_out"]),
        ],
        ignore_index=True,
    )
    told = judged.assign(
        rating=judged["number"],
        created_at=judged["when"].fillna(""),
        label=judged["label"].where(judged["trait"] == EMOTION, ""),
        scale=judged["scale"].fillna(""),
        source=judged["source"].fillna(""),
    )
    return told.loc[~bad, ACCEPTED].reset_index(drop=True), listed.astype("str"), warnings


def _tables(rows: pd.DataFrame, latest: str) -> dict[str, pd.DataFrame]:
    """The tables that the suite speaks of; `position` leads back to the row. `latest`: a time as `_when` gives it."""
    whens = [_when(text) for text in rows["created_at"]]
    number = pd.to_numeric(rows["rating"], errors="coerce").astype("float64")
    emotional = rows["trait"] == EMOTION
    told = rows.replace("", None).assign(
        position=range(len(rows)),
        number=number.where(~emotional),
        between_steps=(number * 2 % 1).where(~emotional),
        label=rows["rating"].str.lower(),
        scale=rows["scale"].where(emotional | (rows["scale"] != ""), DEFAULT_SCALE),
        when=pd.array([when or None for when in whens], dtype=object),
        date_fault=pd.array([t if w is None else None for t, w in zip(rows["created_at"], whens, strict=True)], object),
        future=pd.array([when if when and when > latest else None for when in whens], dtype=object),
    )
    readable = told["fault"].isna()
    scales = told[~emotional & readable]
    annotators = scales.groupby(["annotator_id", "trait"])["number"].agg(["count", "nunique"]).reset_index()
    annotators.columns = pd.Index(["annotator_id", "trait", "ratings", "steps"])
    return {
        "rows": told,
        "scales": scales.reset_index(drop=True),
        "emotions": told[emotional & readable].reset_index(drop=True),
        "annotators": annotators[annotators["ratings"] >= ENOUGH].reset_index(drop=True),
    }


def _when(text: str) -> str | None:
    """A time in UTC that sorts as text; '' for none, None for what is no time. Without a zone it is UTC."""
    if not text:
        return ""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when
    try:
        return when.astimezone(UTC).strftime(_TIME)
    except (OverflowError, ValueError):
        return None


def _run(suite: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> tuple[dict[int, str], list[str]]:
    """Position of every row that a critical expectation fails for -> why; and what else was found, in words."""
    # Great Expectations takes seconds to import and draws progress bars unless told not to.
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    import great_expectations as gx
    from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults

    backend = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
    context = gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(store_backend_defaults=backend, progress_bars={"globally": False}),
    )
    source = context.data_sources.add_pandas("drops")
    reasons: dict[int, list[str]] = {}
    warnings: list[str] = []
    for name, table in tables.items():
        expectations = [dict(item) for item in suite["tables"][name]]
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        gx_suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=expectations))
        result = gx.ValidationDefinition(name=name, data=batch, suite=gx_suite).run(
            batch_parameters={"dataframe": table}, result_format={"result_format": "COMPLETE"}
        )
        for item in result.results:
            config = item.expectation_config
            if "unexpected_index_list" not in (item.result or {}):
                raise RuntimeError(f"expectations/annotations.json: {config.type} failed: {item.exception_info}")
            for position in item.result["unexpected_index_list"] or []:
                row = table.iloc[position].to_dict()
                why = config.meta["reason"].format(value=row[config.kwargs["column"]], **row)
                if str(getattr(config.severity, "value", config.severity)) == "critical":
                    reasons.setdefault(int(row["position"]), []).append(why)
                elif name != "rows":
                    warnings.append(why)
            if name == "rows" and not item.success and "critical" not in str(config.severity).lower():
                warnings.append(f"{len(item.result['unexpected_index_list'])} row(s): {config.meta['reason']}")
    return {position: "; ".join(dict.fromkeys(why)) for position, why in reasons.items()}, sorted(warnings)
