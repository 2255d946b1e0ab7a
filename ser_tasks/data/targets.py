"""What a model is to say of a clip: the emotion that was meant, or the one that people heard."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

from ser_tasks.data.votes import mapped_votes

HEARD = ("voice", "evaluators", "audio_visual")
"""Whose votes count, the first that a clip has: raters who only heard it come before those who saw it too."""
NO_MAJORITY = "(no majority)"


def mapped(manifest: pd.DataFrame, label_map: Mapping[str, str]) -> pd.DataFrame:
    """A manifest whose emotions count as the labels that a study maps them to, the raters' votes too."""
    if not label_map:
        return manifest
    emotion: list[Any] = [label_map.get(each, each) for each in manifest["emotion"]]
    votes: list[Any] = [mapped_votes(each, label_map) for each in manifest["votes"]]
    return manifest.assign(emotion=pd.array(emotion, "str"), votes=pd.array(votes, "str"))


def perceived(
    manifest: pd.DataFrame, ratings: pd.DataFrame | None, policy: str, label_map: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """A manifest whose emotions follow a policy.

    Args:
        manifest: Of a corpus.
        ratings: Dropped ratings: columns utterance_id, trait, label. Each of the trait `emotion` is one vote.
        policy: `intended`: the corpus's own emotion. `majority` and `votes`: what most raters heard, the corpus's and
            the dropped votes together; on a tie the corpus's own emotion if it is among the winners, else
            `NO_MAJORITY`. Clips without votes keep their emotion.
        label_map: Already applied to the manifest (see `mapped`), and here to the dropped ratings.

    Returns:
        The manifest with `emotion`, and `votes` where dropped votes are counted in.
    """
    if policy == "intended":
        return manifest
    dropped: dict[str, Counter[str]] = {}
    if ratings is not None:
        emotions = ratings[ratings["trait"] == "emotion"]
        for utterance, label in zip(emotions["utterance_id"], emotions["label"], strict=True):
            dropped.setdefault(utterance, Counter())[(label_map or {}).get(label, label)] += 1
    votes, heard = [], []
    for utterance, own, text in zip(manifest["utterance_id"], manifest["emotion"], manifest["votes"], strict=True):
        tally = json.loads(text) if isinstance(text, str) else {}
        kind = next((name for name in HEARD if name in tally), HEARD[0])
        counts = Counter(tally.get(kind, {}).get("counts", {})) + dropped.get(utterance, Counter())
        if utterance in dropped:
            tally[kind] = {"counts": dict(sorted(counts.items())), "responses": sum(counts.values())}
        votes.append(json.dumps(tally, sort_keys=True) if utterance in dropped else text)
        heard.append(_majority(counts, own))
    return manifest.assign(emotion=pd.array(heard, "str"), votes=pd.array(votes, "str"))


def _majority(counts: Counter[str], own: str) -> str:
    most = max(counts.values(), default=0)
    winners = [emotion for emotion, n in counts.items() if n == most]
    if not most or own in winners:
        return own
    return winners[0] if len(winners) == 1 else NO_MAJORITY
