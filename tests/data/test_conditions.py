"""How corpora were recorded, and what is concluded from a difference."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ser_tasks.audio.measure import measure
from ser_tasks.data.conditions import (
    Conditions,
    Quartiles,
    conditions,
    conditions_from,
    expectations_across,
    in_words,
    side_by_side,
)
from tests.conftest import SHARED_CORPORA
from tests.report.corpora import made_corpus


def around(value: float) -> Quartiles:
    return Quartiles(value - 5, value, value + 5)


STUDIO = Conditions(100, 0.2, 0.0, 0.0, around(-25), around(-65), around(40), around(7700))


def said(train: dict[str, Any], test: dict[str, Any]) -> list[str]:
    return expectations_across(replace(STUDIO, **train), replace(STUDIO, **test))


def test_conditions_are_those_of_the_clips() -> None:
    manifest = made_corpus(speakers=2).head(4).assign(
        rms_db=[-20, -30, -40, -50], noise_db=[-60, -60, -60, None], bandwidth_hz=[3600, 7700, 7700, None],
        silent_fraction=[0.1, 0.3, 0.5, 0.7], digital_silence_fraction=[0.0, 0.0, 0.2, 0.2],
        clipped_fraction=[0.0, 0.0005, 0.002, 0.0],
    )  # fmt: skip
    found = conditions(manifest)
    assert (found.clips, found.silent, found.digital_silence, found.clipped) == (4, 0.4, 0.1, 0.25)
    assert found.level_db == Quartiles(-42.5, -35.0, -27.5)
    assert found.above_noise_db == Quartiles(25.0, 30.0, 35.0)
    assert found.bandwidth_hz == Quartiles(5650.0, 7700.0, 7700.0)
    assert conditions_from(json.loads(json.dumps(asdict(found), allow_nan=False))) == found
    assert in_words(found) == (
        "40 % silence, 10 % digital silence, level −35 dB, noise floor −60 dB, bandwidth 7.7 kHz, "
        "25 % of its clips clipped"
    )


def test_no_clip_and_no_measurement_are_not_known_and_not_zero() -> None:
    none = conditions(made_corpus(speakers=0))
    assert none == conditions_from(asdict(none)) == Conditions(0, None, None, None, None, None, None, None)
    assert expectations_across(STUDIO, none) == [] and in_words(none) == ""
    old = conditions(made_corpus(speakers=2))
    assert old.noise_db is None and old.bandwidth_hz is None and old.silent == pytest.approx(0.1)
    (sentence,) = expectations_across(STUDIO, old)
    assert sentence == "Noise floor and bandwidth of the test corpus are not known: scan it again to compare them."


def test_corpora_that_are_alike_get_one_sentence_that_promises_nothing() -> None:
    alike = {"silent": 0.35, "bandwidth_hz": around(6000), "above_noise_db": around(32), "level_db": around(-50)}
    (sentence,) = said({}, alike)
    assert sentence.startswith("Silence, bandwidth, noise floor and clipping differ little")


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        ({"silent": 0.54}, {"silent": 0.03},
         "Half of the training corpus is silence (54 %), almost none of the test corpus (3 %): models leave out the "
         "silence around speech, but not the pauses in it; see whether their answers gather in a few classes."),
        ({"silent": 0.03}, {"silent": 0.7}, "Almost none of the training corpus is silence (3 %), most of the test"),
        ({}, {"bandwidth_hz": around(3600)},
         "The test corpus is telephone band (3.6 kHz); the training corpus reaches 7.7 kHz: expect losses in classes "
         "that are told apart by brightness."),
        ({"bandwidth_hz": around(18000)}, {"bandwidth_hz": around(5000)},
         "The test corpus reaches only 5.0 kHz; the training corpus reaches 8.0 kHz"),
        ({"bandwidth_hz": around(3850)}, {}, "The training corpus is telephone band (3.9 kHz); the test corpus"),
        ({}, {"above_noise_db": around(15)},
         "The test corpus is 25 dB noisier: its level lies 15 dB above its noise floor, that of the training corpus "
         "40 dB. See whether quiet classes, such as sad, lose most."),
        ({"above_noise_db": around(15)}, {}, "The training corpus is 25 dB noisier"),
        ({"silent": 0.1}, {"silent": 0.04, "above_noise_db": around(25)}, "may be its quietest speech: listen first"),
        ({}, {"clipped": 0.4}, "40 % of the test corpus's clips are clipped, of the training corpus's 0 %"),
        ({"clipped": 0.4}, {}, "40 % of the training corpus's clips are clipped, of the test corpus's 0 %"),
    ],
)  # fmt: skip
def test_each_large_difference_gets_its_sentence_and_no_other(
    train: dict[str, Any], test: dict[str, Any], expected: str
) -> None:
    (sentence,) = said(train, test)
    assert expected in sentence


def test_what_no_model_hears_and_level_alone_are_no_difference() -> None:
    (sentence,) = said({"bandwidth_hz": around(20000), "level_db": around(-10)}, {"level_db": around(-45)})
    assert "differ little" in sentence


def measured(paths: list[Path]) -> pd.DataFrame:
    return pd.DataFrame([asdict(measure(path.read_bytes(), path.name)) for path in paths])


def test_ravdess_against_nemo_says_that_half_of_it_is_silence(ravdess: Path) -> None:
    nemo = SHARED_CORPORA / "nemo" / "samples"
    if not nemo.is_dir():
        pytest.skip(f"{nemo} is absent (set SER_TEST_CORPORA)")
    trained = measured(sorted(ravdess.glob("Actor_*/*.flac"))[::24])
    tested = measured(sorted(nemo.glob("*.flac"))[::8])
    found = side_by_side(trained, tested)
    assert found["sentences"][0].startswith("Half of the training corpus is silence (5")
    assert "almost none of the test corpus (" in found["sentences"][0]
    assert not any("kHz" in sentence for sentence in found["sentences"])
    assert 7400 < found["train"]["bandwidth_hz"]["median"] < 8000 < found["test"]["bandwidth_hz"]["median"]
    (alike,) = side_by_side(trained, trained)["sentences"]
    assert "differ little" in alike
