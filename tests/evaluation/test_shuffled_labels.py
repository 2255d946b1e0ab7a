"""Labels that somebody spoilt: the gate refuses the model that learnt from them; and models of other labels."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import Result
from typer.testing import CliRunner

from ser_tasks.builds.rows import unpacked
from ser_tasks.cli import app
from ser_tasks.config import CnnNetwork, EmotionTask, Fit, Split
from ser_tasks.corpora.demo import make_demo_corpora
from ser_tasks.corpora.readers import load_description
from ser_tasks.data.learnt import learnt_from, sketch, write_learnt
from ser_tasks.errors import BadInput
from ser_tasks.evaluation.gate import GateOptions
from ser_tasks.local import run_build
from ser_tasks.models.files import ModelSpec, build_model, save_model

LABELS = ["angry", "happy", "neutral", "sad"]
ACTORS = [str(number) for number in range(1001, 1014)]
ROLES = {"train": ACTORS[:5], "dev": ACTORS[5:6], "gate": ACTORS[6:12], "test": ACTORS[12:]}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The demo's CREMA-D (synthetic): scanned, packed, split with six gate speakers."""
    root = tmp_path_factory.mktemp("study")
    raw = make_demo_corpora(root / "demo", crema_d_actors=13, ravdess_actors=1, iemocap_sessions=1)["demo_crema_d"]
    made = {name: root / name for name in ("scan", "pack", "split", "fit", "gate")}
    description = load_description("crema_d")
    run_build("scan", {"raw": raw}, {"corpus": "c", "description": description, "checksums": None}, made["scan"])
    run_build("pack", {"raw": raw, "scan": made["scan"]}, {}, made["pack"])
    task = EmotionTask(train_corpus="c", labels=LABELS).model_dump(mode="json")
    split = Split(policy="speakers", speakers=ROLES).model_dump(mode="json")
    params = {**task, "split": split, "roster": {}, "policy": "intended"}
    run_build("split", {"scan/c": made["scan"], "pack/c": made["pack"]}, params, made["split"])
    for rows in ("fit", "gate"):
        run_build("rows", {"split": made["split"]}, {"rows": rows}, made[rows])
    return made


def trained(study: dict[str, Path], rows: Path, target: Path) -> Path:
    params: dict[str, Any] = {"labels": LABELS, "seed": 0, "title": "CNN", "note": ""}
    params["options"] = CnnNetwork(channels=[8, 16, 16, 16]).model_dump(mode="json")
    params["fit"] = Fit(epochs=24, batch_size=16, device="cpu").model_dump(mode="json")
    run_build("train_cnn", {"rows": rows, "audio": study["pack"]}, params, target)
    return target


def verdict(study: dict[str, Path], champion: Path, challenger: Path, target: Path, learnt: Path) -> Any:
    both = {"champion": champion, "challenger": challenger, "champion_rows": learnt}
    params = {"resamples": 500, "seed": 0, "trained": "c"}
    if not (target / "harm").exists():  # asked again about the same two models
        run_build("harm", {**both, "split": study["split"], "audio/c": study["pack"]}, params, target / "harm")
    inputs = {**both, "gate": study["gate"], "fit": study["fit"], "audio": study["pack"], "manifest": study["scan"]}
    options = {"options": vars(GateOptions())}
    run_build("gate", {**inputs, "harm": target / "harm"}, params | options, target / "gate")
    return json.loads((target / "gate" / "gate.json").read_text())


def test_a_model_that_learnt_shuffled_labels_does_not_pass_and_the_true_one_does(
    study: dict[str, Path], tmp_path: Path
) -> None:
    spoilt = tmp_path / "spoilt"
    spoilt.mkdir()
    rows = pd.read_parquet(study["fit"] / "rows.parquet")
    rows["label"] = rows["label"].sample(frac=1, random_state=1).to_numpy()
    rows.to_parquet(spoilt / "rows.parquet")
    true, false = trained(study, study["fit"], tmp_path / "true"), trained(study, spoilt, tmp_path / "false")
    refused = verdict(study, true, false, tmp_path / "refused", study["fit"])
    assert refused["verdict"] == "fail", refused["sentence"]
    assert (refused["role"], refused["speakers"]) == ("gate", 6)
    assert refused["difference"]["high"] < 0
    assert refused["reported"]["name"] == "c"
    assert "corpus" not in {criterion["kind"] for criterion in refused["criteria"]}
    assert verdict(study, false, true, tmp_path / "passed", spoilt)["verdict"] == "pass"

    heard = tmp_path / "heard"  # a champion of another split, which put those who decide today into training
    heard.mkdir()
    pd.read_parquet(study["gate"] / "rows.parquet").assign(role="train").to_parquet(heard / "rows.parquet")
    unsure = verdict(study, true, false, tmp_path / "refused", heard)
    assert unsure["verdict"] == "undecided"
    assert any("learnt from 6 of the gate speakers (1007, 1008" in each["sentence"] for each in unsure["criteria"])


def untrained(folder: Path, labels: list[str], seed: int = 0) -> Path:
    spec = ModelSpec("cnn", CnnNetwork(channels=[4, 4, 4, 4]).model_dump(mode="json"), labels, title=folder.name)
    folder.mkdir()
    save_model(folder, build_model(spec, None, seed), spec)
    return folder


def test_a_champion_that_knows_those_who_decide_under_other_names_is_known_by_its_sketches(
    study: dict[str, Path], tmp_path: Path
) -> None:
    both = {name: untrained(tmp_path / name, LABELS, seed) for seed, name in enumerate(("champion", "challenger"))}
    gate = pd.read_parquet(study["gate"] / "rows.parquet")
    with unpacked(study["pack"], sorted(set(gate["speaker_id"]))) as audio:
        clips = sketch(gate, audio, study["pack"])
    other = clips.assign(corpus="the same by another name", speaker_id="x" + clips["speaker_id"], role="train")
    write_learnt(both["champion"], learnt_from(other))
    found = verdict(study, both["champion"], both["challenger"], tmp_path / "verdict", study["fit"])
    assert found["verdict"] == "undecided"
    assert any("learnt from 6 of the gate speakers (1007, 1008" in each["sentence"] for each in found["criteria"])


def test_harm_is_looked_for_among_the_labels_that_a_corpus_shares_with_both_models(
    study: dict[str, Path], tmp_path: Path
) -> None:
    both = {name: untrained(tmp_path / name, LABELS, seed) for seed, name in enumerate(("champion", "challenger"))}
    (tmp_path / "split").mkdir()
    rows = pd.read_parquet(study["split"] / "test.parquet")
    label = rows["label"].where(rows["label"] != "sad", "calm")  # which neither model can say
    rows.assign(label=label).to_parquet(tmp_path / "split" / "test.parquet")
    inputs = {**both, "split": tmp_path / "split", "audio/c": study["pack"]}
    run_build("harm", inputs, {"trained": "another"}, tmp_path / "harm")
    (part,) = json.loads((tmp_path / "harm" / "harm.json").read_text()).values()
    assert part["labels_protocol"]["shared"] == ["angry", "happy", "neutral"]
    assert part["labels_protocol"]["model_only"] == ["sad"]
    calm = int((label == "calm").sum())
    assert part["labels_protocol"]["corpus_only"] == {"calm": calm} and calm > 0
    assert part["clips"] == len(rows) - calm


def test_the_command_line_tests_a_model_of_more_or_fewer_labels_than_the_data_and_says_so(
    study: dict[str, Path], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in ("split", "pack", "scan"):
        (data / name).symlink_to(study[name])
    task = {"train_corpus": "c", "labels": LABELS}
    about = {"name": "x", "title": "x", "corpora": {"c": {"reader": "crema_d"}}, "emotion": task}
    (data / "study.json").write_text(json.dumps(about))

    def tested(labels: list[str], *options: str) -> Result:
        folder = tmp_path / "-".join([*labels, *options])
        command = ["test", "--data_root", str(data), "--ckpt_dir", str(untrained(folder, labels)), *options]
        return CliRunner().invoke(app, command)

    wider = json.loads(tested(["sad", "neutral", "happy", "fear", "angry"], "--json").stdout)
    assert wider["labels_protocol"]["model_only"] == ["fear"] and wider["open"]["clips"] == wider["clips"]
    assert list(wider["confusion"]) == LABELS
    words = " ".join(tested(["angry", "calm", "sad"]).stdout.split())
    assert "UAR among the 2 labels that model and corpus share (angry, sad); " in words
    assert "when any of the model's 3 labels may be answered" in words
    assert "Left out, since the model has no such label:" in words and "neutral" in words
    refused = tested(["angry", "calm"]).exception
    assert isinstance(refused, BadInput) and "has clips of 1 of the model's labels" in str(refused)
