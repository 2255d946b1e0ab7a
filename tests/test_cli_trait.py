"""`ser trait`: fit, try on another corpus, score a clip, report; on a corpus in IEMOCAP's layout."""

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2Model

from ser_tasks.corpora.demo import make_demo_corpora
from tests.test_cli import ser, ser_json


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("demo")
    return make_demo_corpora(root, crema_d_actors=1, ravdess_actors=3, iemocap_sessions=3)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small encoder with random weights, saved as pretrained ones are."""
    folder = tmp_path_factory.mktemp("encoder") / "small"
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, conv_dim=(16,) * 7
    )
    Wav2Vec2Model(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def traits(corpora: dict[str, Path], encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The folder of traits with rudeness in it, and what `fit` said."""
    folder = tmp_path_factory.mktemp("traits")
    found = ser_json(
        "trait", "fit", "--trait", "rudeness", "--source_dir", corpora["demo_iemocap"], "--encoder", encoder,
        "--traits_dir", folder, "--permutations", "99",
    )  # fmt: skip
    return folder, found


def test_fit_says_what_speaks_for_and_against(traits: tuple[Path, Any]) -> None:
    folder, found = traits
    assert found["clips"] == 144 and found["speakers"] == 6
    assert found["explained_by"] in ("none", "loudness", "emotion", "speaker", "cannot be separated")
    assert set(found["evidence"]["left_out"]) == {"session", "speaker"}
    assert {"trait.json", "trait.safetensors", "scores.parquet", "fit.json"} <= {p.name for p in folder.rglob("*")}


def test_a_clip_gets_the_score_that_it_has_in_its_corpus(
    traits: tuple[Path, Any], corpora: dict[str, Path], tmp_path: Path
) -> None:
    folder, _ = traits
    place = ("--trait", "rudeness", "--traits_dir", folder)
    whole = ser_json("trait", "score", *place, "--source_dir", corpora["demo_iemocap"])
    scores = pd.read_parquet(folder / "rudeness" / "on" / whole["corpus"] / "scores.parquet").set_index("utterance_id")
    assert whole["pooled"] is None and len(scores) == 144  # no labels were given: scored only
    clip = next(corpora["demo_iemocap"].rglob("Ses01F_impro01_F000.wav"))
    alone = ser_json("trait", "score", *place, "--wav_path", clip)
    assert alone["score"] == pytest.approx(scores.loc[clip.stem, "score"], abs=0.02)
    assert "each scored by a direction fitted without its session" in alone["percentile_of"]
    assert alone["percentile"] == pytest.approx(scores.loc[clip.stem, "percentile"], abs=1)


def test_the_direction_is_tried_on_another_corpus_and_the_page_shows_it(
    traits: tuple[Path, Any], corpora: dict[str, Path]
) -> None:
    folder, found = traits
    place = ("--trait", "rudeness", "--traits_dir", folder)
    groups = ("--high", "angry", "--low", "calm,neutral")
    moved = ser_json("trait", "score", *place, "--source_dir", corpora["demo_ravdess"], *groups)
    assert 0 <= moved["pooled"]["low"] <= moved["pooled"]["value"] <= moved["pooled"]["high"] <= 1
    assert moved["within_speaker"]["speakers"] == 3 and 0 < moved["within_speaker"]["p"] <= 1
    ser("trait", "report", *place)
    page = (folder / "rudeness" / "report" / "index.html").read_text()
    words = re.sub(r'src="[^"]*"', "", page)
    assert f"Explained by: {found['explained_by']}." in words
    assert f"Continuous: {found['evidence']['shape']['verdict']}." in words
    assert all(sentence[:30] in words for sentence in found["evidence"]["refused"])
    assert found["evidence"]["verdict"]["why"][1:30] in words
    assert "On ravdess: stand-in without ratings: angry against calm, neutral" in words
    assert "144 clips" in words and "6 speakers, 3 sessions, 6 dialogues" in words
    assert "Synthetic speech." in words
    assert page.count("<audio controls") == 6 == page.count('src="data:audio/flac;base64,')
    drawn = {"pca", "umap", "layers", "null", "confounds", "effects", "ends", "score", "prosody"}
    pictures = {path.stem.partition("-")[2] for path in (folder / "rudeness" / "report" / "figures").glob("*.png")}
    assert pictures == drawn
    evidence = pd.read_csv(folder / "rudeness" / "report" / "data" / "evidence.csv")
    assert len(evidence) > 30 and evidence["n"].notna().all()


def test_bad_requests_are_answered_in_one_line(traits: tuple[Path, Any], corpora: dict[str, Path]) -> None:
    folder, _ = traits
    nowhere = ser("trait", "score", "--trait", "politeness", "--traits_dir", folder, "--wav_path", "x.wav", status=1)
    assert "ser trait fit --trait politeness" in nowhere.stderr
    source = ("trait", "fit", "--source_dir", corpora["demo_crema_d"])
    assert "--encoder FOLDER" in ser(*source, status=1).stderr
    encoder = json.loads((folder / "rudeness" / "fit.json").read_text())["encoder"]
    unknown = ser(*source, "--encoder", encoder, "--high", "furious", "--low", "sad", status=1)
    assert "'furious' is no emotion" in unknown.stderr
    assert "give --ratings FILE" in ser(*source, "--encoder", encoder, status=1).stderr
    assert "Traceback" not in unknown.stderr


def test_help_has_examples() -> None:
    for command in ("fit", "score", "report"):
        assert f"Example: ser trait {command}" in " ".join(
            ser("trait", command, "--help").stdout.replace("│", "").split()
        )
