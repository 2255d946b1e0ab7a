"""The card of a registered version, in Markdown: what a person should know before promoting it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ser_tasks.data.conditions import Conditions, in_words

SHOWN_SLICES = 6
LIMIT = 5000
"""Characters that MLflow keeps of a version's description."""
BROKEN = "- **broken**"
FIRST_TO_GO = ("## Known issues", "## Slices", "## Data", "## Recording conditions")
"""Sections whose points a card that is too long loses, one section after the other."""


@dataclass(frozen=True)
class Card:
    """What a card is made of.

    Attributes:
        name: Of the registered model.
        key: Of the training.
        title: Of the model, in words.
        note: What a reader must know of it, may be empty.
        synthetic: Corpora that are made by speech synthesis.
        metrics: metrics.json of each corpus, the training corpus first.
        licences: Training corpus and those tested, each with its licence.
        commercial: Those of them whose licence allows commercial use; what is not known to be free is not.
        digests: Corpus to content digest of its scan.
        gate: gate.json; None where it was not asked.
        champion: The version that the gate compared with; empty when there was none.
        known_issues: Sentences of validation and plan.
        shown: Versions of this name that were measured on the same test speakers, this one among them.
        links: Name to address.
        pictures: Name to address, of confusion matrices and the reliability diagram.
        baselines: Corpus to metrics.json of the baseline on it.
        conditions: How the training corpus was recorded; None where it is not known.
        learnt: Sentences about whom the model has learnt from: see ser_tasks.data.learnt.in_words.
    """

    name: str
    key: str
    title: str
    note: str
    synthetic: Sequence[str]
    metrics: Sequence[Mapping[str, Any]]
    licences: Mapping[str, str]
    commercial: Collection[str]
    digests: Mapping[str, str]
    gate: Mapping[str, Any] | None
    known_issues: Sequence[str]
    shown: int
    links: Mapping[str, str]
    champion: str = ""
    pictures: Mapping[str, str] = field(default_factory=dict)
    baselines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    conditions: Conditions | None = None
    learnt: Sequence[str] = ()


def write_card(card: Card) -> str:
    """The card as Markdown."""
    lines = [f"**{card.name}**: {card.title}, training `{card.key[:12]}`"]
    if card.synthetic:
        lines.append(
            f"Trained or tested on **synthetic** speech ({', '.join(card.synthetic)}): says nothing about people."
        )
    if card.note:
        lines.append(f"**{card.note}**")
    parts = (
        _gate(card), _use(card), _results(card), _conditions(card), _calibration(card), _slices(card), _issues(card),
        _data(card),
    )  # fmt: skip
    lines += ["", *(line for part in parts for line in (*part, "")), *_links(card)]
    return "\n".join(lines).strip() + "\n"


def shortened(text: str) -> str:
    """A card that MLflow can keep: one that is too long loses points, and says where they are.

    Known issues go first, then slices, then digests, of each the longest; of the gate only what is not broken, and
    last. Licences, results and calibration stay.
    """
    if len(text) <= LIMIT:
        return text
    lines = [*text.splitlines(), "", "Shortened: the whole card is `card.md` among the run's artifacts."]
    for section in (*FIRST_TO_GO, "## Gate"):
        while len("\n".join(lines)) >= LIMIT and (points := _points(lines, section)):
            lines.remove(max(points, key=len))
    return "\n".join(lines) + "\n"


def _points(lines: Sequence[str], section: str) -> list[str]:
    """Points of a section that a card can do without."""
    start = next((i for i, line in enumerate(lines) if line.startswith(section)), len(lines))
    end = next((i for i in range(start + 1, len(lines)) if lines[i].startswith("## ")), len(lines))
    points = [line for line in lines[start:end] if line.startswith("- ") and not line.startswith(BROKEN)]
    return points[1:] if section == "## Gate" else points


def _gate(card: Card) -> list[str]:
    gate = card.gate
    if gate is None:
        return []
    lines = [f"## Gate: {gate['verdict']}", gate["sentence"]]
    if found := gate.get("difference"):
        against = f"the champion, version {card.champion}" if card.champion else "the champion"
        lines.append(f"Difference to {against}: UAR on {gate['role']}: {_signed(found)}.")
    if gate.get("role") == "dev" and found:
        lines.append(
            "Decided on dev, since no speakers have the gate role here: dev chose the epoch of both models, so that "
            "both look better on it than they are."
        )
    if reported := gate.get("reported"):
        learnt = f"; the champion has learnt from {len(reported['heard'])} of them" if reported["heard"] else ""
        lines.append(
            f"Reported, not decided on: UAR difference on the test speakers of "
            f"{reported['name']} ({reported['speakers']}): {_signed(reported['difference'])}{learnt}."
        )
    held = [each for each in gate["criteria"] if each["kind"] == "slice" and each["finding"] == "held"]
    marks = {"held": "- held", "open": "- **open**", "broken": BROKEN}
    lines += [f"{marks[each['finding']]}: {each['sentence']}" for each in gate["criteria"] if each not in held]
    if held:
        worst = min(held, key=lambda each: float(each["value"]))
        lines.append(f"- held: {len(held)} large slice{'s' if len(held) != 1 else ''}, the worst: {worst['sentence']}")
    return lines


def _use(card: Card) -> list[str]:
    labels = ", ".join(row["label"] for row in card.metrics[0]["classes"])
    lines = [
        "## Intended use and limits",
        f"Research on speech emotion: which of {labels} an utterance of some seconds was meant to sound like, as "
        "actors play it. It does not tell what a person feels. Not for decisions about people (hiring, policing, "
        "health, schools), and not for other languages, ages or recordings than those of its corpora.",
    ]
    if card.learnt:
        lines += ["", f"Learnt from {'; '.join(card.learnt)}. It looks better than it is on them."]
    if (trained := card.metrics[0]["corpus"]) not in card.commercial:
        lines += ["", f"**Trained on {trained}, which is not free for commercial use: nor is this model.**"]
    licences = (
        f"- licence of `{name}`: {licence}{'' if name in card.commercial else ' (not for commercial use)'}"
        for name, licence in card.licences.items()
    )
    return [*lines, "", *licences]


def _results(card: Card) -> list[str]:
    lines = [
        "## Results on test speakers",
        "UAR: unweighted mean of the classes' recalls. Macro F1: unweighted mean of the classes' F1.",
        "",
        "| corpus | | UAR (95 %) | baseline's UAR | chance | accuracy | macro F1 | clips | speakers |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for item in card.metrics:
        baseline = card.baselines.get(item["corpus"])
        lines.append(
            f"| {item['corpus']} | {item['relation']} | {_estimate(item['uar'])} | "
            f"{_estimate(baseline['uar']) if baseline else ''} | {item['chance_uar']:.3f} | "
            f"{_estimate(item['accuracy'])} | {_estimate(item['macro_f1'])} | {item['clips']} | {item['speakers']} |"
        )
        lines += [
            f"| {item['corpus']}, {each['name']} | {item['relation']} | {_estimate(each['uar'])} | | | "
            f"{_estimate(each['accuracy'])} | {_estimate(each['macro_f1'])} | {each['clips']} | {each['speakers']} |"
            for each in item["variants"]
        ]
    lines += ["", *(f"- {line}" for item in card.metrics for line in _about_labels(item))]
    lines += [f"- {line}" for item in card.metrics for line in _adapted(item)]
    lines += ["", *dict.fromkeys(f"Interval: {item['interval']}." for item in card.metrics)]
    about = [(item["corpus"], item["seen"]) for item in card.metrics if "seen" in item]
    lines += [f"{corpus}: {seen['sentence']}" for corpus, seen in about if seen["clips"] or not seen["known"]]
    many = f"{card.shown} version{'s' if card.shown != 1 else ''} of {card.name}"
    lines.append(f"{many} so far {'were' if card.shown != 1 else 'was'} measured on these test speakers.")
    return lines


def _conditions(card: Card) -> list[str]:
    """How the training corpus was recorded, and what that leads one to expect on each other corpus."""
    lines = [f"- {card.metrics[0]['corpus']} (training): {in_words(card.conditions)}"] if card.conditions else []
    for item in card.metrics:
        if item.get("across"):
            lines.append(f"- on {item['corpus']}: {' '.join(item['across']['conditions']['sentences'])}")
    return ["## Recording conditions", *lines] if lines else []


def _adapted(item: Mapping[str, Any]) -> list[str]:
    """What comes out where a clip may be compared with unlabelled ones of its speaker or corpus."""
    return [
        f"{item['corpus']}, {each['name']}: UAR {_estimate(each['uar'])}, {each['clips']} clips; {each['remark']}"
        for each in item.get("adapted", [])
        if "uar" in each
    ]


def _about_labels(item: Mapping[str, Any]) -> list[str]:
    """Which labels the numbers of a corpus and its variants are about, and what is odd of the answers."""
    named = {item["corpus"]: item} | {f"{item['corpus']}, {each['name']}": each for each in item["variants"]}
    return [
        f"{name}: {found['labels_protocol']['sentence']}" + (f". **{found['answers']}**" if found["answers"] else "")
        for name, found in named.items()
    ]


def _calibration(card: Card) -> list[str]:
    return [
        "## Calibration",
        *(f"- {item['corpus']}: {_calibrated(item['calibration'])}" for item in card.metrics),
        *(f"\n![{name}]({address})" for name, address in card.pictures.items()),
    ]


def _calibrated(found: Mapping[str, Any]) -> str:
    """Of the probabilities that users get, and how it was before the model's temperature."""
    error = f"expected calibration error {_estimate(found['ece']['scaled'])}"
    if not found["fitted_on"]:
        return f"{error}, not calibrated: the model has no temperature of its own; {found['binning']}"
    return (
        f"{error} with the temperature {found['temperature']:.2f} that is part of the model (fitted on "
        f"{found['fitted_on']}), {_estimate(found['ece']['raw'])} without; {found['binning']}"
    )


def _slices(card: Card) -> list[str]:
    """The widest gaps; where they are of few speakers, that is said with them."""
    parts = [(item["corpus"], part) for item in card.metrics for part in item["slices"]]
    parts.sort(key=lambda each: -float(each[1]["gap"]["value"]))
    rows = [
        f"- {corpus}, {part['by']}: best {part['best']}, worst {part['worst']}, gap in UAR "
        f"{_estimate(part['gap'])}, p {part['p_holm']:.3f}{' (' + part['note'] + ')' if part['note'] else ''}"
        for corpus, part in parts[:SHOWN_SLICES]
    ]
    if len(parts) > SHOWN_SLICES:
        rows.append(f"- {len(parts) - SHOWN_SLICES} with smaller gaps: in the report")
    return ["## Slices", *rows] if rows else []


def _issues(card: Card) -> list[str]:
    return ["## Known issues", *(f"- {issue}" for issue in card.known_issues or ["none are known"])]


def _data(card: Card) -> list[str]:
    return ["## Data", *(f"- `{corpus}`: {digest}" for corpus, digest in card.digests.items())]


def _links(card: Card) -> list[str]:
    return [" · ".join(f"[{name}]({address})" for name, address in card.links.items() if address)]


def _estimate(estimate: Mapping[str, float]) -> str:
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"


def _signed(estimate: Mapping[str, float]) -> str:
    return f"{estimate['value']:+.3f} ({estimate['low']:+.3f} to {estimate['high']:+.3f})"
