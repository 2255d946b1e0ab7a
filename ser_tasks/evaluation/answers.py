"""What a model answers, whatever is right: one label to nearly all clips, labels that it never gives."""

from collections.abc import Sequence

from ser_tasks.evaluation.metrics import Counts

MOST, OVER = 0.75, 2.5
"""A label that takes this share of clips, and so many times its true share, is called a collapse: of six equally
frequent classes, one answer for three clips of four. What a model that hears something prefers stays below both."""
NEARLY_ALL, AT_MOST = 0.9, 0.6
"""So is a label that takes the first share of clips where its true share is at most the second: of a frequent class,
`OVER` times its share would be more than all clips."""


def collapse(confusion: Counts, labels: Sequence[str]) -> str:
    """Words for a model that gives one label to nearly all clips: `391 of 466 clips are called sad`; else empty.

    That is: to all clips; or to `MOST` of them and to `OVER` times its true share; or to `NEARLY_ALL` where its true
    share is `AT_MOST`.

    Args:
        confusion: int64 [classes (true), classes (predicted)].
        labels: Of the classes.
    """
    clips, given = int(confusion.sum()), confusion.sum(axis=0)
    most = int(given.argmax())
    if given[most] == clips:
        return f"all {clips} clips are called {labels[most]}"
    share, true = given[most] / clips, confusion[most].sum() / clips
    if (share >= MOST and share >= OVER * true) or (share >= NEARLY_ALL and true <= AT_MOST):
        return f"{given[most]} of {clips} clips are called {labels[most]}"
    return ""


def never_answered(confusion: Counts, labels: Sequence[str]) -> list[str]:
    """Labels that have clips and that the model gives to none. Arguments as in `collapse`."""
    never = (confusion.sum(axis=0) == 0) & (confusion.sum(axis=1) > 0)
    return [label for label, unheard in zip(labels, never, strict=True) if unheard]


def in_words(confusion: Counts, labels: Sequence[str]) -> str:
    """What is told of a model's answers beside its number; empty where nothing is odd. Arguments as in `collapse`."""
    said, never = collapse(confusion, labels), never_answered(confusion, labels)
    if never and not said.startswith("all "):  # else it is said already
        said = "; ".join(filter(None, [said, f"never answered: {', '.join(never)}"]))
    return said
