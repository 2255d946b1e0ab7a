"""Raters' votes out of the manifest's column `votes`."""

import json
from collections.abc import Sequence

HEARD = ("voice", "evaluators")
"""Whose votes are about the voice: raters who did not see the speaker's face alone."""


def vote_counts(votes: object, labels: Sequence[str], kinds: Sequence[str] = HEARD) -> list[float]:
    """Votes for each label, of the first kind of raters that a clip has; zeros where it has none.

    Args:
        votes: JSON of a manifest's column `votes`: {"voice": {"counts": {"angry": 3}, ...}, ...}; or missing.
        labels: Canonical emotions.
        kinds: Of raters, in order of preference.
    """
    held = json.loads(votes) if isinstance(votes, str) else {}
    counts: dict[str, int] = next((held[kind]["counts"] for kind in kinds if kind in held), {})
    return [float(counts.get(label, 0)) for label in labels]
