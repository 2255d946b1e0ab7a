"""`ser test` on real speech: on a split, on another corpus, on what the model has seen; and `ser split --across`."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import soxr
import yaml
from typer.testing import CliRunner

from ser_tasks.cli import _tested_across, app
from ser_tasks.config import Split, load_config
from ser_tasks.corpora.readers import load_description
from ser_tasks.errors import BadInput
from ser_tasks.evaluation.calibration import expected_calibration_error, with_temperature
from ser_tasks.local import run_build
from ser_tasks.steps import split_params
from tests.conftest import SHARED_CORPORA

EIGHT = ["angry", "calm", "disgust", "fear", "happy", "neutral", "sad", "surprised"]
FOUR = ["angry", "happy", "neutral", "sad"]
SPEAKERS = {"train": ["01", "02"], "dev": ["03"], "test": ["04", "05"]}
SOME = {"title": "t", "licence": "l", "commercial_use": "false", "citation": "c", "language": "en"}


def ser(*arguments: str | Path) -> str:
    """What a command prints. Raises what it raises."""
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def ser_json(*arguments: str | Path) -> Any:
    return json.loads(ser(*arguments, "--json"))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("testing")


@pytest.fixture(scope="module", autouse=True)
def cache(work: Path) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SER_CACHE_DIR", str(work / "cache"))
        yield


@pytest.fixture(scope="module")
def actors(ravdess: Path, work: Path) -> Path:
    """Sixteen clips of each of five actors: every emotion, both sentences, said once."""
    for number in range(1, 6):
        target = work / "actors" / f"Actor_{number:02d}"
        target.mkdir(parents=True)
        for clip in (ravdess / target.name).glob("03-01-0?-01-0?-01-??.flac"):
            shutil.copyfile(clip, target / clip.name)
    return work / "actors"


@pytest.fixture(scope="module")
def nemo(work: Path) -> Path:
    """A few clips of two speakers of nEMO, and its description beside it (nemo.yaml)."""
    source = SHARED_CORPORA / "nemo"
    if not source.is_dir():
        pytest.skip(f"{source} is absent: nEMO cannot be downloaded here (set SER_TEST_CORPORA)")
    table = pd.read_csv(source / "data.tsv", sep="\t", dtype=str)
    table["speaker_id"] = table["speaker_id"].str.strip()
    table = table[table["speaker_id"].isin(["KD0", "EB0"])].groupby(["speaker_id", "emotion"]).head(2)
    (work / "nemo" / "samples").mkdir(parents=True)
    for name in table["file_id"]:
        shutil.copyfile(source / "samples" / name, work / "nemo" / "samples" / name)
    (work / "nemo" / "samples" / "KD0_anger_999.flac").write_text("no audio")
    broken = pd.DataFrame({"file_id": ["KD0_anger_999.flac"], "emotion": "anger", "speaker_id": "KD0"})
    table = pd.concat([table, broken.assign(gender="female")])
    table.to_csv(work / "nemo" / "data.tsv", sep="\t", index=False)
    emotions = {"anger": "angry", "happiness": "happy", "sadness": "sad", "surprised": "surprised"}
    columns = {
        "speaker_id": "clips.speaker_id", "sex": "clips.gender",
        "emotion": {"from": "clips.emotion", "map": emotions | {"fear": "fear", "neutral": "neutral"}},
    }  # fmt: skip
    clips = {"file": "data.tsv", "key": "file_id", "by": "name", "required": "true"}
    (work / "nemo.yaml").write_text(yaml.safe_dump(SOME | {"tables": {"clips": clips}, "columns": columns}))
    return work / "nemo"


def config(path: Path, labels: list[str], across: list[dict[str, Any]], **corpora: str) -> Path:
    tree = {
        "name": "a", "title": "A", "corpora": {name: {"reader": its} for name, its in corpora.items()},
        "emotion": {"train_corpus": "ravdess", "labels": labels, "across": across},
        "split": {"policy": "speakers", "speakers": SPEAKERS},
        "validation": {"min_speakers": 2, "min_clips_per_class": 1, "max_rejected_share": 0.5},
        "bootstrap_resamples": 100,
    }  # fmt: skip
    path.write_text(yaml.safe_dump(tree))
    return path


@pytest.fixture(scope="module")
def data(actors: Path, work: Path) -> Path:
    """What `ser split` makes, but for the validation, which takes longest."""
    study = load_config(config(work / "a.yaml", EIGHT, [], ravdess="ravdess"))
    root, about = work / "data", load_description("ravdess")
    run_build("scan", {"raw": actors}, {"corpus": "ravdess", "description": about, "checksums": None}, root / "scan")
    run_build("pack", {"raw": actors, "scan": root / "scan"}, {}, root / "pack")
    inputs = {"scan/ravdess": root / "scan", "pack/ravdess": root / "pack"}
    run_build("split", inputs, split_params(study, about["speakers"]), root / "split")
    (root / "study.json").write_text(json.dumps(study.model_dump(mode="json")))
    return root


def resplit(data: Path, target: Path, labels: list[str], speakers: dict[str, list[str]]) -> Path:
    """The same clips under another split."""
    target.mkdir()
    study = load_config(data.parent / "a.yaml")
    study = study.model_copy(update={
        "emotion": study.emotion.model_copy(update={"labels": labels}),
        "split": Split.model_validate({"policy": "speakers", "speakers": speakers}),
    })  # fmt: skip
    inputs = {"scan/ravdess": data / "scan", "pack/ravdess": data / "pack"}
    run_build("split", inputs, split_params(study, load_description("ravdess")["speakers"]), target / "split")
    for name in ("scan", "pack"):
        (target / name).symlink_to(data / name)
    (target / "study.json").write_text(json.dumps(study.model_dump(mode="json")))
    return target


@pytest.fixture(scope="module")
def model(data: Path, work: Path) -> Path:
    ser("train", "--data_root", data, "--out_dir", work / "model", "--model", "baseline")
    return work / "model"


@pytest.fixture(scope="module")
def four(data: Path, work: Path) -> Path:
    """A split with four of the eight classes, and in it a model of them."""
    root = resplit(data, work / "four", FOUR, SPEAKERS)
    ser("train", "--data_root", root, "--out_dir", root / "model", "--model", "baseline")
    return root


def test_a_models_own_test_speakers_are_new_to_it(data: Path, model: Path) -> None:
    found = ser_json("test", "--data_root", data, "--ckpt_dir", model)
    assert json.loads((model / "learnt.json").read_text())["corpora"]["ravdess"]["train"] == {
        "speakers": ["01", "02"], "clips": 32
    }  # fmt: skip
    assert (found["clips"], found["role"], found["note"]) == (32, "test", "")
    assert (found["seen"]["clips"], found["seen"]["known"], found["seen"]["included"]) == (0, True, False)
    assert found["calibration"]["fitted_on"] == "16 dev clips"
    adapted = {row["way"]: row for row in found["adapted"]}
    assert set(adapted) == {"speaker", "corpus", "speaker, two emotions", "speaker, few clips"}
    assert (adapted["speaker"]["clips"], adapted["speaker"]["left_out"]) == (32, 0)
    assert adapted["speaker, two emotions"]["clips"] == 0, "four clips of two emotions say too little"
    assert "uar" not in adapted["speaker, two emotions"]
    printed = " ".join(ser("test", "--data_root", data, "--ckpt_dir", model).split())
    assert "adapted without labels" in printed


def test_users_get_the_probabilities_whose_calibration_is_reported(data: Path, model: Path, actors: Path) -> None:
    found = ser_json("test", "--data_root", data, "--ckpt_dir", model)
    spec = json.loads((model / "model.json").read_text())
    assert found["calibration"]["temperature"] == spec["temperature"]
    assert abs(np.log(spec["temperature"])) > 0.2, "else this says nothing"
    given, target, speaker = [], [], []
    codes = {"01": "neutral", "02": "calm", "03": "happy", "04": "sad", "05": "angry", "06": "fear", "07": "disgust"}
    for actor in SPEAKERS["test"]:
        answered = ser_json("predict", "--source_dir", actors / f"Actor_{actor}", "--ckpt_dir", model)
        assert answered["calibration"] == f"scaled by temperature {spec['temperature']:.2f}, fitted on 16 dev clips"
        for row in answered["predictions"]:
            given.append([row["probabilities"][label] for label in EIGHT])
            target.append(EIGHT.index(codes.get(Path(row["path"]).name.split("-")[2], "surprised")))
            speaker.append(actor)
    clip = next((actors / "Actor_04").iterdir())
    one = ser_json("predict_wav", "--wav_path", clip, "--ckpt_dir", model)
    assert one["calibration"] == answered["calibration"]
    scaled, hit = np.array(given), np.array(target)
    for name, probabilities in (("scaled", scaled), ("raw", with_temperature(scaled, 1 / spec["temperature"]))):
        reported = found["calibration"]["ece"][name]["value"]
        assert expected_calibration_error(probabilities, hit, speaker, 100, 0).value == pytest.approx(
            reported, abs=2e-3
        )
    assert found["calibration"]["ece"]["scaled"]["value"] < found["calibration"]["ece"]["raw"]["value"]


def test_a_model_of_before_there_was_a_temperature_says_that_it_is_not_calibrated(
    data: Path, model: Path, actors: Path, tmp_path: Path
) -> None:
    shutil.copytree(model, tmp_path / "old")
    spec = json.loads((model / "model.json").read_text())
    older = {name: value for name, value in spec.items() if not name.startswith("temperature")}
    (tmp_path / "old" / "model.json").write_text(json.dumps(older))
    clip = next((actors / "Actor_04").iterdir())
    assert ser_json("predict_wav", "--wav_path", clip, "--ckpt_dir", tmp_path / "old")["calibration"].startswith(
        "not calibrated: no temperature was fitted"
    )
    found = ser_json("test", "--data_root", data, "--ckpt_dir", tmp_path / "old")["calibration"]
    assert (found["temperature"], found["fitted_on"]) == (1.0, "")
    assert found["ece"]["raw"] == pytest.approx(found["ece"]["scaled"])


def test_under_another_split_a_model_is_not_tested_on_whom_it_learnt_from_unless_asked(
    data: Path, model: Path, tmp_path: Path
) -> None:
    other = resplit(data, tmp_path / "other", EIGHT, {"train": ["04", "03"], "dev": ["02"], "test": ["01", "05"]})
    found = ser_json("test", "--data_root", other, "--ckpt_dir", model)
    assert (found["clips"], found["speakers"], found["role"]) == (16, 1, "test")
    assert (found["seen"]["clips"], found["seen"]["speakers"]) == (16, ["01"])
    assert found["seen"]["by"] == {"speaker": 0, "clip": 16}
    assert found["calibration"]["fitted_on"] == "16 dev clips", "its own, of when it was trained"
    printed = " ".join(ser("test", "--data_root", other, "--ckpt_dir", model).split())
    assert "Left out of the test, since the model has learnt from them: 16 clip(s) of 1 speaker(s) (01)" in printed
    all_of_it = ser_json("test", "--data_root", other, "--ckpt_dir", model, "--include-seen")
    assert (all_of_it["clips"], all_of_it["speakers"]) == (32, 2)
    assert "not an estimate for new speakers" in all_of_it["role"]
    assert "not an estimate for new speakers" in all_of_it["note"], "a note keeps it from any verdict"
    assert all_of_it["seen"]["included"]
    heard = resplit(data, tmp_path / "seen", EIGHT, {"train": ["04", "05"], "dev": ["03"], "test": ["01", "02"]})
    with pytest.raises(BadInput, match=r"learnt from all 2 test speaker\(s\) of ravdess \(01, 02\).*--include-seen"):
        ser("test", "--data_root", heard, "--ckpt_dir", model)


def test_a_model_of_an_older_version_is_tested_with_a_warning(data: Path, model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "old", ignore=shutil.ignore_patterns("learnt.*"))
    found = ser_json("test", "--data_root", data, "--ckpt_dir", tmp_path / "old")
    assert not found["seen"]["known"] and "not known whom" in found["seen"]["sentence"]
    assert found["clips"] == 32


def mine(folder: Path) -> Path:
    """A corpus under names of its own, and its description beside it."""
    folder.mkdir()
    names = {
        "pattern": r"(?P<emotion>\w+)-(?P<speaker>\w+)-\d+",
        "grammar": "emotion-speaker-take",
        "example": "sad-x-1",
    }
    emotion = {"from": "emotion", "map": {name: name for name in EIGHT}}
    about = SOME | {"names": names, "columns": {"speaker_id": "speaker", "emotion": emotion}}
    folder.with_suffix(".yaml").write_text(yaml.safe_dump(about))
    return folder


def put(source: Path, target: Path) -> None:
    """A clip at another rate, quieter, without its beginning."""
    samples, rate = soundfile.read(source)
    soundfile.write(target, 0.5 * soxr.resample(samples[rate // 4 :], rate, 22050), 22050)


def test_a_corpus_of_copies_under_other_names_is_known_again(
    actors: Path, model: Path, ravdess: Path, work: Path
) -> None:
    folder = mine(work / "mine")
    put(actors / "Actor_01" / "03-01-05-01-01-01-01.flac", folder / "angry-anna-1.wav")
    put(ravdess / "Actor_01" / "03-01-04-02-01-02-01.flac", folder / "sad-anna-2.wav")  # not among what was learnt
    for code, name in (("05", "angry"), ("04", "sad")):
        put(actors / "Actor_04" / f"03-01-{code}-01-01-01-04.flac", folder / f"{name}-bob-1.wav")
    given = ("test", "--source_dir", folder, "--reader", folder.with_suffix(".yaml"), "--ckpt_dir", model)
    found = ser_json(*given)
    assert (found["corpus"], found["relation"], found["clips"], found["speakers"]) == ("mine", "across", 2, 1)
    assert (found["seen"]["speakers"], found["seen"]["by"]) == (["anna"], {"speaker": 1, "clip": 1})
    assert found["mapping"] == "all as the corpus has them", "what was seen is not left out for its emotion"
    assert ser_json(*given, "--include-seen")["clips"] == 4


def test_every_clip_of_another_corpus_is_tested_and_what_is_not_is_counted(nemo: Path, four: Path, work: Path) -> None:
    given = ("test", "--source_dir", nemo, "--reader", work / "nemo.yaml", "--ckpt_dir", four / "model")
    found = ser_json(*given, "--map", "fear=sad")
    assert (found["relation"], found["speakers"]) == ("across", 2)
    assert found["clips"] == sum(row["clips"] for row in found["classes"]) == 20
    assert found["mapping"] == "4 fear count as sad; left out: 4 surprised"
    assert found["without_label"] == {"surprised": 4} and found["rejected"] == 1
    assert list(found["confusion"]) == FOUR
    printed = " ".join(ser(*given).split())
    assert "Emotions of nemo: left out: 4 fear, 4 surprised." in printed
    assert "Rejected when nemo was read: 1 file(s)" in printed
    assert "Half of the training corpus is silence" in printed, "the model knows how its clips were recorded"
    assert "The model has learnt from none of these clips" in printed


def test_models_and_data_of_other_labels_meet_in_those_that_both_have(data: Path, model: Path, four: Path) -> None:
    fewer = ser_json("test", "--data_root", data, "--ckpt_dir", four / "model")
    assert (fewer["clips"], list(fewer["confusion"])) == (16, FOUR)
    assert fewer["without_label"] == dict.fromkeys(["calm", "disgust", "fear", "surprised"], 4)
    assert "no such label: " in " ".join(ser("test", "--data_root", data, "--ckpt_dir", four / "model").split())
    more = ser_json("test", "--data_root", four, "--ckpt_dir", model)
    assert more["clips"] == 16 and [row["label"] for row in more["classes"]] == FOUR


def test_what_cannot_be_tested_is_said_in_one_line_with_the_way_out(model: Path, four: Path, work: Path) -> None:
    folder = mine(work / "fearful")
    for label in ("fear", "calm", "sad"):
        soundfile.write(folder / f"{label}-x-1.wav", [0.1, -0.1] * 8000, 16000)
    reader = folder.with_suffix(".yaml")
    given = ("test", "--source_dir", folder, "--reader", reader, "--ckpt_dir", four / "model")
    for arguments, said in (
        (("--map", "calm"), "write EMOTION=LABEL"),
        (("--map", "clam=neutral"), "no emotion 'clam'"),
        (("--map", "calm=fear"), "the model has no label fear: it has angry, happy, neutral, sad"),
        (("--map", "calm=sad", "--map", "calm=happy"), "each emotion once"),
        ((), "clips of 1 of the model's labels, and a test needs two.*--map"),
        (("--data_root", four), "either --data_root .* or --source_dir"),
    ):
        with pytest.raises(BadInput, match=said):
            ser(*given, *arguments)
    with pytest.raises(BadInput, match="either --data_root"):
        ser("test", "--ckpt_dir", model)
    with pytest.raises(BadInput, match="there is no description"):
        ser("test", "--source_dir", folder, "--reader", "nowhere", "--ckpt_dir", model)
    with pytest.raises(BadInput, match="belong to --source_dir"):
        ser("test", "--data_root", four, "--map", "calm=neutral", "--ckpt_dir", model)
    with pytest.raises(BadInput, match=r"no model\.json"):
        ser("test", "--source_dir", folder, "--reader", reader, "--ckpt_dir", folder)


def test_a_split_keeps_the_corpora_that_are_tested_across_or_says_that_they_have_no_folder(
    actors: Path, nemo: Path, work: Path, tmp_path: Path
) -> None:
    across = [{"corpus": "nemo", "label_map": {"surprised": "happy"}}]
    chosen = config(tmp_path / "x.yaml", FOUR, across, ravdess="ravdess", nemo=str(work / "nemo.yaml"))
    root = tmp_path / "root"
    given = ("split", "--source_dir", actors, "--target_dir", root, "--config", chosen)
    with pytest.raises(BadInput, match=r"on nemo: .*--across nemo=FOLDER.*--across none"):
        ser(*given)
    with pytest.raises(BadInput, match="does not test on it"):
        ser(*given, "--across", f"nemo={nemo}", "--across", f"other={nemo}")
    with pytest.raises(BadInput, match="write NAME=FOLDER"):
        ser(*given, "--across", "nemo")
    with pytest.raises(BadInput, match="--across nemo=/nowhere does not exist"):
        ser(*given, "--across", "nemo=/nowhere")
    assert "test across: nemo" in ser(*given, "--across", f"nemo={nemo}")
    ser("train", "--data_root", root, "--out_dir", tmp_path / "m", "--model", "baseline")
    found = ser_json("test", "--data_root", root, "--ckpt_dir", tmp_path / "m")
    (other,) = found["across_corpora"]
    assert (found["corpus"], other["corpus"], other["relation"]) == ("ravdess", "nemo", "across")
    assert (other["clips"], other["speakers"]) == (20, 2)
    assert other["mapping"] == "4 surprised count as happy; left out: 4 fear"
    assert other["across"]["domain_shift"] and other["calibration"]["fitted_on"] == found["calibration"]["fitted_on"]
    alone, folders = _tested_across(load_config(chosen), str(chosen), ["none"])
    assert (alone.emotion.across, folders) == ([], {})
    named, folders = _tested_across(alone, None, ["crema_d=somewhere"])
    assert [each.corpus for each in named.emotion.across] == ["crema_d"] and folders == {"crema_d": "somewhere"}
