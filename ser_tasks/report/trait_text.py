"""The evidence about a trait as rows of a table: what, how much, how sure, of how many."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ser_tasks.rudeness.null import AUC_NAMES

Row = dict[str, str]

_SECTIONS = (
    ("residual", "AUC inside speakers without the confound, as splines where nothing else is said"),
    ("alone", "AUC inside speakers of the confound alone"),
)


def evidence_rows(metrics: Mapping[str, Any]) -> list[Row]:
    """Every piece of evidence of a trait's metrics.json.

    Returns:
        Rows with group, what, value, interval (95 %), p and n, in words; empty for metrics without evidence.
    """
    evidence = metrics.get("evidence")
    if evidence is None:
        return []
    n = _people(evidence["n"])
    rows = [*_held_out(evidence, n), *_confounds(evidence, n), *_directions(evidence, n), *_rating(evidence, n)]
    return [*rows, *_shape(evidence, n)]


def transfer_rows(transfers: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The direction on other corpora, in the same columns."""
    rows = []
    for found in transfers:
        group, n = f"On {found['corpus']}: {found['groups']}", f"{found['clips']} clips"
        if found["pooled"] is None:
            rows.append(_row(group, "Mean score, in SD of the corpus of the fit", {"value": found["shift"]}, n))
            continue
        for name, words in (("within_speaker", "inside_speakers"), ("pooled", "one_clip")):
            rows.append(_row(group, AUC_NAMES[words], found[name], f"{n}, {found[name]['speakers']} speakers"))
    return rows


def verdict_in_words(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader wants first: explained_by, why, shape, what is refused, what the data could have shown."""
    evidence = metrics["evidence"]
    power = evidence["power"]
    return {
        "explained_by": evidence["verdict"]["explained_by"],
        "found": evidence["verdict"]["found"],
        "why": evidence["verdict"]["why"],
        "shape": evidence["shape"]["verdict"],
        "shape_why": evidence["shape"]["why"],
        "refused": list(evidence["refused"]),
        "power": f"an AUC of {number(power['detectable_auc'])} would be found in 80 % of such corpora" if power else "",
    }


def _people(n: Mapping[str, Any]) -> str:
    words = [f"{n['clips']} clips ({n['high']} high)", f"{n['speakers']} speakers"]
    named = {"sessions": "sessions", "dialogs": "dialogues"}
    return ", ".join(words + [f"{n[key]} {word}" for key, word in named.items() if n[key]])


def _held_out(evidence: Mapping[str, Any], n: str) -> Iterator[Row]:
    for scheme, section in evidence["left_out"].items():
        together = section["left_out_together"]
        words = f"one {scheme}" if together == 1 else f"{together} {scheme}s"
        group = f"Held out: {words} at a time, layer chosen in each fold"
        pooled = f"AUC, all pairs of clips, the {scheme}'s own mean taken off"
        for name, what in (
            ("within_speaker", AUC_NAMES["inside_speakers"]), ("one_clip", AUC_NAMES["one_clip"]), ("pooled", pooled),
        ):  # fmt: skip
            yield _row(group, what, section[name], n)
            if beyond := section[name].get("p_within_emotion"):
                again = "the same, labels shuffled within speaker and emotion"
                yield _row(group, again, {"value": section[name]["value"], "p": beyond}, n)


def _confounds(evidence: Mapping[str, Any], n: str) -> Iterator[Row]:
    for key, group in _SECTIONS:
        for name, value in evidence[key].items():
            words = "speakers' means taken out" if key == "residual" and name == "speaker" else name
            if "null_mean" in value:
                chance = number(value["null_mean"])
                words = f"who speaks: over all pairs, by each speaker's share of high clips; chance gives {chance}"
            yield _row(group, words, value, n)
            if value.get("drop") is not None:
                yield _row(group, f"drop in AUC by taking {name} out", _part_of(value, "drop"), n)
    if (matched := evidence.get("matched")) and matched["pairs"]:
        group = f"Pairs of one speaker within {matched['within_db']:g} dB"
        of = f"{matched['pairs']} pairs of {matched['clips']} clips, {matched['speakers']} speakers"
        yield _row(group, "share won by the high clip", matched, of)
        yield _row(group, "share in which the high clip is the louder one", {"value": matched["louder"]}, of)
    for name, value in evidence["gain"].items():
        yield _row("Gain in AUC over a classifier that knows only this", name[5:-5].replace("_", " "), value, n)


def _directions(evidence: Mapping[str, Any], n: str) -> Iterator[Row]:
    group = "Cosine of the direction"
    yield _row(group, "with itself, speakers resampled: its range", evidence["stability"]["bootstrap"], n)
    yield _row(
        group, "of one half of the speakers with that of the other: its range", evidence["stability"]["split_half"], n
    )
    for name, value in evidence["compass"].items():
        yield _row(group, f"with {name} ({value['from']})", value, n)
    for name, value in evidence["alternatives"].items():
        words = "regression on the mean rating" if name == "rating" else f"{name} direction"
        yield _row("Other directions, same folds", f"{words}: AUC inside speakers", value["within_speaker"], n)
        yield _row(
            "Other directions, same folds", f"{words}: cosine to v, and its range over folds", value["cosine_to_v"], n
        )


def _rating(evidence: Mapping[str, Any], n: str) -> Iterator[Row]:
    rating = evidence["rating"]
    if not rating:
        return
    yield _row(
        "Against the rating",
        "Spearman's rho of score and mean rating; p: ratings shuffled inside speakers",
        rating["spearman"],
        n,
    )
    if known := rating["annotators"]:
        of = f"{known['utterances']} utterances, {known['annotators']} annotators"
        yield _row("Against the rating", "ceiling: what a perfect score would reach", known["ceiling"], of)
        yield _row("Against the rating", "annotators agree: Krippendorff's alpha, ordinal", known["alpha"], of)
        words = "one annotator against the others, mean rho"
        yield _row("Against the rating", words, {"value": known["one_against_rest"]}, of)


def _shape(evidence: Mapping[str, Any], n: str) -> Iterator[Row]:
    shape = evidence["shape"]
    if "separation" not in shape:
        return
    group = "Continuous?"
    yield _row(group, "how far apart two kinds are that have this AUC, in their SD", shape["separation"], n)
    yield _row(group, "dip of the scores, p against one mode", {"value": shape["dip"], "p": shape["dip_p"]}, n)
    seen = {"value": shape["dip_power"]}
    yield _row(
        group, "share of corpora of two kinds, apart by the interval's low end, that the dip test finds", seen, n
    )
    bic = {"value": shape["bic_two_minus_one"]}
    yield _row(group, "BIC of two Gaussians minus BIC of one (below 0 for one skewed kind, too)", bic, n, digits=1)
    cut = {"value": shape["silhouette"]}
    yield _row(group, "silhouette of the best cut in two (of one Gaussian: about 0.6)", cut, n)
    if dose := shape["dose"]:
        of = f"{dose['clips']} clips"
        for half in ("low", "high"):
            words = f"rise of the score for a point of the mean rating, inside the {half} half, in SD"
            yield _row(group, words, dose[f"slope_{half}"], of)
        if "line" in dose:
            yield _row(group, "what a line in the mean rating adds to two kinds, in SD", dose["line"], of)
            yield _row(group, "what two kinds add to a line in the mean rating, in SD", dose["step"], of)


def _part_of(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {"value": value[name], "low": value[f"{name}_low"], "high": value[f"{name}_high"]}


def _row(group: str, what: str, value: Mapping[str, Any], n: str, digits: int = 3) -> Row:
    low, high, p = value.get("low"), value.get("high"), value.get("p")
    return {
        "group": group,
        "what": what,
        "value": number(value["value"], digits),
        "interval": "" if low is None or high is None else f"{number(low, digits)} to {number(high, digits)}",
        "p": "" if p is None else ("under 0.001" if p < 0.001 else number(p)),
        "n": n,
    }


def number(value: float | None, digits: int = 3) -> str:
    """With a true minus sign; what is not known is a dash."""
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")
