"""What a registered version says of the gate: the verdict of today, or the one under which it became champion.

The same speakers decide night after night, and of many equal challengers one looks better by chance. So looks are
counted, over the versions of a model that some of the same speakers have decided on in the year before, and the error
is spent over them: a challenger is shown better, and promoted without a person where that is switched on, when its
one-sided p is at most the level of this look. A promotion without a person is false when the challenger is no better
than the champion; that happens in at most 5 % of years (tests/test_looks.py). To pass the gate, and to be offered to a
person, a challenger need not be better but no worse by the margin, which each look tests by itself: of those that are
worse by more, at most 2.5 % pass. Speakers who have never decided start a count of their own.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from ser_tasks import registry
from ser_tasks.artifact import Ref, canonical_json
from ser_tasks.registry import (
    GATE,
    GATE_CHAMPION,
    GATE_LOOK,
    GATE_LOOKS,
    GATE_SENTENCE,
    GATE_SPEAKERS,
    GATE_SUPERIOR,
)
from ser_tasks.tracking import GATE_RESULT, marks

LOOKS_A_YEAR = 365
ERROR_A_YEAR = 0.05
"""Share of years in which a challenger that is no better is taken for better, whatever the number of its looks."""


def level_of(look: int) -> float:
    """The part of the year's error that a look may spend: .05 / (6.48 look), of which 365 looks make .05 together.

    The first look has .0077, the tenth .00077, the 365th .00002; a later one has nothing. 6.48 is the sum of 1 / look
    over a year. In any year the level is at most what the count inside that year gives, so that the sum holds for
    every year (Bonferroni with weights).

    Args:
        look: From 1; how often these speakers have decided in the year until now.
    """
    whole = sum(1 / number for number in range(1, LOOKS_A_YEAR + 1))
    return ERROR_A_YEAR / (whole * look) if look <= LOOKS_A_YEAR else 0.0


def verdict_of(
    name: str, key: str, compared: Ref | None, gate: Mapping[str, Any] | None, today: date | None = None
) -> tuple[dict[str, Any] | None, dict[str, str]]:
    """The verdict as the card shows it, and as the version's tags say it.

    A training that is the champion was compared with itself: what was found when it was offered stays. Where there is
    a champion that the gate did not see, a person decides.

    Args:
        name: Of the registered model.
        key: Of the training.
        compared: The champion that the gate was given.
        gate: gate.json; None where it was not asked.
        today: Of this look; None: the day in UTC.

    Returns:
        gate.json as it holds for this version, and the tags that registration sets; None and none without a gate.
    """
    if gate is None:
        return None, {}
    champion = registry.champion_version(name)
    itself = registry.version_of(name, key) if champion is not None else None
    if itself is not None and (itself == champion or (compared is not None and compared.key == key)):
        tags = registry.tags_of(name, itself)
        kept = (
            GATE, GATE_SENTENCE, GATE_CHAMPION, GATE_RESULT, GATE_SPEAKERS, GATE_LOOKS, GATE_LOOK, GATE_SUPERIOR,
        )  # fmt: skip
        then: dict[str, Any] = {"verdict": tags.get(GATE), "sentence": tags.get(GATE_SENTENCE), "criteria": []}
        return then, {tag: tags[tag] for tag in kept if tag in tags}
    said, against = dict(gate), registry.version_of(name, compared.key) if compared else champion
    if champion is not None and compared is None:
        said |= {
            "verdict": "undecided",
            "sentence": f"Undecided: it was not compared with the champion, version {champion}, whose training is gone "
            "from the store or which was promoted after this run began. A person decides.",
        }
    result, looked = digest([said, against]), {}
    if "p_better" in said:
        looked = _look(name, key, result, marks({"gate": said["deciding"]}), today or datetime.now(UTC).date())
        look, few = int(looked[GATE_LOOK]), len(said["deciding"]) < said["fewest"]
        looked[GATE_SUPERIOR] = "yes" if not few and said["p_better"] <= level_of(look) else "no"
        said["sentence"] += " " + (
            f"Look {look} in a year at speakers who decide here: under {said['fewest']} show no model better."
            if few
            else _about_look(look, said["p_better"], said["verdict"])
        )
    tags = {GATE: said["verdict"], GATE_SENTENCE: said["sentence"], GATE_CHAMPION: str(against or "")}
    return said, tags | looked | {GATE_RESULT: result}


def _look(name: str, key: str, result: str, speakers: str, today: date) -> dict[str, str]:
    """Which look at these speakers this is, as tags say it. The same result of the same version is no further look.

    Args:
        name: Of the registered model.
        key: Of the training.
        result: Digest of what the gate found.
        speakers: Their marks.
        today: Of this look.
    """
    rows = registry.versions(name)
    own: dict[str, str] = next((row["tags"] for row in rows if row["tags"].get("ser.key") == key), {})
    if own.get(GATE_RESULT) == result and GATE_LOOK in own:
        return {tag: own[tag] for tag in (GATE_SPEAKERS, GATE_LOOKS, GATE_LOOK)}
    since, known = (today - timedelta(days=LOOKS_A_YEAR)).isoformat(), set(speakers.split())
    before = [
        day
        for row in rows
        if known & set(row["tags"].get(GATE_SPEAKERS, "").split())
        for day in row["tags"].get(GATE_LOOKS, "").split()
        if day > since
    ]
    days = [day for day in own.get(GATE_LOOKS, "").split() if day > since]
    return {
        # those of its earlier looks too: a day then counts for more speakers than it was about, never for fewer
        GATE_SPEAKERS: " ".join(sorted(known | set(own.get(GATE_SPEAKERS, "").split()))),
        GATE_LOOKS: " ".join([*days, today.isoformat()]),
        GATE_LOOK: str(len(before) + 1),
    }


def _about_look(look: int, p: float, verdict: str) -> str:
    """What is to be thought of the verdict after so many looks."""
    counted = f"Look {look} in a year at speakers who decide here"
    if verdict != "pass":
        return f"{counted}."
    level = level_of(look)
    if p <= level:
        return f"{counted}: better than the champion at the level {level:.2g} that this look has (p {p:.2g})."
    return (
        f"{counted}: not shown better than the champion at the level {level:.2g} that this look has (p {p:.2g}), so "
        "that a person decides."
    )


def digest(value: Any) -> str:
    """Sixteen hex digits that differ as soon as a JSON value does."""
    return hashlib.sha256(canonical_json(value)).hexdigest()[:16]
