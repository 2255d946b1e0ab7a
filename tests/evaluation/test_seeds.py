"""Several seeds: the bootstrap over seeds and speakers, and the step `seeds` on stored predictions."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ser_tasks.builds import seeds
from ser_tasks.config import load_config
from ser_tasks.errors import BadInput
from ser_tasks.evaluation.comparison import compare_models, compare_over_seeds
from ser_tasks.evaluation.metrics import Counts, Estimate
from ser_tasks.plan import Plan
from ser_tasks.steps import STEPS
from tests.evaluation.test_steps import LABELS, model, predictions

CLASSES, CLIPS = 4, 40


def trainings(
    draw: np.random.Generator, skill: float, sd: float, target: Counts, ease: np.ndarray, count: int
) -> list[Counts]:
    """Predictions of trainings whose chances of being right differ by `sd`; `ease`: of each clip's speaker."""
    return [
        np.where(draw.random(len(target)) < np.clip(skill + ease + draw.normal(0, sd), 0, 1), target, (target + 1) % 4)
        for _ in range(count)
    ]


def study(
    seed: int, *, better: float = 0.0, sd: float = 0.0, count: int = 4, speakers: int = 12
) -> tuple[list[Counts], list[Counts], Counts, list[str]]:
    """Two models, the second of which is right more often by `better`."""
    draw = np.random.default_rng(seed)
    target = np.tile(np.arange(CLASSES), speakers * CLIPS // CLASSES)
    speaker = np.repeat(np.arange(speakers), CLIPS)
    ease = draw.normal(0, 0.1, speakers)[speaker]
    models = [trainings(draw, skill, sd, target, ease, count) for skill in (0.55, 0.55 + better)]
    return models[0], models[1], target, [f"s{i:02}" for i in speaker]


def difference(seed: int, **choices: float) -> Estimate:
    # speakers and seeds are whole numbers among them, which one type for all choices cannot say
    found: Estimate = compare_over_seeds(*study(seed, **choices), CLASSES)["uar_difference"]  # type: ignore[arg-type]
    return found


def width(estimate: Estimate) -> float:
    return estimate.high - estimate.low


def test_a_planted_difference_is_found_and_equal_models_are_mostly_not_told_apart() -> None:
    found = compare_over_seeds(*study(0, better=0.15, sd=0.02), CLASSES)
    assert found["uar_difference"].low > 0
    assert found["uar_difference"].value == pytest.approx(0.15, abs=0.04)
    assert found["p"] <= 0.01
    first, second, target, speaker = study(0, better=0.15, sd=0.02)
    turned = compare_over_seeds(second, first, target, speaker, CLASSES)
    assert turned["uar_difference"].high < 0
    equal = [difference(seed, sd=0.05, count=5) for seed in range(40)]
    assert sum(one.low <= 0 <= one.high for one in equal) >= 34


def test_seeds_that_differ_widen_the_interval_beyond_that_of_one_seed_or_of_speakers_alone() -> None:
    first, second, target, speaker = study(3, sd=0.1)
    both = compare_over_seeds(first, second, target, speaker, CLASSES)["uar_difference"]
    alone = compare_models(first[0], second[0], target, speaker, CLASSES)["uar_difference"]
    assert width(both) > 1.5 * width(alone)
    same = [first[0]] * 3  # seeds that change nothing leave the bootstrap over speakers
    fixed = compare_over_seeds(same, [second[0]] * 3, target, speaker, CLASSES)["uar_difference"]
    assert (fixed.value, fixed.low, fixed.high) == pytest.approx((alone.value, alone.low, alone.high))


def test_one_speaker_tells_nothing_of_others_however_many_seeds() -> None:
    found = compare_over_seeds(*study(5, better=0.3, count=8, speakers=1), CLASSES)
    assert (found["uar_difference"].low, found["uar_difference"].high, found["p"]) == (-1, 1, 1)


def test_one_training_or_other_clips_are_no_comparison_over_seeds() -> None:
    first, second, target, speaker = study(0)
    with pytest.raises(BadInput, match="at least 2 trainings"):
        compare_over_seeds(first[:1], second, target, speaker, CLASSES)
    with pytest.raises(BadInput, match="same clips"):
        compare_over_seeds(first, [*second[1:], second[0][1:]], target, speaker, CLASSES)


def stored(folder: Path, skills: dict[str, float], count: int, note: str = "") -> dict[str, Path]:
    """Inputs of the step: `count` trainings of each model."""
    inputs = {}
    for number, (name, skill) in enumerate(skills.items()):
        inputs[f"model/{name}"] = model(folder / name, name.upper(), note if number else "")
        for i in range(count):
            inputs[f"predictions/{name}/{i}"] = predictions(folder / f"{name}-{i}", 10 * number + i, skill)
    return inputs


PARAMS = {"corpus": "c", "labels": LABELS, "seed": 7}


def test_the_step_writes_each_seed_mean_sd_and_who_is_better(tmp_path: Path) -> None:
    inputs = stored(tmp_path, {"cnn": 0.2, "wav2vec2": 4.0}, 11)  # 10 comes after 9, not after 1
    (tmp_path / "out").mkdir()
    seeds.build(inputs, PARAMS, tmp_path / "out")
    found = json.loads((tmp_path / "out" / "seeds.json").read_text())
    cnn, wav2vec2 = found["models"]
    assert [one["seed"] for one in cnn["seeds"]] == list(range(7, 18))
    uars = [one["uar"] for one in cnn["seeds"]]
    assert (cnn["n"], cnn["mean"], cnn["sd"]) == (11, pytest.approx(np.mean(uars)), pytest.approx(np.std(uars, ddof=1)))
    assert found["uar_difference"]["value"] == pytest.approx(wav2vec2["mean"] - cnn["mean"])
    assert found["uar_difference"]["low"] > 0 and found["p"] < 0.05
    assert (found["corpus"], found["clips"], found["speakers"]) == ("c", 96, 8)
    assert found["verdict"] == "WAV2VEC2 is better"
    assert found["remark"] == ""


@pytest.mark.parametrize(
    ("note", "said"),
    [("random", "no verdict: one of them is random"), ("", "undecided: 2 seeds; a verdict over seeds needs 3")],
)
def test_two_seeds_and_a_random_model_give_no_verdict(tmp_path: Path, note: str, said: str) -> None:
    (tmp_path / "out").mkdir()
    inputs = stored(tmp_path, {"cnn": 0.2, "wav2vec2": 4.0}, 2, note)
    seeds.build(inputs, PARAMS, tmp_path / "out")
    found = json.loads((tmp_path / "out" / "seeds.json").read_text())
    assert found["verdict"] == said


def test_trainings_on_other_clips_are_refused(tmp_path: Path) -> None:
    inputs = stored(tmp_path, {"cnn": 1.0, "wav2vec2": 1.0}, 2)
    frame = pd.read_parquet(inputs["predictions/cnn/1"] / "predictions.parquet")
    frame.iloc[:-1].to_parquet(inputs["predictions/cnn/1"] / "predictions.parquet")
    with pytest.raises(BadInput, match="same clips"):
        seeds.build(inputs, PARAMS, tmp_path)


def planned(seed: int, seeds: int) -> Plan:
    return Plan(load_config("demo", {"seed": seed, "seeds": seeds}), {}, {}, ["baseline", "cnn", "wav2vec2"], [], {})


def test_a_plan_lists_the_further_trainings_of_the_networks() -> None:
    assert (planned(0, 1).seeded, planned(0, 1).seed_pairs) == ([], [])
    plan = planned(0, 3)
    assert plan.seeded == ["cnn/1", "cnn/2", "wav2vec2/1", "wav2vec2/2"]
    assert plan.seed_pairs[:2] == ["cnn/1@demo_crema_d", "cnn/1@demo_ravdess"] and len(plan.seed_pairs) == 8
    assert plan.pairs == planned(0, 1).pairs
    needs = STEPS["seeds"].needs(plan, "demo_ravdess")
    assert needs["predictions/cnn/0"] == ("predict", "cnn@demo_ravdess")
    assert needs["predictions/wav2vec2/2"] == ("predict", "wav2vec2/2@demo_ravdess")
    assert STEPS["predict"].needs(plan, "cnn/2@demo_ravdess")["model"] == ("train_cnn", "cnn/2")
    assert STEPS["seeds"].left_out(planned(0, 1), "demo_ravdess") and not STEPS["seeds"].left_out(plan, "demo_ravdess")


@pytest.mark.parametrize("name", ["cnn", "wav2vec2"])
def test_several_seeds_change_no_first_training_and_a_later_one_is_that_of_a_study_with_its_seed(name: str) -> None:
    """Equal parameters and inputs are one artifact, so a seed that any study has trained is not trained again."""
    step = STEPS[f"train_{name}"]

    def asked(plan: Plan, about: str) -> object:
        return step.params(plan, about), step.needs(plan, about)

    assert asked(planned(4, 3), name) == asked(planned(4, 1), name)
    assert asked(planned(4, 3), f"{name}/2") == asked(planned(6, 1), name)
    assert asked(planned(4, 3), f"{name}/2") != asked(planned(4, 3), name)
