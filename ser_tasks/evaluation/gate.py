"""The promotion gate: is a challenger good enough to be offered to a person. Pure: numbers in, verdict out.

The gate decides on the `gate` speakers. Of test speakers it takes one thing: a guard against harm on corpora other than
the one that was learnt from. How the two models do on that one's own test speakers is reported and decides nothing.

Every criterion is found held, broken or open. A model is refused only for what the data shows: noise makes a criterion
open, never broken, and what is open goes to a person.

The same speakers decide on one challenger after the other. That a challenger passes says that it is no worse by the
margin, at this look. That it is better is another question, which ser_tasks.verdicts answers over all looks of a year.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from ser_tasks.evaluation.comparison import LEVEL, paired_difference
from ser_tasks.evaluation.metrics import FEW_SPEAKERS, Counts, Estimate, confusion_by_speaker

Verdict = Literal["pass", "fail", "undecided", "first"]
Finding = Literal["held", "open", "broken"]


@dataclass(frozen=True)
class GateOptions:
    """Bounds of the gate.

    Attributes:
        margin: A challenger is non-inferior when the lower end of its UAR difference is above -margin.
        min_speakers: Under this many gate speakers nothing is decided: it goes to the person.
        corpus_margin: No test corpus may be worse by more than this.
        slice_margin: No large slice may be worse by more than this.
        large_slice_clips: From this many clips on a slice is large.
    """

    margin: float = 0.02
    min_speakers: int = 5
    corpus_margin: float = 0.05
    slice_margin: float = 0.10
    large_slice_clips: int = 50


@dataclass(frozen=True)
class Part:
    """Champion and challenger on a test corpus, or on a slice of the deciding clips.

    Attributes:
        name: Such as `ravdess` or `sex female`.
        difference: UAR of the challenger minus the champion's, as `difference_among` gives it.
        clips: How many.
        speakers: How many.
        heard: Speakers of this part from whom the champion has learnt.
        labels_protocol: Which labels the difference is about, as `evaluation.labels` tells it; None for a slice.
        open: {"difference", "verdict"} (of `leaning`) where any label of the models may be answered, if the sign or
            what it shows is another; else None.
    """

    name: str
    difference: Estimate
    clips: int
    speakers: int
    heard: Sequence[str] = ()
    labels_protocol: Mapping[str, Any] | None = None
    open: Mapping[str, Any] | None = None


def decide(
    difference: Estimate | None,
    speakers: int,
    role: str,
    corpora: Sequence[Part],
    slices: Sequence[Part],
    options: GateOptions,
    heard: Sequence[str] = (),
    heard_by_challenger: Sequence[str] = (),
) -> dict[str, Any]:
    """Decide on a challenger.

    Fail: harm is shown to a part, or the whole interval of the difference is below -margin. Undecided: a criterion is
    open, such as too few deciding speakers, however clear their interval looks, or a model that has learnt from them.
    Pass: every criterion is held.

    Args:
        difference: UAR of the challenger minus the champion's on the same clips of the deciding role, paired and
            clustered by speaker; None: there is no champion.
        speakers: Of the deciding role.
        role: gate, or dev where the corpus is too small for a gate role.
        corpora: Test corpora other than the one that was learnt from.
        slices: The large slices of the deciding role.
        options: The bounds.
        heard: Deciding speakers from whom the champion has learnt: on them it looks better than it is.
        heard_by_challenger: The same of the challenger.

    Returns:
        {"verdict", "sentence", "role", "speakers", "criteria": [{"name", "kind", "finding", "value", "sentence"}]};
        kind: difference, speakers, corpus or slice; value: the difference, None for speakers.
    """
    if difference is None:
        sentence = "There is no champion yet: a person decides whether this model becomes the first."
        return {"verdict": "first", "sentence": sentence, "role": role, "speakers": speakers, "criteria": []}
    fair = speakers >= options.min_speakers and not heard
    criteria = [_on_the_whole(difference, speakers, role, options, fair), _enough(speakers, role, options)]
    for model, known in (("champion", heard), ("challenger", heard_by_challenger)):
        if known:
            criteria.append(_strangers(model, known, role))
    fewest = max(options.min_speakers, FEW_SPEAKERS)
    criteria += [_no_harm("corpus", part, options.corpus_margin, len(corpora), fewest) for part in corpora]
    criteria += [_no_harm("slice", part, options.slice_margin, len(slices), fewest) for part in slices]
    verdict, sentence = _verdict(criteria, difference, speakers, role, options)
    return {"verdict": verdict, "sentence": sentence, "role": role, "speakers": speakers, "criteria": criteria}


def leaning(difference: Estimate) -> str:
    """What an interval of challenger minus champion shows at this look."""
    if difference.low <= 0 <= difference.high:
        return "the interval holds 0"
    return f"the interval is {'above' if difference.value > 0 else 'below'} 0"


def difference_among(first: Counts, second: Counts, parts: int) -> Estimate:
    """UAR of the second model minus the first's on a part, with an interval that all parts together hold in 95 %.

    That of `paired_difference` at the level 1 - .05 / parts (Bonferroni). So far in its tails a percentile bootstrap
    over some ten speakers is too narrow by much: of 5 speakers it can show nothing rarer than one in 32.

    Args:
        first: int64 [speakers, classes, classes].
        second: The same clips by another model.
        parts: Of the family, this one among them.

    Returns:
        The difference; from one speaker the interval is -1 to 1.
    """
    return paired_difference(first, second).estimate(LEVEL / parts)


def compare_slices(
    target: Counts, first: Counts, second: Counts, speaker: Sequence[str], columns: pd.DataFrame, classes: int,
    fewest_clips: int, heard: Sequence[str] = (),
) -> list[Part]:  # fmt: skip
    """The difference on every large slice.

    Args:
        target: int64 [clips].
        first: Predicted classes of the champion, int64 [clips].
        second: Of the challenger.
        speaker: Of each clip.
        columns: What clips are sliced by, a row a clip; a missing value is left out.
        classes: Number of classes.
        fewest_clips: From this many clips on a slice is large.
        heard: Speakers from whom the champion has learnt.
    """
    large = {}
    for column, values in columns.items():
        for group in sorted({value for value in values if pd.notna(value)}, key=str):
            kept = (values == group).to_numpy()
            if kept.sum() >= fewest_clips:
                large[f"{column} {group}"] = kept
    names = np.asarray(speaker)
    return [
        compare_part(name, target[kept], first[kept], second[kept], list(names[kept]), classes, len(large), heard)
        for name, kept in large.items()
    ]


def compare_part(
    name: str, target: Counts, first: Counts, second: Counts, speaker: Sequence[str], classes: int, parts: int,
    heard: Sequence[str] = (),
) -> Part:  # fmt: skip
    """The difference on one part; arguments as in `compare_slices`, `difference_among` and `Part`."""
    one, other = (confusion_by_speaker(target, chosen, speaker, classes) for chosen in (first, second))
    return Part(name, difference_among(one, other, parts), len(target), len(one), sorted({*heard} & {*speaker}))


def _on_the_whole(difference: Estimate, speakers: int, role: str, options: GateOptions, fair: bool) -> dict[str, Any]:
    finding: Finding = "held" if difference.low > -options.margin else "open"
    if fair and difference.high < -options.margin:
        finding = "broken"
    sentence = (
        f"UAR difference on {_counted(speakers, role)}: {_signed(difference)}; non-inferior when the interval is above "
        f"-{options.margin:g}, inferior when it is below"
    )
    return _criterion("non-inferior", "difference", finding, sentence, difference.value)


def _enough(speakers: int, role: str, options: GateOptions) -> dict[str, Any]:
    sentence = f"{_counted(speakers, role)}; under {options.min_speakers} nothing is decided without a person"
    return _criterion("enough speakers", "speakers", "held" if speakers >= options.min_speakers else "open", sentence)


def _strangers(model: str, heard: Sequence[str], role: str) -> dict[str, Any]:
    sentence = (
        f"the {model} has learnt from {len(heard)} of the {role} speakers ({_named(heard)}): on them it looks better "
        "than it is"
    )
    return _criterion(f"speakers whom the {model} never heard", "speakers", "open", sentence)


def _no_harm(kind: str, part: Part, margin: float, parts: int, fewest: int) -> dict[str, Any]:
    difference, finding, why = part.difference, "held", ""
    if difference.value < -margin:
        if part.speakers < fewest:
            finding, why = "open", f"; under {fewest} speakers do not show it"
        elif part.heard:
            finding, why = "open", f"; the champion has learnt from {_named(part.heard)}, so that this shows no harm"
        elif difference.high >= 0:
            finding, why = "open", "; the interval reaches 0, so that this may be chance"
        else:
            finding, why = "broken", "; the interval is below 0"
    together = f"95 % for {parts} {'corpora' if kind == 'corpus' else 'slices'} together" if parts > 1 else "95 %"
    among = ""
    if part.labels_protocol and part.labels_protocol["model_only"]:
        among = f", among the {len(part.labels_protocol['shared'])} labels that it and the models share"
    if part.open:
        opened, said = part.open["difference"], part.open["verdict"]
        why += f"; when any label of the models may be answered: {_signed(opened)}, {said}"
    sentence = (
        f"UAR difference on {part.name} ({part.clips} clips, {_counted(part.speakers)}){among}: {_signed(difference)}, "
        f"{together}; at worst -{margin:g} is allowed{why}"
    )
    return _criterion(f"no harm on {part.name}", kind, finding, sentence, difference.value)


def _verdict(
    criteria: Sequence[Mapping[str, Any]], difference: Estimate, speakers: int, role: str, options: GateOptions
) -> tuple[Verdict, str]:
    broken, doubtful = (
        ", ".join(each["name"] for each in criteria if each["finding"] == finding) for finding in ("broken", "open")
    )
    if broken:
        return "fail", f"Fails on: {broken}; UAR difference {_signed(difference)} on {_counted(speakers, role)}."
    if speakers < options.min_speakers:
        return "undecided", (
            f"Undecided: too few to decide: {_counted(speakers, role)} (at least {options.min_speakers}); "
            f"the difference is {_signed(difference)}. A person decides."
        )
    if doubtful:
        return "undecided", (
            f"Undecided: neither shown nor excluded: {doubtful}. The difference is {_signed(difference)} on "
            f"{_counted(speakers, role)}. A person decides."
        )
    return "pass", f"Passes: non-inferior on {_counted(speakers, role)}."


def _criterion(name: str, kind: str, finding: str, sentence: str, value: float | None = None) -> dict[str, Any]:
    return {"name": name, "kind": kind, "finding": finding, "value": value, "sentence": sentence}


def _counted(speakers: int, role: str = "") -> str:
    return f"{speakers} {role + ' ' if role else ''}speaker{'' if speakers == 1 else 's'}"


def _named(speakers: Sequence[str]) -> str:
    return ", ".join(speakers[:5]) + (" and others" if len(speakers) > 5 else "")


def _signed(estimate: Estimate) -> str:
    return f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})"
