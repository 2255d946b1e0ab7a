"""The steps on disk, and real speech through a real encoder."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ser_tasks.audio.decode import decode, to_int16
from ser_tasks.audio.packed import PackedAudio, write_packed
from ser_tasks.builds import trait as trait_build
from ser_tasks.builds import transfer as transfer_build
from ser_tasks.builds.learnt_clips import marked
from ser_tasks.config import Trait
from ser_tasks.data.manifest import SCHEMA, write_manifest
from ser_tasks.errors import BadInput
from ser_tasks.models.encoders import load_encoder
from ser_tasks.report.figures import Scene, style, write_pictures
from ser_tasks.report.trait_figures import ends, evidence_pictures
from ser_tasks.rudeness.embeddings import write_layers
from ser_tasks.rudeness.prosody import measure_prosody
from ser_tasks.rudeness.traitfile import load_trait
from tests.rudeness.planted import Planted, plant

ENCODER = Path(
    os.environ.get("SER_TEST_ENCODER", Path(__file__).parents[3] / "shared" / "encoders" / "whisper-tiny.en-encoder")
)
EMOTIONS = {
    "01": "neutral", "02": "calm", "03": "happy", "04": "sad", "05": "angry", "06": "fear", "07": "disgust",
    "08": "surprised",
}  # fmt: skip


def put(root: Path, clips: pd.DataFrame, layers: np.ndarray | None, prosody: pd.DataFrame) -> dict[str, Path]:
    """Inputs of the step in the formats that the steps before it publish."""
    folders = {name: root / name for name in ("embeddings", "manifest", "prosody", "ratings")}
    for folder in folders.values():
        folder.mkdir(exist_ok=True)
    manifest = pd.DataFrame(index=range(len(clips)), columns=SCHEMA.names, dtype=object)
    for name in set(SCHEMA.names) & set(clips.columns):
        manifest[name] = clips[name].to_numpy()
    write_manifest(manifest.assign(corpus="x", duration_s=2.0), folders["manifest"] / "manifest.parquet")
    if layers is not None:
        np.save(folders["embeddings"] / "layers.npy", layers.astype(np.float16))
        (folders["embeddings"] / "utterances.json").write_text(json.dumps(list(clips["utterance_id"])))
    (folders["embeddings"] / "about.json").write_text(json.dumps({"title": "whisper-tiny.en (frozen)", "note": ""}))
    prosody.to_parquet(folders["prosody"] / "prosody.parquet")
    return folders


def params(**more: Any) -> dict[str, Any]:
    trait = Trait(corpus="x", high=["angry"], low=["calm"], permutations=99)
    return trait.model_dump(mode="json") | {"resamples": 200, "seed": 0} | more


def read(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "metrics.json").read_text()))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Planted, dict[str, Path], Path]:
    root = tmp_path_factory.mktemp("trait")
    corpus = plant("trait", 3.0)
    prosody = corpus.clips[["utterance_id", "rms_db", "level_sd_db", "f0_hz"]].assign(centroid_hz=1500.0)
    clips = corpus.clips.drop(columns=["rms_db"])
    inputs = put(root, clips, np.stack(corpus.layers, axis=1), prosody)
    corpus.ratings.to_parquet(inputs["ratings"] / "ratings.parquet")
    out = root / "out"
    out.mkdir()
    trait_build.build(inputs, params(), out)
    return corpus, inputs, out


def test_the_step_writes_the_direction_its_scores_and_its_evidence(built: tuple[Planted, dict, Path]) -> None:
    corpus, _, out = built
    metrics, trait = read(out), load_trait(out)
    assert metrics["explained_by"] == "none" and metrics["auc"]["inside_speakers"]["low"] > 0.7
    assert metrics["left_out_together"] == "session"
    assert trait.about["auc"] == metrics["auc"] and trait.layer == 1
    assert [auc["name"] for auc in metrics["auc"].values()] == [
        "AUC inside speakers", "AUC of one clip of an unknown speaker"
    ]  # fmt: skip
    assert metrics["auc"]["one_clip"]["value"] < metrics["auc"]["inside_speakers"]["value"]  # speakers differ
    assert trait.percentile_of == "480 clips of x, each scored by a direction fitted without its session"
    scores = pd.read_parquet(out / "scores.parquet")
    assert len(scores) == metrics["clips"] == len(corpus.clips)
    assert scores["score"].corr(scores["rating"], method="spearman") == pytest.approx(
        metrics["spearman"]["rating"]["rho"]
    )


def test_equal_inputs_give_equal_bytes(built: tuple[Planted, dict, Path], tmp_path: Path) -> None:
    _, inputs, out = built
    trait_build.build(inputs, params(), tmp_path)
    for path in sorted(out.iterdir()):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_a_direction_is_not_tried_on_embeddings_of_another_front_end(
    built: tuple[Planted, dict, Path], tmp_path: Path
) -> None:
    _, inputs, out = built
    embeddings = tmp_path / "embeddings"
    shutil.copytree(inputs["embeddings"], embeddings)
    (embeddings / "about.json").write_text(json.dumps({"title": "w", "note": "", "front_end": "speech"}))
    asked = {"trait": out, "embeddings": embeddings, "manifest": inputs["manifest"]}
    with pytest.raises(BadInput, match="fitted before encoders heard speech alone: fit the trait again"):
        transfer_build.build(asked, params(), tmp_path)
    again = tmp_path / "again"
    again.mkdir()
    trait_build.build({**inputs, "embeddings": embeddings}, params(), again)
    assert load_trait(again).about["front_end"] == "speech"


def learnt(folders: dict[str, Path], root: Path, corpus: Planted, speakers: list[str]) -> dict[str, Path]:
    """The same embeddings, of a model that has learnt from these speakers."""
    shutil.copytree(folders["embeddings"], root / "embeddings")
    about = {"title": "CNN", "note": "embeddings of a model that has learnt labels from x", "trained": True}
    (root / "embeddings" / "about.json").write_text(json.dumps(about))
    how = np.where(corpus.clips["speaker_id"].isin(speakers), "clip", "")
    frame = pd.DataFrame({"utterance_id": corpus.clips["utterance_id"], "seen": how})
    frame.to_parquet(root / "embeddings" / "seen.parquet")
    return {**folders, "embeddings": root / "embeddings"}


def test_only_speakers_whom_the_embedder_has_not_learnt_from_are_scored(
    built: tuple[Planted, dict, Path], tmp_path: Path
) -> None:
    corpus, inputs, _ = built
    known = ["s0", "s1", "s2", "s3", "s4", "s5"]
    inputs = learnt(inputs, tmp_path, corpus, known)
    trait_build.build(inputs, params(), tmp_path)
    found, scores = read(tmp_path), pd.read_parquet(tmp_path / "scores.parquet")
    assert set(scores["speaker_id"]) == {"s6", "s7", "s8", "s9"} and found["speakers"] == 4
    left_out = "Left out of the test, since the model has learnt from them: 288 clip(s) of 6 speaker(s)"
    assert left_out in found["note"] and left_out in found["seen"]["sentence"]
    assert "has learnt labels from x" in load_trait(tmp_path).about["note"]

    strangers = tmp_path / "strangers"  # a corpus in which they never were
    strangers.mkdir()
    clips = corpus.clips[~corpus.clips["speaker_id"].isin(known)]
    layers = np.stack(corpus.layers, axis=1)[clips.index]
    prosody = corpus.clips[["utterance_id", "rms_db", "level_sd_db", "f0_hz"]].assign(centroid_hz=1500.0)
    alone = put(strangers, clips.drop(columns=["rms_db"]), layers, prosody)
    corpus.ratings.to_parquet(alone["ratings"] / "ratings.parquet")
    trait_build.build(alone, params(), strangers)
    assert read(strangers)["auc"] == found["auc"]

    moved = tmp_path / "moved"
    moved.mkdir()
    transfer_build.build({**inputs, "trait": tmp_path}, params(), moved)
    tried = read(moved)
    assert tried["pooled"]["clips"] == 192 and tried["clips"] == 480  # all are scored, strangers alone are counted
    assert left_out in tried["groups"]


def test_an_embedder_that_leaves_too_few_strangers_is_refused_with_the_way_out(
    built: tuple[Planted, dict, Path], tmp_path: Path
) -> None:
    corpus, inputs, _ = built
    inputs = learnt(inputs, tmp_path, corpus, [f"s{i}" for i in range(8)])
    with pytest.raises(BadInput, match=r"8 of the 10 speakers of x.* of 2 speakers are left.*trait.embedder: encoder"):
        trait_build.build(inputs, params(), tmp_path)


def test_an_embedder_of_which_it_is_not_known_whom_it_has_learnt_from_says_so(
    built: tuple[Planted, dict, Path], tmp_path: Path
) -> None:
    corpus, inputs, _ = built
    inputs = learnt(inputs, tmp_path, corpus, [])
    (tmp_path / "embeddings" / "seen.parquet").unlink()
    clips, told = marked(corpus.clips, inputs["embeddings"])
    assert (clips["seen"] == "").all() and told is not None
    assert "It is not known whom this model has learnt from" in told["sentence"]


def test_labels_go_by_the_mean_or_by_most_annotators(built: tuple[Planted, dict, Path], tmp_path: Path) -> None:
    _, inputs, _ = built
    ratings = pd.read_parquet(inputs["ratings"] / "ratings.parquet")
    trait_build.build(inputs, params(label_by="majority", threshold=3.5), tmp_path)
    scores = pd.read_parquet(tmp_path / "scores.parquet").set_index("utterance_id")
    above = (ratings.set_index("utterance_id")["rating"] > 3.5).groupby("utterance_id").sum()
    assert (scores["high"] == (above[scores.index] >= 2)).all()
    assert read(tmp_path)["groups"] == "rated above 3.5 by most annotators against the rest"


def test_every_picture_of_the_evidence_is_drawn(built: tuple[Planted, dict, Path], tmp_path: Path) -> None:
    _, _, out = built
    with style():
        pictures = evidence_pictures(out, read(out), Scene("rudeness", "planted", False, 0))
        write_pictures(pictures, tmp_path)
    names = {"trait-layers", "trait-null", "trait-confounds", "trait-effects", "trait-ends"}
    assert {picture.name for picture in pictures} == names == {p.stem for p in (tmp_path / "figures").glob("*.png")}
    assert next(p for p in pictures if p.name == "trait-confounds").caption.startswith("Explained by: none")


def test_the_ends_are_the_extreme_clips_lowest_first() -> None:
    scores = pd.DataFrame({"utterance_id": [f"u{i}" for i in range(30)], "score": np.arange(30.0)[::-1]})
    scores = scores.assign(speaker_id="s", emotion="sad", rating=3.0, high=False)
    found = ends(scores, 2)
    assert list(found["utterance_id"]) == ["u29", "u28", "u1", "u0"]
    assert list(found["end"]) == ["low", "low", "high", "high"]


@pytest.fixture(scope="module")
def ravdess_trait(ravdess: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Any], Path]]:
    """Anger minus calm in real RAVDESS by the real encoder of Whisper tiny.en."""
    if not ENCODER.is_dir():
        pytest.skip(f"{ENCODER} is absent (set SER_TEST_ENCODER)")
    root = tmp_path_factory.mktemp("ravdess")
    paths = [path for path in sorted(ravdess.rglob("*.flac")) if path.stem.split("-")[2] in ("02", "05")]
    write_packed(root / "packed", ((path.stem, to_int16(decode(path).samples)) for path in paths))
    audio = PackedAudio.open(root / "packed")
    ids = pd.Series(audio.utterance_ids).str.split("-")
    clips = pd.DataFrame(
        {
            "utterance_id": audio.utterance_ids,
            "speaker_id": "ravdess-" + ids.str[6],
            "emotion": ids.str[2].map(EMOTIONS),
        }
    )
    prosody = measure_prosody((audio.utterance_ids[i], audio.waveform(i)) for i in range(len(audio)))
    inputs = put(root, clips, None, prosody)
    del inputs["ratings"]
    write_layers(load_encoder(ENCODER), audio, range(len(audio)), inputs["embeddings"])
    out = root / "out"
    out.mkdir()
    trait_build.build(inputs, params(name="anger", ratings=None, permutations=300, resamples=2000), out)
    yield read(out), out


@pytest.mark.prove
def test_anger_minus_calm_is_a_strong_direction_across_actors_and_loudness_has_much_of_it(
    ravdess_trait: tuple[dict[str, Any], Path],
) -> None:
    metrics, out = ravdess_trait
    evidence = metrics["evidence"]
    assert evidence["n"] | {"clips": 384, "speakers": 24, "speakers_with_both": 24} == evidence["n"]
    assert all(auc["value"] > 0.98 and auc["p"] < 0.01 for auc in metrics["auc"].values())
    curve = pd.read_parquet(out / "curve.parquet")
    assert (curve["within"] > 0.95).all()
    assert evidence["alone"]["loudness"]["value"] > 0.95
    # few pairs of one actor are equally loud, and nothing else tells the two apart: one number without loudness would
    # hide it, whichever terms stand for loudness
    assert metrics["explained_by"] == "cannot be separated" and "loudness" in evidence["verdict"]["inseparable"]
    assert evidence["verdict"]["beyond_prosody"] is None
    assert 0 < evidence["matched"]["pairs"] < 100 and evidence["matched"]["value"] > 0.8
    print(
        json.dumps(
            {
                key: evidence[key]
                for key in ("left_out", "residual", "alone", "matched", "gain", "verdict", "shape", "stability")
            }
        )
    )
    print(curve.round(4).to_string())
