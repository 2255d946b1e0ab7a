"""A trait's part of the study's report, and the page about the trait alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from ser_tasks.report.trait_text import evidence_rows, transfer_rows, verdict_in_words

Figures = Sequence[Mapping[str, Any]]


def trait_section(
    metrics: Mapping[str, Any],
    transfers: Sequence[Mapping[str, Any]],
    clips: Sequence[Mapping[str, Any]],
    *,
    synthetic: bool,
) -> dict[str, Any]:
    """The values that trait.html.j2 shows.

    Args:
        metrics: Of the trait step, with evidence.
        transfers: metrics.json of each other corpus that the direction was tried on.
        clips: Of `clips_to_hear`; empty where the licence does not let a page carry them.
        synthetic: Whether the clips are.
    """
    return {
        "trait": metrics,
        "verdict": verdict_in_words(metrics),
        "evidence": evidence_rows(metrics),
        "transfers": transfer_rows(transfers),
        "clips": clips,
        "synthetic_clips": synthetic,
    }
