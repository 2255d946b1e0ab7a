"""The report page: what a study found, in plain words and tables, with its figures inside.

Everything on it comes from its inputs: no run ids, no times, so that equal inputs give equal bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from ser_tasks.evaluation.metrics import COVERAGE
from ser_tasks.report.conditions_table import CONDITIONS_HEAD, CONDITIONS_NOTE, CONDITIONS_TITLE, condition_cells
from ser_tasks.report.figures import file_name
from ser_tasks.report.trait_page import trait_section

SHOWN_ROWS = 3
"""Of the rows that a validation warning names, so many are written out."""


@dataclass(frozen=True)
class Findings:
    """What the page is made of, as the steps published it.

    Attributes:
        config: The study's whole configuration.
        notes: Sentences of the plan.
        results: metrics.json of each model on each corpus.
        differences: difference.json of each corpus.
        trait: metrics.json of the trait step; None without a trait.
        models: Model to (model.json, history with one row an epoch; None for a model without epochs).
        scans: summary.json of each corpus.
        validations: results.json of each corpus.
        audit: audit.json of the split.
        protocol: protocol.json of the split.
        left_out: left_out.csv of the split: utterance_id, corpus, reason.
        figures: index.json of the figures, each with `source`: the PNG as a data URI.
        transfers: metrics.json of each corpus that the trait's direction was tried on.
        seeds: seeds.json of each corpus; empty with one seed.
        clips: Of `clips_to_hear`; empty without a trait, or where the licence does not allow it.
        conditions: Corpus to its `ser_tasks.data.conditions.Conditions`, as a mapping.
    """

    config: Mapping[str, Any]
    notes: Sequence[str]
    results: Sequence[Mapping[str, Any]]
    differences: Sequence[Mapping[str, Any]]
    trait: Mapping[str, Any] | None
    models: Mapping[str, tuple[Mapping[str, Any], pd.DataFrame | None]]
    scans: Sequence[Mapping[str, Any]]
    validations: Sequence[Mapping[str, Any]]
    audit: Mapping[str, Any]
    protocol: Mapping[str, Any]
    left_out: pd.DataFrame
    figures: Sequence[Mapping[str, Any]]
    transfers: Sequence[Mapping[str, Any]] = ()
    seeds: Sequence[Mapping[str, Any]] = ()
    clips: Sequence[Mapping[str, Any]] = ()
    conditions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def render_page(found: Findings) -> str:
    """The page as HTML that needs no network, no script and no other file to be read."""
    synthetic = synthetic_corpora(found.config)
    about_trait: dict[str, Any] = {"trait": None}
    if found.trait and "evidence" in found.trait:
        spoken = found.config["trait"]["corpus"] in synthetic
        about_trait = trait_section(found.trait, found.transfers, found.clips, synthetic=spoken)
    return template("template.html.j2").render(
        found=found,
        synthetic=synthetic,
        sections=by_section(found.figures),
        **about_trait,
        remark=_about_interval,
        coverage=COVERAGE,
        validations=[_validation_in_words(validation) for validation in found.validations],
        split=_split_rows(found.audit),
        labels_head=[(label, "n") for label in found.config["emotion"]["labels"]],
        left_out=_counted(found.left_out),
        conditions_title=CONDITIONS_TITLE,
        conditions_note=CONDITIONS_NOTE,
        conditions_head=[(name[:1].upper() + name[1:], "n") for name in CONDITIONS_HEAD],
        conditions_rows=_condition_rows(found),
        expectations={
            result["corpus"]: result["across"]["conditions"]["sentences"]
            for result in found.results
            if result["across"]
        },
        learning=[_learning_row(name, *model, found.config) for name, model in found.models.items()],
    )


def render_trait_page(
    metrics: Mapping[str, Any],
    transfers: Sequence[Mapping[str, Any]],
    clips: Sequence[Mapping[str, Any]],
    figures: Sequence[Mapping[str, Any]],
    scan: Mapping[str, Any],
    synthetic: Sequence[str],
) -> str:
    """The page about a trait alone. Arguments as in `Findings`; `scan` is summary.json of the trait's corpus."""
    section = trait_section(metrics, transfers, clips, synthetic=scan["corpus"] in synthetic)
    return template("trait_page.html.j2").render(
        heading=f"{metrics['trait'].capitalize()} in {scan['corpus']}",
        sections=by_section(figures),
        scan=scan,
        synthetic=synthetic,
        **section,
    )


def template(name: str) -> Template:
    """A template of this folder, with the filters that all of them use."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "estimate": _estimate, "file_name": file_name}
    environment.filters |= {"signed": _signed, "p_value": _p_value}
    return environment.get_template(name)


def by_section(figures: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Figures by the section that they stand in, in order."""
    sections: dict[str, list[Mapping[str, Any]]] = {}
    for figure in figures:
        sections.setdefault(figure["section"], []).append(figure)
    return sections


def synthetic_corpora(config: Mapping[str, Any]) -> list[str]:
    """The corpora of the study that are made by speech synthesis."""
    used = [config["emotion"]["train_corpus"], *(test["corpus"] for test in config["emotion"]["across"])]
    if config["trait"]:
        used += [config["trait"]["corpus"], *(other["corpus"] for other in config["trait"].get("transfer", []))]
    return [name for name in dict.fromkeys(used) if config["corpora"][name]["synthetic"]]


def results_table(found: Findings) -> pd.DataFrame:
    """The table of results as data: one row a model and corpus."""
    synthetic = synthetic_corpora(found.config)
    return pd.DataFrame(
        [
            {
                **{key: result[key] for key in ("model", "title", "corpus", "relation", "clips", "speakers")},
                **{
                    metric if part == "value" else f"{metric}_{part}": result[metric][part]
                    for metric in ("uar", "accuracy", "macro_f1")
                    for part in ("value", "low", "high")
                },
                "chance_uar": result["chance_uar"],
                "interval": result["interval"],
                "labels": result["labels_protocol"]["sentence"],
                **{
                    "uar_open" if part == "value" else f"uar_open_{part}": (result["open"] or {"uar": {}})["uar"].get(
                        part
                    )
                    for part in ("value", "low", "high")
                },
                "answers": result["answers"],
                "note": result["note"],
                "synthetic": "yes" if result["corpus"] in synthetic else "no",
            }
            for result in found.results
        ]
    )


def _number(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}".replace("-", "−")


def _signed(value: float) -> str:
    return ("+" if value > 0 else "") + _number(value)


def _p_value(value: float) -> str:
    return "< .001" if value < 0.001 else _number(value)


def _estimate(estimate: Mapping[str, float]) -> str:
    return f"{_number(estimate['value'])} ({_number(estimate['low'])} to {_number(estimate['high'])})"


def _about_interval(interval: str) -> str:
    """What `95 %, bootstrap over speakers; with 3 speakers it means little` adds to the usual, or nothing."""
    return interval.partition("; ")[2]


def _validation_in_words(validation: Mapping[str, Any]) -> dict[str, Any]:
    expectations = validation["expectations"]
    failed = [item for item in expectations if not item["success"]]
    return {
        "corpus": validation["corpus"],
        "drift": _drift_in_words(validation["drift"]),
        "held": len(expectations) - len(failed),
        "of": len(expectations),
        "warnings": [f"{item['severity']}: it does not hold that {item['rule']}: {_seen(item)}" for item in failed],
    }


def _drift_in_words(drift: Any) -> str:
    """How far a corpus is from the last version that a run accepted."""
    if isinstance(drift, str):
        return f"{drift}: nothing to compare with"
    told = (f"{item['feature']} {_number(item['distance'], 2)}" for item in drift["features"])
    return f"distance from the last accepted version (0 equal, 1 disjoint): {', '.join(told)}"


def _seen(item: Mapping[str, Any]) -> str:
    rows = item["unexpected"]
    if not rows:
        return f"found {item['observed']}" if item["observed"] is not None else item["error"] or "nothing more is known"
    # A row is a mapping where its table has columns that name it, else a position.
    named = [", ".join(str(value) for value in row.values()) if isinstance(row, dict) else f"row {row}" for row in rows]
    n = item.get("unexpected_count", len(rows))  # the rows themselves are a sample
    more = f" and {n - SHOWN_ROWS} more" if n > SHOWN_ROWS else ""
    return f"{n} row{'s' if n != 1 else ''} ({'; '.join(named[:SHOWN_ROWS])}{more})"


def _split_rows(audit: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a corpus and role: speakers, their sexes in words, clips, clips by label."""
    report = audit["report"]
    rows: dict[str, dict[str, Any]] = {}
    for place, speakers in report["speakers"].items():
        corpus, role = place.rsplit("/", 1)
        rows[place] = {"corpus": corpus, "role": role, "speakers": speakers, "sexes": [], "labels": {}}
    for key, count in report["speakers_by_sex"].items():
        place, sex = key.rsplit("/", 1)
        rows[place]["sexes"].append(f"{count} {sex}")
    for key, count in report["clips"].items():
        place, label = key.rsplit("/", 1)
        rows[place]["labels"][label] = count
    order = {role: i for i, role in enumerate(("train", "dev", "gate", "test"))}
    corpora = list(dict.fromkeys(row["corpus"] for row in rows.values()))
    return sorted(rows.values(), key=lambda row: (corpora.index(row["corpus"]), order[row["role"]]))


def _condition_rows(found: Findings) -> list[tuple[str, list[str]]]:
    """Corpus and cells, the training corpus first."""
    trained = found.config["emotion"]["train_corpus"]
    corpora = sorted(found.conditions, key=lambda corpus: corpus != trained)
    return [(corpus, condition_cells(found.conditions[corpus])) for corpus in corpora]


def _counted(left_out: pd.DataFrame) -> list[tuple[str, str, int]]:
    """Corpus, reason, how many clips."""
    counts = left_out.groupby(["corpus", "reason"]).size().reset_index(name="clips")
    return list(zip(counts["corpus"], counts["reason"], counts["clips"], strict=True))


def _learning_row(
    name: str, spec: Mapping[str, Any], history: pd.DataFrame | None, config: Mapping[str, Any]
) -> dict[str, Any]:
    options = {key: value for key, value in spec["options"].items() if isinstance(value, (int, float, str))}
    row = {
        "name": name,
        "title": spec["title"],
        "note": spec["note"],
        "options": ", ".join(f"{key} {value}" for key, value in options.items()),
        "settings": "",
        "best": "no epochs: a linear model",
    }
    if history is not None:
        best = history.iloc[int(history["dev_uar"].to_numpy().argmax())]
        row["best"] = f"{_number(best['dev_uar'])} at epoch {best['epoch']:.0f}; {len(history)} epochs were run"
        fit = config[name]["fit"]
        row["settings"] = ", ".join(
            f"{key.replace('_', ' ')} {value}" for key, value in fit.items() if value is not None
        )
    return row
