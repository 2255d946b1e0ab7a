"""The trait on the study's page: verdict, refusals, evidence, every picture, and clips where the licence allows."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from ser_tasks.audio.shards import Clip, write_shards
from ser_tasks.builds import figures, report
from ser_tasks.builds import trait as trait_build
from ser_tasks.config import Trait, load_config
from ser_tasks.corpora.readers import load_description
from ser_tasks.plan import Plan
from ser_tasks.steps import STEPS
from tests.report.studies import Study, make_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study whose trait step has really run, and the audio of its corpus."""
    root = tmp_path_factory.mktemp("study")
    made = make_study(root / "inputs", synthetic=False, models=("cnn", "wav2vec2"))
    inputs = made.inputs
    own = np.load(inputs["embeddings"] / "embeddings.npy")
    np.save(inputs["embeddings"] / "layers.npy", own[:, None, :])
    scores = pd.read_parquet(inputs["trait"] / "scores.parquet")
    folders = {name: root / name for name in ("prosody", "ratings", "trait", "audio")}
    for folder in folders.values():
        folder.mkdir()
    scores[["utterance_id", "rms_db", "centroid_hz"]].to_parquet(folders["prosody"] / "prosody.parquet")
    rating = scores[["utterance_id", "rating"]].assign(annotator_id="a")
    rating.to_parquet(folders["ratings"] / "ratings.parquet")
    params = Trait(corpus="iemocap", permutations=99).model_dump(mode="json") | {"resamples": 100, "seed": 0}
    needed = {name: inputs[name] for name in ("embeddings", "manifest")}
    trait_build.build(needed | {name: folders[name] for name in ("prosody", "ratings")}, params, folders["trait"])
    buffer = io.BytesIO()
    soundfile.write(buffer, np.random.default_rng(0).normal(0, 0.1, 4000).astype(np.float32), 16000, format="WAV")
    clips = [Clip(row.utterance_id, row.speaker_id, "x.wav") for row in scores.itertuples()]
    write_shards(clips, lambda path: buffer.getvalue(), folders["audio"])
    made.inputs["trait"], made.inputs["clips"] = folders["trait"], folders["audio"]
    made.inputs["figures"] = root / "figures"
    made.inputs["figures"].mkdir()
    figures.build(inputs, made.figures_params, made.inputs["figures"])
    return made


def page(study: Study, target: Path, *, clips: bool) -> str:
    inputs = {name: folder for name, folder in study.inputs.items() if clips or name != "clips"}
    report.build(inputs, study.report_params, target)
    return (target / "index.html").read_text()


def test_the_page_says_what_explains_the_trait_and_what_the_data_does_not_carry(study: Study, tmp_path: Path) -> None:
    html = page(study, tmp_path, clips=True)
    words = " ".join(re.sub(r'src="[^"]*"', "", html).split())
    evidence = json.loads((study.inputs["trait"] / "metrics.json").read_text())["evidence"]
    assert f"Explained by: {evidence['verdict']['explained_by']}." in words
    assert f"Continuous: {evidence['shape']['verdict']}." in words
    assert any("no clip has two ratings" in sentence for sentence in evidence["refused"])
    assert all(sentence.replace("'", "&#39;") in words for sentence in evidence["refused"])
    auc = evidence["left_out"]["session"]["within_speaker"]
    assert f"{auc['low']:.3f} to {auc['high']:.3f}" in words
    assert "90 clips" in words and "10 speakers, 5 sessions" in words


def test_every_picture_of_the_trait_is_on_the_page(study: Study, tmp_path: Path) -> None:
    html = page(study, tmp_path, clips=False)
    for name in ("score", "prosody", "layers", "null", "confounds", "effects", "ends"):
        assert f'href="figures/trait-{name}.png"' in html, name


def test_clips_at_both_ends_can_be_listened_to_only_where_they_were_handed_over(study: Study, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("with", "without")]
    for folder in folders:
        folder.mkdir()
    with_clips, without = page(study, folders[0], clips=True), page(study, folders[1], clips=False)
    assert with_clips.count("<audio controls") == with_clips.count('src="data:audio/flac;base64,') == 6
    assert "media-src data:" in with_clips
    assert "<audio" not in without and "licence does not let a report carry clips" in without


@pytest.mark.parametrize(("config", "carried"), [("crema_d", False), ("demo", True), ("ravdess", True)])
def test_the_licence_decides_whether_a_report_gets_clips(config: str, carried: bool) -> None:
    """IEMOCAP's forbids it, RAVDESS's allows it, and the demo's IEMOCAP is synthetic."""
    study = load_config(config)
    descriptions = {name: load_description(study.corpora[name].reader) for name in study.used_corpora}
    plan = Plan(study, descriptions, {}, ["cnn", "wav2vec2"], [], {})
    for step in ("report", "trait_report"):
        assert ("clips" in STEPS[step].needs(plan, "")) == carried
