"""What a registered version says of the gate: the verdict of today, or the one under which it became champion."""

import hashlib
from collections.abc import Mapping
from typing import Any

from ser_tasks import registry
from ser_tasks.artifact import Ref, canonical_json
from ser_tasks.registry import GATE, GATE_CHAMPION, GATE_SENTENCE
from ser_tasks.tracking import GATE_RESULT


def verdict_of(
    name: str, key: str, compared: Ref | None, gate: Mapping[str, Any] | None
) -> tuple[dict[str, Any] | None, dict[str, str]]:
    """The verdict as the card shows it, and as the version's tags say it.

    A training that is the champion was compared with itself: what was found when it was offered stays. Where there is
    a champion that the gate did not see, a person decides.

    Args:
        name: Of the registered model.
        key: Of the training.
        compared: The champion that the gate was given.
        gate: gate.json; None where it was not asked.

    Returns:
        gate.json as it holds for this version, and the tags that registration sets; None and none without a gate.
    """
    if gate is None:
        return None, {}
    champion = registry.champion_version(name)
    itself = registry.version_of(name, key) if champion is not None else None
    if itself is not None and (itself == champion or (compared is not None and compared.key == key)):
        tags = registry.tags_of(name, itself)
        kept = (GATE, GATE_SENTENCE, GATE_CHAMPION, GATE_RESULT)
        then: dict[str, Any] = {"verdict": tags.get(GATE), "sentence": tags.get(GATE_SENTENCE), "criteria": []}
        return then, {tag: tags[tag] for tag in kept if tag in tags}
    said, against = dict(gate), registry.version_of(name, compared.key) if compared else champion
    if champion is not None and compared is None:
        said |= {
            "verdict": "undecided",
            "sentence": f"Undecided: it was not compared with the champion, version {champion}, whose training is gone "
            "from the store or which was promoted after this run began. A person decides.",
        }
    tags = {GATE: said["verdict"], GATE_SENTENCE: said["sentence"], GATE_CHAMPION: str(against or "")}
    return said, tags | {GATE_RESULT: digest([said, against])}


def digest(value: Any) -> str:
    """Sixteen hex digits that differ as soon as a JSON value does."""
    return hashlib.sha256(canonical_json(value)).hexdigest()[:16]
