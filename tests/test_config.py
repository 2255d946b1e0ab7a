"""Configurations: what is refused, and that options reach the networks they are meant for."""

from dataclasses import fields
from pathlib import Path

import pytest

from ser_tasks.audio.logmel import LogMelOptions, mel_power
from ser_tasks.config import MOST_MELS, EncoderShape, Fit, configs_folder, load_config
from ser_tasks.errors import BadInput
from ser_tasks.models import encoders
from ser_tasks.plan import Plan
from ser_tasks.steps import STEPS
from ser_tasks.training.fit import FitOptions


def test_every_shipped_configuration_is_valid() -> None:
    names = sorted(path.stem for path in configs_folder().glob("*.yaml"))
    assert names == ["crema_d", "demo", "ravdess", "ravdess_whisper"]
    for name in names:
        assert load_config(name).name == name


def test_an_unknown_key_and_a_value_out_of_range_are_named_with_their_place() -> None:
    with pytest.raises(BadInput, match=r"2 fault\(s\): seed: .*cnn\.fit\.epoch: Extra inputs"):
        load_config("demo", {"cnn.fit.epoch": 3, "seed": -1})


def test_a_missing_configuration_names_those_that_are_there() -> None:
    with pytest.raises(BadInput, match="there are: crema_d, demo, ravdess, ravdess_whisper"):
        load_config("demoo")


def test_a_stage_cannot_name_a_corpus_that_is_not_there() -> None:
    with pytest.raises(BadInput, match=r"trait\.corpus is 'nowhere'"):
        load_config("demo", {"trait.corpus": "nowhere"})


def test_shares_that_do_not_add_up_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"add up to 1\.1"):
        load_config("crema_d", {"split.shares": {"train": 0.9, "dev": 0.1, "test": 0.1}})


@pytest.mark.parametrize("seeds", [0, 101, 1.5])
def test_a_number_of_seeds_out_of_range_is_refused(seeds: float) -> None:
    assert load_config("demo").seeds == 1
    with pytest.raises(BadInput, match="seeds: Input should be"):
        load_config("demo", {"seeds": seeds})


def test_the_demos_wav2vec2_learns_anew_from_dropped_ratings_and_nothing_else_does() -> None:
    config = load_config("demo")
    assert config.wav2vec2.fit.tone_weight > 0
    plan = Plan(config, {}, {}, ["cnn", "wav2vec2"], [], {})
    assert not STEPS["ratings"].left_out(plan, "")
    assert not STEPS["tones"].left_out(plan, "")
    assert STEPS["ratings"].needs(plan, "")["annotations?"] == ("annotations", "")
    assert STEPS["tones"].needs(plan, "")["ratings"] == ("ratings", "")
    assert STEPS["train_wav2vec2"].needs(plan, "wav2vec2")["ratings"] == ("tones", "")
    assert "ratings" not in STEPS["train_cnn"].needs(plan, "cnn")


def test_options_are_those_of_the_networks() -> None:
    assert set(Fit.model_fields) | {"seed", "threads"} == {field.name for field in fields(FitOptions)}
    assert set(EncoderShape.model_fields) == {field.name for field in fields(encoders.EncoderShape)}


def test_local_folders_are_no_part_of_what_a_study_is() -> None:
    one = load_config("demo", {"corpora.demo_crema_d.folder": "/here"})
    other = load_config("demo", {"corpora.demo_crema_d.folder": "/there"})
    assert one != other
    assert one.portable() == other.portable()


def test_more_mel_bins_than_a_window_tells_apart_are_refused_with_the_number_that_it_does() -> None:
    assert load_config("demo", {"cnn.options.n_mels": MOST_MELS}).cnn.options.n_mels == MOST_MELS
    with pytest.raises(BadInput, match=f"n_mels is 256: .*set it to {MOST_MELS} or less"):
        load_config("demo", {"cnn.options.n_mels": 256})


@pytest.mark.filterwarnings("ignore")  # torchaudio tells of empty filters too
def test_of_so_many_mel_bins_each_holds_a_frequency_and_of_one_more_one_holds_none() -> None:
    empty = [
        int((mel_power(LogMelOptions(n_mels=n)).mel_scale.fb.amax(dim=0) == 0).sum())
        for n in (MOST_MELS, MOST_MELS + 1)
    ]
    assert empty[0] == 0 < empty[1]
