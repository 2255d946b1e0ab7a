"""The promotion gate: is a challenger good enough to be offered to a person. Pure: numbers in, verdict out.

The gate decides on the `gate` speakers. Test speakers are reported to the person and enter only as guards against harm.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ser_tasks.evaluation.metrics import Estimate

Verdict = Literal["pass", "fail", "undecided", "first"]


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


def decide(
    difference: Estimate | None,
    speakers: int,
    role: str,
    corpora: Mapping[str, Estimate],
    slices: Sequence[Mapping[str, Any]],
    options: GateOptions,
) -> dict[str, Any]:
    """Decide on a challenger.

    Args:
        difference: UAR of the challenger minus the champion's on the same clips of the deciding role, paired and
            clustered by speaker; None: there is no champion.
        speakers: Of the deciding role.
        role: gate, or dev where the corpus is too small for a gate role.
        corpora: Test corpus to the UAR difference on it.
        slices: {"by", "group", "clips", "difference": Estimate} on the deciding role.
        options: The bounds.

    Returns:
        {"verdict", "sentence", "role", "speakers", "criteria": [{"name", "held": bool, "sentence"}]}.
    """
    if difference is None:
        sentence = "There is no champion yet: a person decides whether this model becomes the first."
        return {"verdict": "first", "sentence": sentence, "role": role, "speakers": speakers, "criteria": []}
    superior, non_inferior = difference.low > 0, difference.low > -options.margin
    criteria = [
        _criterion(
            "superior or non-inferior",
            superior or non_inferior,
            f"UAR difference on {speakers} {role} speakers: {_signed(difference)}; superior when the interval is above "
            f"0, non-inferior when it is above -{options.margin:g}",
        )
    ]
    criteria += [
        _criterion(
            f"no harm on {corpus}",
            harm.value >= -options.corpus_margin,
            f"UAR difference on {corpus}: {_signed(harm)}; at worst -{options.corpus_margin:g} is allowed",
        )
        for corpus, harm in corpora.items()
    ]
    criteria += [
        _criterion(
            f"no harm to {part['by']} {part['group']}",
            part["difference"].value >= -options.slice_margin,
            f"UAR difference for {part['by']} {part['group']} ({part['clips']} clips): {_signed(part['difference'])}; "
            f"at worst -{options.slice_margin:g} is allowed",
        )
        for part in slices
        if part["clips"] >= options.large_slice_clips
    ]
    verdict, sentence = _verdict(criteria, superior, difference, speakers, role, options)
    return {"verdict": verdict, "sentence": sentence, "role": role, "speakers": speakers, "criteria": criteria}


def _verdict(
    criteria: Sequence[Mapping[str, Any]], superior: bool, difference: Estimate, speakers: int, role: str,
    options: GateOptions,
) -> tuple[Verdict, str]:  # fmt: skip
    broken = [criterion["name"] for criterion in criteria if not criterion["held"]]
    if difference.high < 0 or any(name.startswith("no harm") for name in broken):
        why = ", ".join(broken) or "the interval of the difference is below 0"
        return "fail", f"Fails: {why}."
    if speakers < options.min_speakers:
        return "undecided", (
            f"Undecided: {speakers} {role} speakers are too few to decide (at least {options.min_speakers}); "
            f"the difference is {_signed(difference)}. A person decides."
        )
    if not broken:
        return "pass", f"Passes: {'superior' if superior else 'non-inferior'} on {speakers} {role} speakers."
    if difference.value < -options.margin:
        return "fail", f"Fails: {', '.join(broken)}."
    return "undecided", (
        f"Undecided: the interval {_signed(difference)} neither excludes a loss of more than {options.margin:g} nor "
        f"shows one, with {speakers} {role} speakers. A person decides."
    )


def _criterion(name: str, held: bool, sentence: str) -> dict[str, Any]:
    return {"name": name, "held": bool(held), "sentence": sentence}


def _signed(estimate: Estimate) -> str:
    return f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})"
