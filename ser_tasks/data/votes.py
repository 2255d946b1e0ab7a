"""Raters' votes out of the manifest's column `votes`."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence

HEARD = ("voice", "evaluators")
"""Whose votes count against a model that hears: raters of the voice alone, else a corpus's own evaluators, who may have
seen the speaker too (those of IEMOCAP did: Busso et al. 2008). Raters of the face alone never do."""


def vote_counts(votes: object, labels: Sequence[str], kinds: Sequence[str] = HEARD) -> list[float]:
    """Votes for each label, of the first kind of raters that a clip has; zeros where it has none.

    Args:
        votes: JSON of a manifest's column `votes`: {"voice": {"counts": {"angry": 3}, ...}, ...}; or missing.
        labels: Canonical emotions.
        kinds: Of raters, in order of preference.
    """
    held = _held(votes)
    kind = kind_of_raters(votes, kinds)
    counts: dict[str, int] = held[kind]["counts"] if kind else {}
    return [float(counts.get(label, 0)) for label in labels]


def mapped_votes(votes: object, label_map: Mapping[str, str]) -> str | None:
    """Votes of which those for an emotion that `label_map` names count for its label; None where there are none.

    Args:
        votes: As in `vote_counts`.
        label_map: Emotion to label.
    """
    if not isinstance(votes, str):
        return None
    tally = _held(votes)
    for held in tally.values():
        counts: Counter[str] = Counter()
        for emotion, n in held["counts"].items():
            counts[label_map.get(emotion, emotion)] += n
        held["counts"] = dict(sorted(counts.items()))
    return json.dumps(tally, sort_keys=True)


def kind_of_raters(votes: object, kinds: Sequence[str] = HEARD) -> str:
    """The first of `kinds` whose votes a clip has; empty where it has none. Arguments as in `vote_counts`."""
    held = _held(votes)
    return next((kind for kind in kinds if kind in held), "")


def _held(votes: object) -> dict[str, dict[str, dict[str, int]]]:
    return json.loads(votes) if isinstance(votes, str) else {}
