"""The card of a registered version, in Markdown: what a person should know before promoting it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

NON_COMMERCIAL = ("-nc-", "noncommercial", "non-commercial", "on request", "research only")
"""Parts of licences, in lower case, under which a model may not be used commercially."""
SHOWN_SLICES = 6
LIMIT = 5000
"""Characters that MLflow keeps of a version's description."""


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
        digests: Corpus to content digest of its scan.
        gate: gate.json; None where it was not asked.
        known_issues: Sentences of validation and plan.
        shown: Versions of this name that were measured on the same test speakers, this one among them.
        links: Name to address.
        pictures: Name to address, of confusion matrices and the reliability diagram.
    """

    name: str
    key: str
    title: str
    note: str
    synthetic: Sequence[str]
    metrics: Sequence[Mapping[str, Any]]
    licences: Mapping[str, str]
    digests: Mapping[str, str]
    gate: Mapping[str, Any] | None
    known_issues: Sequence[str]
    shown: int
    links: Mapping[str, str]
    pictures: Mapping[str, str] = field(default_factory=dict)


def write_card(card: Card) -> str:
    """The card as Markdown."""
    lines = [f"**{card.name}**: {card.title}, training `{card.key[:12]}`"]
    if card.synthetic:
        lines.append(
            f"Trained or tested on **synthetic** speech ({', '.join(card.synthetic)}): says nothing about people."
        )
    if card.note:
        lines.append(f"**{card.note}**")
    parts = (_gate(card), _use(card), _results(card), _calibration(card), _slices(card), _issues(card), _data(card))
    lines += ["", *(line for part in parts for line in (*part, "")), *_links(card)]
    return "\n".join(lines).strip() + "\n"


def shortened(text: str) -> str:
    """A card that MLflow can keep: one that is too long loses its longest points, and says where they are."""
    if len(text) <= LIMIT:
        return text
    lines = [*text.splitlines(), "", "Shortened: the whole card is `card.md` among the run's artifacts."]
    while len("\n".join(lines)) >= LIMIT and (points := [line for line in lines if line.startswith("- ")]):
        lines.remove(max(points, key=len))
    return "\n".join(lines) + "\n"


def _gate(card: Card) -> list[str]:
    if card.gate is None:
        return []
    marks = [f"- {'held' if each['held'] else '**broken**'}: {each['sentence']}" for each in card.gate["criteria"]]
    found = card.gate.get("difference")
    difference = [f"Difference to the champion, UAR on {card.gate['role']}: {_signed(found)}."] if found else []
    return [f"## Gate: {card.gate['verdict']}", card.gate["sentence"], *difference, *marks]


def _use(card: Card) -> list[str]:
    labels = ", ".join(row["label"] for row in card.metrics[0]["classes"])
    lines = [
        "## Intended use and limits",
        f"Research on speech emotion: which of {labels} an utterance of some seconds was meant to sound like, as "
        "actors play it. It does not tell what a person feels. Not for decisions about people (hiring, policing, "
        "health, schools), and not for other languages, ages or recordings than those of its corpora.",
    ]
    tainted = [name for name, licence in card.licences.items() if _non_commercial(licence)]
    lines += [f"- licence of `{name}`: {licence}" for name, licence in card.licences.items()]
    if card.metrics[0]["corpus"] in tainted:
        lines.append(
            f"**Trained on {card.metrics[0]['corpus']}, which is not free for commercial use: nor is this model.**"
        )
    return lines


def _non_commercial(licence: str) -> bool:
    return any(part in licence.lower() for part in NON_COMMERCIAL)


def _results(card: Card) -> list[str]:
    lines = ["## Results on test speakers", "| corpus | | UAR (95 %) | chance | accuracy | clips | speakers |"]
    lines.append("|---|---|---|---|---|---|---|")
    for item in card.metrics:
        lines.append(
            f"| {item['corpus']} | {item['relation']} | {_estimate(item['uar'])} | {item['chance_uar']:.3f} | "
            f"{_estimate(item['accuracy'])} | {item['clips']} | {item['speakers']} |"
        )
        lines += [
            f"| {item['corpus']}, {each['name']} | {item['relation']} | {_estimate(each['uar'])} | | "
            f"{_estimate(each['accuracy'])} | {each['clips']} | {each['speakers']} |"
            for each in item["variants"]
        ]
    lines += ["", *dict.fromkeys(f"Interval: {item['interval']}." for item in card.metrics)]
    many = f"{card.shown} version{'s' if card.shown != 1 else ''} of {card.name}"
    lines.append(f"{many} so far {'were' if card.shown != 1 else 'was'} measured on these test speakers.")
    return lines


def _calibration(card: Card) -> list[str]:
    return [
        "## Calibration",
        *(
            f"- {item['corpus']}: expected calibration error {_estimate(item['calibration']['ece']['as_is'])}, with "
            f"temperature {item['calibration']['temperature']:.2f} (from dev) "
            f"{_estimate(item['calibration']['ece']['scaled'])}"
            for item in card.metrics
        ),
        *(f"\n![{name}]({address})" for name, address in card.pictures.items()),
    ]


def _slices(card: Card) -> list[str]:
    rows = [
        f"- {item['corpus']}, {part['by']}: best {part['best']}, worst {part['worst']}, gap in UAR "
        f"{_estimate(part['gap'])}{' (' + part['note'] + ')' if part['note'] else ''}"
        for item in card.metrics
        for part in item["slices"]
    ]
    return ["## Slices", *rows[:SHOWN_SLICES]] if rows else []


def _issues(card: Card) -> list[str]:
    return ["## Known issues", *(f"- {issue}" for issue in card.known_issues or ["none are known"])]


def _data(card: Card) -> list[str]:
    return ["## Data", *(f"- `{corpus}`: {digest}" for corpus, digest in card.digests.items())]


def _links(card: Card) -> list[str]:
    return [f"[{name}]({address})" for name, address in card.links.items() if address]


def _estimate(estimate: Mapping[str, float]) -> str:
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"


def _signed(estimate: Mapping[str, float]) -> str:
    return f"{estimate['value']:+.3f} ({estimate['low']:+.3f} to {estimate['high']:+.3f})"
