"""Which labels a number is about, where models and a corpus do not have the same ones. Two protocols:

- shared: a model chooses among the labels that it and the corpus have. Its probabilities for these are renormalised,
  which is what a softmax over them alone gives. Clips of other labels are left out and counted. Verdicts rest on it:
  what a model says of labels that a corpus lacks makes it neither better nor worse there.
- open: every label of the model may be answered, on the same clips. A class that the corpus lacks has no recall and
  takes part in no mean.

Labels of a corpus are those with at least one clip among those tested, after its label map.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ser_tasks.errors import BadInput
from ser_tasks.evaluation.metrics import Counts, Estimate, Floats

FEWEST = 2
"""Labels that have to be shared: with fewer there is nothing to tell apart."""


@dataclass(frozen=True)
class Shared:
    """What models and a corpus share.

    Attributes:
        labels: That every model and the corpus have, in the first model's order.
        model_only: Further labels that a model may answer.
        corpus_only: Further labels of the corpus, with their clips: these are left out.
        models: Labels of each model.
    """

    labels: list[str]
    model_only: list[str]
    corpus_only: dict[str, int]
    models: list[list[str]]

    def told(self, opened: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What JSON says of the protocol: {"name", "shared", "model_only", "corpus_only", "sentence"}.

        Args:
            opened: How the one model does under the open protocol: `uar` (Estimate) and `collapse` (words, or empty).
        """
        alone, n = len(self.models) == 1, len(self.labels)
        if not self.model_only and n == len(self.models[0]):
            parts = [f"UAR over all {n} labels of the {'model' if alone else 'models'}"]
        else:
            who = "model and corpus" if alone else "all models and the corpus"
            parts = [f"UAR among the {n} labels that {who} share ({', '.join(self.labels)})"]
        if opened:
            collapse = f" ({opened['collapse']})" if opened["collapse"] else ""
            may = f"when any of the model's {len(self.models[0])} labels may be answered"
            parts.append(f"{_in_words(opened['uar'])} {may}{collapse}")
        if self.corpus_only:
            counts = ", ".join(f"{clips} {label}" for label, clips in self.corpus_only.items())
            parts.append(f"left out: {counts}, which {'the model cannot' if alone else 'not all models can'} answer")
        return {
            "name": "shared",
            "shared": self.labels,
            "model_only": self.model_only,
            "corpus_only": self.corpus_only,
            "sentence": "; ".join(parts),
        }


def shared_labels(models: Sequence[Sequence[str]], clips: Sequence[str], corpus: str) -> Shared:
    """What models and the tested clips of a corpus share.

    Args:
        models: Labels of each model, at least one model.
        clips: Label of each tested clip, after the corpus's label map.
        corpus: How it is called.

    Raises:
        BadInput: They share fewer than two labels.
    """
    counts = Counter(clips)
    able = [label for label in models[0] if all(label in labels for labels in models)]
    labels = [label for label in able if label in counts]
    if len(labels) < FEWEST:
        have = "the model has" if len(models) == 1 else "the models share"
        both = f"only {labels[0]} is" if labels else "none is"
        raise BadInput(
            f"evaluation: {have} {', '.join(able) or 'no label'}; {corpus} has {', '.join(sorted(counts)) or 'none'}: "
            f"{both} in both, and {FEWEST} are needed: map the corpus's emotions to the model's labels (label_map in "
            "emotion.across, or --map)"
        )
    every = dict.fromkeys(label for held in models for label in held)
    return Shared(
        labels,
        [label for label in every if label not in labels],
        {label: counts[label] for label in sorted(counts) if label not in labels},
        [list(held) for held in models],
    )


def among(probabilities: Floats, labels: Sequence[str], answers: Sequence[str]) -> Floats:
    """Probabilities of a model that may only answer some of its labels: theirs, renormalised.

    Args:
        probabilities: float64 [clips, labels].
        labels: Of the model.
        answers: Some of these.

    Returns:
        float64 [clips, answers]; as they are where it may answer all. Where none of them has any probability, each has
        the same.
    """
    if list(answers) == list(labels):
        return probabilities
    kept = probabilities[:, [list(labels).index(label) for label in answers]]
    total = kept.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(kept, total, out=np.full(kept.shape, 1 / len(answers)), where=total > 0))


def open_answers(probabilities: Floats, labels: Sequence[str], shared: Sequence[str]) -> Counts:
    """What a model says when it may answer any of its labels, int64 [clips].

    The number of a shared label; any other is the number after the last, one class without clips, so that models of
    other labels can be compared.

    Args:
        probabilities: float64 [clips, labels].
        labels: Of the model.
        shared: Labels that it shares with the corpus.
    """
    number = {label: i for i, label in enumerate(shared)}
    numbers = np.array([number.get(label, len(shared)) for label in labels], dtype=np.int64)
    return np.asarray(numbers[probabilities.argmax(axis=1)])


def open_where_it_differs(
    shared: Estimate, shared_verdict: str, opened: Estimate, open_verdict: str
) -> dict[str, Any] | None:
    """{"difference", "verdict"} under the open protocol where the sign or the verdict is another; else None."""
    if np.sign(shared.value) == np.sign(opened.value) and shared_verdict == open_verdict:
        return None
    return {"difference": opened, "verdict": open_verdict}


def _in_words(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"
