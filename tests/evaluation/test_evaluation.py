"""Calibration, slices, people, across corpora and comparisons, against scikit-learn, scipy and constructed truths."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import jensenshannon
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from ser_tasks.errors import BadInput
from ser_tasks.evaluation import slices
from ser_tasks.evaluation.across import arousal_collapse, domain_shift, prior_shift
from ser_tasks.evaluation.calibration import (
    brier,
    expected_calibration_error,
    reliability,
    selective_risk,
    temperature_on_dev,
    with_temperature,
)
from ser_tasks.evaluation.comparison import compare_models, holm, over_seeds
from ser_tasks.evaluation.metrics import Estimate
from ser_tasks.evaluation.people import against_people, jensen_shannon, true_shares
from ser_tasks.evaluation.slices import slice_columns, slice_results

CLASSES = 4


def honest_case(seed: int, clips: int = 4000, sharpness: float = 1.0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Probabilities from which the targets are drawn, told with another sharpness than the truth's."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(0, 1.5, (clips, CLASSES))
    truth = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    target = (truth.cumsum(axis=1) > draw.random((clips, 1))).argmax(axis=1)
    said = np.exp(sharpness * logits) / np.exp(sharpness * logits).sum(axis=1, keepdims=True)
    return said, target, [f"s{i}" for i in draw.integers(20, size=clips)]


def test_brier_equals_scikit_learns() -> None:
    probabilities, target, _ = honest_case(0, 500)
    expected = brier_score_loss(target, probabilities, labels=list(range(CLASSES)), scale_by_half=False)
    assert brier(probabilities, target).mean() == pytest.approx(expected)


def test_the_temperature_undoes_overconfidence_and_the_error_falls() -> None:
    dev, dev_target, _ = honest_case(1, sharpness=2.5)
    temperature = temperature_on_dev(dev, dev_target)
    assert temperature == pytest.approx(2.5, rel=0.1)
    test, target, speaker = honest_case(2, sharpness=2.5)
    before = expected_calibration_error(test, target, speaker, 200, 0)
    after = expected_calibration_error(with_temperature(test, temperature), target, speaker, 200, 0)
    assert before.value > 0.1
    assert after.value < 0.03
    assert (with_temperature(test, temperature).argmax(axis=1) == test.argmax(axis=1)).all()
    right = (dev.argmax(axis=1) == dev_target).nonzero()[0]
    assert temperature_on_dev(dev[right], dev_target[right]) == 1.0, (
        "where all are right no temperature is the likeliest"
    )
    with pytest.raises(BadInput, match="no dev prediction"):
        temperature_on_dev(dev[:0], dev_target[:0])


@pytest.mark.parametrize("seed", range(3))
def test_the_calibration_error_and_the_reliability_diagram_are_those_of_scikit_learns_curve(seed: int) -> None:
    probabilities, target, speaker = honest_case(seed, 800, sharpness=1.8)
    confidence, hit = probabilities.max(axis=1), probabilities.argmax(axis=1) == target
    accuracy, mean = calibration_curve(hit, confidence, n_bins=15, strategy="uniform")
    clips, _ = np.histogram(confidence, bins=np.linspace(0, 1, 16))
    expected = float((clips[clips > 0] * np.abs(accuracy - mean)).sum() / 800)
    assert expected_calibration_error(probabilities, target, speaker, 100, 0).value == pytest.approx(expected)
    rows = pd.DataFrame(reliability(probabilities, target))
    assert list(rows["clips"]) == list(clips[clips > 0])
    assert list(rows["accuracy"]) == pytest.approx(list(accuracy))
    assert list(rows["confidence"]) == pytest.approx(list(mean))


def test_the_calibration_error_lies_in_its_interval_and_that_of_an_honest_model_reaches_zero() -> None:
    honest = [expected_calibration_error(*honest_case(seed, 240), 300, seed) for seed in range(20)]
    assert all(one.low <= one.value <= one.high for one in honest)
    assert sum(one.low == 0 for one in honest) >= 18
    assert expected_calibration_error(*honest_case(0, 1000, sharpness=1.8), 300, 0).low > 0.05


def test_keeping_only_sure_clips_raises_accuracy() -> None:
    probabilities, target, _ = honest_case(4)
    rows = selective_risk(probabilities, target)
    assert rows[0]["accuracy"] == pytest.approx((probabilities.argmax(axis=1) == target).mean())
    assert rows[-1]["accuracy"] > rows[0]["accuracy"] + 0.1


def test_jensen_shannon_equals_scipys() -> None:
    draw = np.random.default_rng(5)
    first, second = draw.dirichlet(np.ones(CLASSES), 50), draw.dirichlet(np.ones(CLASSES), 50)
    expected = [jensenshannon(a, b, base=2) ** 2 for a, b in zip(first, second, strict=True)]
    assert jensen_shannon(first, second) == pytest.approx(np.array(expected))


def voted(kind: str, clips: int, each: int, seed: int) -> Any:
    """True shares of clips, votes drawn from them, and the classes that were meant."""
    draw = np.random.default_rng(seed)
    target = draw.integers(CLASSES, size=clips)
    meant = np.eye(CLASSES)[target]
    truth = {
        "anything": lambda: draw.dirichlet(np.full(CLASSES, 0.3), clips),
        "mostly what was meant": lambda: 0.7 * meant + 0.3 * draw.dirichlet(np.full(CLASSES, 0.5), clips),
        "nearly always": lambda: 0.95 * meant + 0.05 / CLASSES,
        "often neutral": lambda: (
            0.5 * meant + 0.5 * draw.dirichlet(np.where(np.arange(CLASSES) == 0, 0.9, 0.15), clips)
        ),
    }[kind]()
    return truth, np.array([draw.multinomial(each, p) for p in truth]).astype(float), target


WORLDS = ("anything", "mostly what was meant", "nearly always", "often neutral")


def floors(kind: str, each: int, corpora: int) -> tuple[float, float, float]:
    """Mean divergence of the true shares from the votes: what it is, what is said of it, and by the votes' shares."""
    rows = []
    for seed in range(corpora):
        truth, votes, target = voted(kind, 300, each, seed)
        said = jensen_shannon(true_shares(votes, target, seed), votes[None] / each).mean()
        again = np.array([np.random.default_rng(seed).multinomial(each, p) for p in votes / each]) / each
        rows.append([jensen_shannon(truth, votes / each).mean(), said, jensen_shannon(votes / each, again).mean()])
    return tuple(np.mean(rows, axis=0))


def test_the_divergence_that_true_shares_have_from_few_votes_is_told() -> None:
    for kind in WORLDS:
        true, said, _ = floors(kind, 10, 3)
        assert said == pytest.approx(true, rel=0.2), kind


@pytest.mark.prove
def test_the_divergence_of_true_shares_over_worlds_and_numbers_of_votes(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"{'true shares':<24}{'votes':>6}{'is':>8}{'said':>8}{'by shares':>11}"]
    for kind in WORLDS:
        for each in (3, 5, 10):
            true, said, plain = floors(kind, each, 20)
            lines.append(f"{kind:<24}{each:>6}{true:>8.4f}{said:>8.4f}{plain:>11.4f}")
            assert said == pytest.approx(true, rel=0.2), (kind, each)
    with capsys.disabled():
        print("\nJensen-Shannon divergence of true shares from votes, 20 corpora of 300 clips\n" + "\n".join(lines))


def test_beside_a_models_divergence_from_votes_stand_those_of_the_truth_the_marginal_and_the_majority() -> None:
    truth, votes, target = voted("mostly what was meant", 600, 10, 1)
    speaker = [f"s{i % 10}" for i in range(600)]
    found = against_people(truth, votes, target, speaker, 200, 0)
    assert found["jensen_shannon"].value == pytest.approx(found["jensen_shannon_truth"].value, rel=0.15)
    shares = votes / 10
    marginal = jensen_shannon(np.tile(shares.mean(axis=0), (600, 1)), shares).mean()
    assert found["jensen_shannon_marginal"].value == pytest.approx(marginal)
    majority = jensen_shannon(np.eye(CLASSES)[votes.argmax(axis=1)], shares).mean()
    assert found["jensen_shannon_majority"].value == pytest.approx(majority)
    assert found["jensen_shannon_truth"].value < found["jensen_shannon_majority"].value < marginal


def test_a_model_that_says_the_raters_shares_is_at_distance_zero_and_below_the_best_possible() -> None:
    draw = np.random.default_rng(6)
    votes = draw.multinomial(10, draw.dirichlet(np.ones(CLASSES)), size=300).astype(float)
    target = draw.integers(CLASSES, size=300)
    speaker = [f"s{i % 10}" for i in range(300)]
    found = against_people(votes / 10, votes, target, speaker, 200, 0)
    assert found["jensen_shannon"].value == pytest.approx(0, abs=1e-12)
    assert found["soft_accuracy"].value == pytest.approx(found["best_possible"].value)
    assert found["rater_ceiling"].value <= found["best_possible"].value
    shares = (votes / 10)[np.arange(300), target]
    by_class = np.mean([shares[target == c].mean() for c in range(CLASSES)])
    assert found["human_uar"].value == pytest.approx(by_class)
    with pytest.raises(BadInput, match="fewer than two votes"):
        against_people(votes / 10, votes * 0, target, speaker, 200, 0)


def test_a_group_that_is_served_worse_shows_as_a_gap_whose_interval_excludes_zero() -> None:
    draw = np.random.default_rng(7)
    clips, speakers = 2400, 24
    who = np.arange(clips) % speakers
    target = draw.integers(CLASSES, size=clips)
    skill = np.where(who % 2, 0.9, 0.5)
    predicted = np.where(draw.random(clips) < skill, target, draw.integers(CLASSES, size=clips))
    columns = {
        "sex": ["male" if i % 2 else "female" for i in who],
        "noise": list(draw.choice(["a", "b"], clips)),
        "unknown": [None] * clips,
    }
    rows = slice_results(target, predicted, [f"s{i}" for i in who], columns, CLASSES, 500, 0)
    found = {row["by"]: row for row in rows}
    assert set(found) == {"sex", "noise"}
    assert (found["sex"]["best"], found["sex"]["worst"]) == ("male", "female")
    assert found["sex"]["gap"].low > 0.1
    assert (found["sex"]["shuffled"], found["sex"]["p"], found["sex"]["p_holm"]) == ("speakers", 0.001, 0.002)
    assert found["noise"]["gap"].low < 0.05
    assert found["noise"]["shuffled"] == "groups of each speaker" and found["noise"]["p"] > 0.05
    assert found["sex"]["groups"][0]["speakers"] == 12


def sentences(seed: int, *, worst: float) -> dict[str, Any]:
    """14 speakers of unlike skill say 12 sentences; the last is right less often by `worst`. What is said of them."""
    draw = np.random.default_rng(seed)
    speakers, count = 14, 12
    who, sentence = np.repeat(np.arange(speakers), 4 * count), np.tile(np.repeat(np.arange(count), 4), speakers)
    target = np.tile(np.arange(CLASSES), speakers * count)
    right = draw.random(len(target)) < draw.beta(12, 8, speakers)[who] - worst * (sentence == count - 1)
    predicted = np.where(right, target, (target + 1) % CLASSES)
    columns = {"sentence": [f"s{i:02}" for i in sentence]}
    return slice_results(target, predicted, [f"{i:02}" for i in who], columns, CLASSES, 400, seed)[0]


def test_the_best_and_worst_of_many_equal_groups_are_seldom_told_apart_and_a_worse_one_is_found() -> None:
    null = [sentences(seed, worst=0) for seed in range(8)]
    assert min(row["gap"].value for row in null) > 0.05  # the widest of 66 gaps is wide by chance
    assert sum(row["p"] <= 0.05 for row in null) <= 2
    assert sum(row["gap"].low > 0 for row in null) <= 2
    assert {row["shuffled"] for row in null} == {"groups of each speaker"}
    planted = sentences(0, worst=0.4)
    assert planted["worst"] == "s11" and planted["p"] == 0.001 and planted["gap"].low > 0


def loud_or_soft(
    seed: int, *, slope: float, better: float = 0.0, speakers: int = 10, clips: int = 48
) -> dict[str, Any]:
    """Speakers who say every emotion loudly and softly. Each is better understood in one of the two, by an sd of
    `slope`, and all in the first by `better`. What is said of the two groups."""
    draw = np.random.default_rng(seed)
    who, target = np.repeat(np.arange(speakers), clips), np.tile(np.arange(CLASSES), speakers * clips // CLASSES)
    loud = np.tile(np.repeat([0, 1], CLASSES), speakers * clips // CLASSES // 2)
    more = better + draw.normal(0, slope, speakers)[who]
    right = draw.random(len(target)) < draw.beta(4.8, 3.2, speakers)[who] + more * (0.5 - loud)
    predicted = np.where(right, target, (target + 1) % CLASSES)
    columns = {"intensity": [str(each) for each in loud]}
    return slice_results(target, predicted, [f"{i:02}" for i in who], columns, CLASSES, 200, seed)[0]


def test_a_difference_that_is_another_one_for_every_speaker_is_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """With clips shuffled one by one, 37 % of such studies had a gap."""
    monkeypatch.setattr(slices, "PERMUTATIONS", 199)
    found = [loud_or_soft(seed, slope=0.3)["p"] <= 0.05 for seed in range(30)]
    assert np.mean(found) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 30)
    assert loud_or_soft(0, slope=0.1, better=0.4)["p"] <= 0.05


@pytest.mark.prove
@pytest.mark.parametrize("speakers", [6, 10, 20])
def test_groups_are_told_apart_in_one_study_of_twenty_where_none_is_served_worse(
    speakers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = 300
    monkeypatch.setattr(slices, "PERMUTATIONS", 199)
    for slope in (0.0, 0.15, 0.3):
        null = np.mean([loud_or_soft(i, slope=slope, speakers=speakers)["p"] <= 0.05 for i in range(rounds)])
        planted = [loud_or_soft(i, slope=slope, better=0.2, speakers=speakers)["p"] <= 0.05 for i in range(60)]
        print(
            f"slices, {speakers} speakers whose gaps differ by an sd of {slope}: false gap {null:.3f} (nominal .05, n "
            f"{rounds}); one of .2 is found in {np.mean(planted):.2f}"
        )
        assert null <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / rounds)


def test_groups_of_speakers_are_shuffled_as_speakers() -> None:
    """Two against two: six ways to deal them, two of which give the widest gap; clips would give p = .001."""
    target = np.tile(np.arange(CLASSES), 40)
    speaker = np.repeat(np.arange(4), 40)
    predicted = np.where(speaker < 2, target, (target + (np.arange(160) % 3 == 0)) % CLASSES)
    row = slice_results(
        target, predicted, [str(i) for i in speaker], {"sex": ["f" if i < 2 else "m" for i in speaker]}, CLASSES, 50, 0
    )[0]
    assert row["shuffled"] == "speakers" and row["p"] == pytest.approx(1 / 3, abs=0.05)


def test_a_class_that_one_group_lacks_is_compared_in_no_group() -> None:
    target = np.array([0, 1, 2, 0, 1, 0, 1, 2])
    rows = slice_results(target, target, list("abcdabcd"), {"by": list("xxxyyxyx")}, 3, 50, 0)
    assert rows[0]["classes"] == [0, 1]
    assert "under 5 speakers and under 20 clips" in rows[0]["groups"][0]["note"]


def test_slices_come_from_the_manifest() -> None:
    manifest = pd.DataFrame(
        {
            "sex": ["male", None], "age": [29, None], "race": ["Asian", None], "intensity": ["low", None],
            "sentence_id": ["IEO", "IEO"], "duration_s": [1.5, 6.0],
        }
    )  # fmt: skip
    columns = slice_columns(manifest)
    assert list(columns.loc[0]) == ["male", "under 30", "Asian", "low", "IEO", "under 2 s"]
    assert columns.loc[1, "duration"] == "4 s and over"
    assert pd.isna(columns.loc[1, "age"])


def test_a_model_that_hears_arousal_alone_is_told() -> None:
    names = ["angry", "happy", "neutral", "sad"]
    draw = np.random.default_rng(8)
    target = draw.integers(4, size=1200)
    within_half = (target // 2) * 2 + draw.integers(2, size=1200)
    speaker = [f"s{i % 12}" for i in range(1200)]
    found = arousal_collapse(target, within_half, speaker, names, 200, 0)
    assert found["high_arousal"] == ["angry", "happy"]
    assert found["arousal_accuracy"].value == 1
    assert found["within"].value == pytest.approx(0.5, abs=0.05)
    assert found["difference"].value == 0
    all_high = arousal_collapse(target, target % 2, speaker, names, 200, 0)
    assert all_high["predicted"].value == 1
    assert all_high["difference"].low > 0.4


def test_prior_and_domain_shift_are_zero_for_the_same_corpus() -> None:
    frame = pd.DataFrame({"rms_db": [-20.0, -30.0], "duration_s": [1.0, 2.0], "sample_rate_hz": [16000, 16000]})
    same = domain_shift(frame, frame, {"train": np.arange(4.0), "test": np.arange(4.0) + 3})
    assert same["rms_db"]["ks_distance"] == 0
    assert same["spectrum"]["rms_difference_db"] == 0
    louder = domain_shift(frame, frame.assign(rms_db=[0.0, 0.0], sample_rate_hz=48000), None)
    assert louder["rms_db"]["ks_distance"] == 1
    assert louder["sample_rates_hz"]["test"] == {"48000": 2}
    assert prior_shift(["a", "a", "b", "b"], ["a", "b", "b", "b"], ["a", "b"])["total_variation"] == 0.25


def test_the_better_model_is_found_and_who_alone_is_right_is_counted() -> None:
    draw = np.random.default_rng(9)
    target = draw.integers(CLASSES, size=900)
    speaker = [f"s{i % 15}" for i in range(900)]
    first = np.where(draw.random(900) < 0.5, target, (target + 1) % CLASSES)
    second = np.where(draw.random(900) < 0.6, target, (target + 1) % CLASSES)
    found = compare_models(first, second, target, speaker, CLASSES)
    only_first = int(((first == target) & (second != target)).sum())
    only_second = int(((first != target) & (second == target)).sum())
    assert (found["only_first_right"], found["only_second_right"]) == (only_first, only_second)
    assert found["uar_difference"].low > 0
    assert found["p"] == found["p_corrected"] <= 0.01
    same = compare_models(first, first, target, speaker, CLASSES)
    assert (same["uar_difference"], same["p"]) == (Estimate(0, 0, 0), 1)
    with pytest.raises(BadInput, match="same clips"):
        compare_models(first[1:], second, target, speaker, CLASSES)


def test_holm_and_seeds() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert over_seeds([0.5, 0.6, 0.7]) == pytest.approx({"n": 3, "mean": 0.6, "sd": 0.1})
