"""Raters' votes out of the manifest's column `votes`."""

import json
from collections.abc import Sequence

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


def kind_of_raters(votes: object, kinds: Sequence[str] = HEARD) -> str:
    """The first of `kinds` whose votes a clip has; empty where it has none. Arguments as in `vote_counts`."""
    held = _held(votes)
    return next((kind for kind in kinds if kind in held), "")


def _held(votes: object) -> dict[str, dict[str, dict[str, int]]]:
    return json.loads(votes) if isinstance(votes, str) else {}
