"""What `ser inspect` prints: the report of `ser_tasks.data.inspection.inspect_corpus` in words and tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from ser_tasks.report.conditions_table import CONDITIONS_HEAD, CONDITIONS_NOTE, CONDITIONS_TITLE, condition_cells
from ser_tasks.report.figures import SYNTHETIC

SHOWN_PROBLEMS = 20
"""So many clips with a problem are named one by one."""
SHOWN_SPEAKERS = 40
"""Up to so many speakers there is a table of them."""

Report = Mapping[str, Any]
_CHANNELS = {"1": "mono", "2": "stereo"}


def inspection_tables(report: Report) -> list[Table]:
    """Tables for a terminal: the corpus, how it was recorded, its emotions, its speakers where they are few, problems,
    format and label."""
    tables = [_plain(heading(report), overview(report)), *_conditions(report)]
    tables.append(_table("Emotions", *emotion_rows(report)))
    if 0 < len(report["by_speaker"]) <= SHOWN_SPEAKERS:
        tables.append(_table("Clips by speaker and emotion", *speaker_rows(report)))
    return [*tables, *_problems(report), _plain("Does the format give the label away?", leak_lines(report))]


def heading(report: Report) -> str:
    """The corpus by its name and title."""
    name, title = report["corpus"] or "corpus", report["title"]
    return f"{name}: {title}" if title and title != name else str(name)


def overview(report: Report) -> list[tuple[str, str]]:
    """What the corpus is, one line a fact: (name, value); nothing is said of what is not known."""
    ages, level, left_out = report["ages"], report["level"], report["left_out"]
    rejected, flagged = len(report["rejected"]), len(report["issues"])
    lines = [
        ("synthetic", SYNTHETIC if report["synthetic"] else ""),
        ("utterances", f"{report['utterances']:,} ({report['hours']:,.2f} hours)"),
        ("speakers", f"{report['speakers']:,} ({counted(report['sexes'])})" if report["sexes"] else "0"),
        ("ages", f"{ages['min']:.0f} to {ages['max']:.0f} years, median {ages['median']:.0f}" if ages else ""),
        ("races", counted(report["races"])),
        ("ethnicities", counted(report["ethnicities"])),
        ("duration, s", spread(report["duration_s"], 2)),
        ("level, dB of full scale", spread(level["rms_db"], 1)),
        ("level, clips", _levels(level)),
        ("sample rates", counted(report["sample_rates_hz"], " Hz")),
        ("channels", counted({_CHANNELS.get(n, f"{n} channels"): clips for n, clips in report["channels"].items()})),
        ("codecs", counted(report["codecs"])),
        ("intensities", counted(report["intensities"])),
        ("sentences", _sentences(report["sentences"])),
        *((f"raters ({modality.replace('_', '-')})", _votes(votes)) for modality, votes in report["votes"].items()),
        ("rejected", f"{rejected:,} file{'s' if rejected != 1 else ''}"),
        ("left out", f"{sum(left_out.values()):,} ({counted(left_out)})" if left_out else "0 files"),
        ("missing", f"{len(report['missing']):,} of the checksum list" if report["missing"] else ""),
        ("with an issue", f"{flagged:,} of the utterances" if flagged else "none of the utterances"),
        ("licence", str(report["licence"] or "not known: ask before you publish anything")),
        ("commercial use", _commercial(report["commercial_use"])),
        ("citation", str(report["citation"] or "")),
        *(("note", note) for note in report["notes"]),
    ]  # fmt: skip
    return [(name, value) for name, value in lines if value]


def condition_rows(report: Report) -> tuple[list[str], list[list[str]]]:
    """Column names and one row a fact: of this corpus, and of the training corpus where there is one beside it."""
    sides, head = [report["conditions"]], ["", str(report["corpus"] or "this corpus")]
    if beside := report.get("beside"):
        sides, head = [*sides, beside["train"]], [*head, f"{beside['corpus']} (training)"]
    columns = zip(*(condition_cells(side) for side in sides), strict=True)
    return head, [[name, *cells] for name, cells in zip(CONDITIONS_HEAD, columns, strict=True)]


def beside_lines(report: Report) -> list[str]:
    """What the training corpus beside this one leads one to expect; nothing where there is no such corpus."""
    beside = report.get("beside")
    return list(beside["sentences"]) if beside else []


def emotion_rows(report: Report) -> tuple[list[str], list[list[str]]]:
    """Column names and one row an emotion, and one of all: clips by sex, speakers, minutes, medians."""
    sexes = list(report["sexes"])
    head = ["emotion", "clips", *sexes, "speakers", "minutes", "median, s", "median, dB"]
    rows = [
        [
            row["emotion"], f"{row['clips']:,}",
            *(f"{report['emotions_by_sex'][row['emotion']].get(sex, 0):,}" for sex in sexes),
            f"{row['speakers']:,}", number((row["seconds"] or 0) / 60, 1),
            number(row["median_duration_s"], 2), number(row["median_rms_db"], 1),
        ]
        for row in report["by_emotion"]
    ]  # fmt: skip
    by_sex = [sum(counts.get(sex, 0) for counts in report["emotions_by_sex"].values()) for sex in sexes]
    whole = [
        "all", f"{report['utterances']:,}", *(f"{n:,}" for n in by_sex), f"{report['speakers']:,}",
        number(60 * report["hours"], 1), number(report["duration_s"]["median"], 2),
        number(report["level"]["rms_db"]["median"], 1),
    ]  # fmt: skip
    return head, [*rows, whole]


def speaker_rows(report: Report) -> tuple[list[str], list[list[str]]]:
    """Column names and one row a speaker."""
    emotions = list(report["emotions"])
    rows = [
        [
            row["speaker"], row["sex"], f"{row['clips']:,}",
            *(f"{row['emotions'].get(emotion, 0):,}" for emotion in emotions),
        ]
        for row in report["by_speaker"]
    ]  # fmt: skip
    return ["speaker", "sex", "clips", *emotions], rows


def leak_lines(report: Report) -> list[tuple[str, str]]:
    """The sentences on format and label, the answer before the first."""
    leak = report["format_leak"]
    answer = "not known" if leak["skipped"] else "yes" if leak["leaks"] else "no"
    return [(answer if place == 0 else "", sentence) for place, sentence in enumerate(leak["sentences"])]


def problem_names(problem: Report) -> str:
    """The names of a kind of problem's first clips, and how many more there are."""
    more = problem["clips"] - len(problem["examples"])
    return ", ".join(problem["examples"]) + (f" and {more:,} more" if more else "")


def counted(counts: Mapping[str, int], unit: str = "") -> str:
    """Values with their counts in a line: `16000 Hz: 1,380, 48000 Hz: 60`."""
    return ", ".join(f"{value}{unit}: {n:,}" for value, n in counts.items())


def number(value: float | None, digits: int) -> str:
    """A number, or a dash for one that is not known."""
    return "–" if value is None else f"{value:,.{digits}f}".replace("-", "−")


def spread(values: Mapping[str, float | None], digits: int) -> str:
    """A distribution in a line; empty where nothing is known."""
    if values["median"] is None:
        return ""
    low, p5, median, p95, high = (number(values[key], digits) for key in ("min", "p5", "median", "p95", "max"))
    return f"{low} to {high}, median {median}, nine of ten from {p5} to {p95}"


def _levels(level: Report) -> str:
    return (
        f"without sound: {level['silent']:,}, nearly silent: {level['nearly_silent']:,}, with samples at full scale: "
        f"{level['clipped']:,}, with a DC offset: {level['dc_offset']:,}"
    )


def _sentences(sentences: Report) -> str:
    count, partly = sentences["count"], sentences["not_in_every_emotion"]
    if not count:
        return ""
    without = f"; {sentences['clips_without']:,} clips without" if sentences["clips_without"] else ""
    if not partly:
        return f"{count:,}, each said in every emotion{without}"
    examples = ", ".join(sentences["examples"]) + (", ..." if partly > len(sentences["examples"]) else "")
    return f"{count:,}; {partly:,} not said in every emotion ({examples}), so words may give the label away{without}"


def _votes(votes: Report) -> str:
    majorities = counted(dict(list(votes["majorities"].items())[:3])) or "none"
    return (
        f"{100 * votes['majority_is_label']:.1f} % of {votes['clips']:,} clips have the label as their majority, "
        f"{100 * votes['votes_for_label']:.1f} % of {votes['votes']:,} votes are for it; {votes['ties']:,} ties; "
        f"most frequent majorities: {majorities}"
    )


def _commercial(allowed: object) -> str:
    if isinstance(allowed, bool):
        return "allowed by the licence" if allowed else "not allowed by the licence"
    return str(allowed or "not known")


def _conditions(report: Report) -> list[Table]:
    table = _table("How it was recorded", *condition_rows(report))
    table.caption, table.caption_justify = f"{CONDITIONS_TITLE}. {CONDITIONS_NOTE}", "left"
    sentences = beside_lines(report)
    if not sentences:
        return [table]
    title = f"What to expect here of a model trained on {report['beside']['corpus']}"
    return [table, _plain(title, [("", sentence) for sentence in sentences])]


def _problems(report: Report) -> list[Table]:
    each = [("rejected", row["path"], row["reason"]) for row in report["rejected"]]
    each += [("missing", row["path"], row["reason"]) for row in report["missing"]]
    each += [("flagged", row["utterance_id"], row["issue"]) for row in report["issues"]]
    if not each:
        return []
    tables = []
    if len(each) > SHOWN_PROBLEMS:
        kinds = [[row["what"], row["kind"], f"{row['clips']:,}", problem_names(row)] for row in report["problems"]]
        tables.append(_words("Problems by kind", ["", "kind", "clips", "such as"], kinds))
    shown = _words("Problems", ["", "file or utterance", "why"], each[:SHOWN_PROBLEMS])
    if len(each) > SHOWN_PROBLEMS:
        shown.caption = f"the first {SHOWN_PROBLEMS} of {len(each):,}: all with --json"
    return [*tables, shown]


def _plain(title: str, lines: Sequence[tuple[str, str]]) -> Table:
    table = Table(title=escape(title), show_header=False, title_justify="left")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in lines:
        table.add_row(escape(name), escape(value))
    return table


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Words to the left, numbers to the right, narrow: eight emotions fit into 80 columns."""
    table = Table(
        title=escape(title), title_justify="left", box=SIMPLE_HEAD, padding=0, pad_edge=False,
        collapse_padding=True,
    )  # fmt: skip
    for place, name in enumerate(head):
        words = place == 0 or name == "sex"
        table.add_column(escape(name), justify="left" if words else "right")
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def _words(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(*map(escape, head), title=escape(title), title_justify="left")
    for row in rows:
        table.add_row(*map(escape, row))
    return table
