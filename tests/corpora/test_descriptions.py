"""Descriptions of corpora: what they may say, and that every fault is named with its place."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ser_tasks.config import CANONICAL_EMOTIONS
from ser_tasks.corpora.readers import detect_reader, load_description, read_corpus
from ser_tasks.corpora.source import open_source
from ser_tasks.errors import BadInput

MINE: dict[str, Any] = {
    "title": "Mine",
    "licence": "CC0 1.0",
    "commercial_use": True,
    "citation": "me",
    "language": "en",
    "names": {"pattern": "(?P<who>[a-z]+)_(?P<how>[a-z]+)", "grammar": "<who>_<how>", "example": "ann_joy"},
    "columns": {"speaker_id": "who", "emotion": {"from": "how", "map": {"joy": "happy"}}},
}


def written(folder: Path, **changes: Any) -> str:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({**MINE, **changes}))
    return str(path)


@pytest.mark.parametrize("name", ["crema_d", "ravdess", "iemocap", "emodb", "example_tsv"])
def test_the_descriptions_here_are_whole_and_survive_json(name: str, tmp_path: Path) -> None:
    described = load_description(name)
    assert json.loads(json.dumps(described)) == described
    assert described["name"] == name
    assert set(described["columns"]["emotion"]["map"].values()) <= set(CANONICAL_EMOTIONS)
    assert described["speakers"] and isinstance(described["commercial_use"], bool)
    assert described["licence"] and described["citation"] and described["language"]


def test_a_description_is_found_by_path_or_in_a_folder_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_path = load_description(written(tmp_path))
    monkeypatch.setenv("SER_CORPORA", str(tmp_path))
    assert load_description("mine") == by_path
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "ann_joy.wav").write_bytes(b"")
    source = open_source(tmp_path / "corpus")
    assert detect_reader(source) == "mine"
    assert read_corpus(by_path, source).entries[0].emotion == "happy"
    with pytest.raises(BadInput, match=r"no description .*ravdess\.yaml; in .* there are: mine"):
        load_description("ravdess")


def test_codes_stay_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    text = "map: {01: happy, NO: sad, 1e3: angry, yes: fear, 2024-01-01: calm}"
    path.write_text(
        yaml.safe_dump(MINE | {"columns": "HERE"}).replace(
            "HERE", f"{{speaker_id: who, emotion: {{from: how, {text}}}}}"
        )
    )
    described = load_description(str(path))
    assert list(described["columns"]["emotion"]["map"]) == ["01", "NO", "1e3", "yes", "2024-01-01"]


def columns(**changes: Any) -> dict[str, Any]:
    return {"columns": {**MINE["columns"], **changes}}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"licens": "x"}, "licens: Extra inputs"),
        ({"licence": None}, "licence: Input should be a valid string"),
        ({"commercial_use": "perhaps"}, "commercial_use: Input should be a valid boolean"),
        ({"names": {**MINE["names"], "pattern": "(?P<who>"}}, "names.pattern: .* is no regular expression"),
        ({"names": {**MINE["names"], "example": "Ann"}}, "names: the example 'Ann' does not fit the pattern"),
        ({"names": {**MINE["names"], "pattern": "(?P<stem>[a-z]+)_(?P<who>[a-z]+)(?P<how>)"}}, "not be called stem"),
        (columns(gender="who"), "columns.gender"),
        (columns(sex="woh"), "columns.sex.from is 'woh', which there is not; there are: how, who, path, folder"),
        (columns(age="actors.Age"), "columns.age.from is 'actors.Age', which there is not"),
        (columns(emotion={"from": "how", "map": {"joy": "joyful"}}), "columns.emotion.map.joy is 'joyful'"),
        (columns(emotion={"from": "how", "map": {"joy": None}}), "columns.emotion.map.joy is None; it may be: angry"),
        (columns(sex={"from": "who", "map": {"ann": "f"}}), "columns.sex.map.ann is 'f'; it may be: male, female"),
        ({"columns": {"emotion": "how"}}, "columns.speaker_id is missing"),
        ({"tables": {"t": {"file": "t.csv", "key": "id", "by": "speaker"}}}, "tables.t.by is 'speaker'"),
        ({"tables": {"t": {"file": "t.csv", "by": "who"}}}, "tables.t.key: Field required"),
        ({"leave_out": [{"where": {"nobody": "x"}, "why": "x"}]}, r"leave_out\[0\].where is 'nobody'"),
        ({"leave_out": [{"where": {"who": "("}, "why": "x"}]}, r"leave_out.0.where.who: .* no regular expression"),
        ({"speakers": {"ann": "f"}}, "speakers.ann: Input should be 'male', 'female' or 'other'"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)  # fmt: skip
def test_every_fault_is_named_with_its_place(tmp_path: Path, changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(BadInput, match=rf"mine\.yaml has 1 fault\(s\): .*{fault}"):
        load_description(written(tmp_path, **changes))


def test_what_is_no_description_is_said(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    for text, reason in (
        ("a: [", "is not YAML"),
        ("- a", "holds no mapping"),
        ("title: a\ntitle: b", "the key 'title' is there twice"),
    ):
        path.write_text(text)
        with pytest.raises(BadInput, match=reason):
            load_description(str(path))
    Path(written(tmp_path)).rename(tmp_path / "My Corpus.yaml")
    with pytest.raises(BadInput, match="name: String should match pattern"):
        load_description(str(tmp_path / "My Corpus.yaml"))
