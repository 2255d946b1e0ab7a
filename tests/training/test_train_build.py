"""From a manifest's columns to what a network learns."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ser_tasks.builds.train_network import _start_from, _with_second_head, vote_shares
from ser_tasks.config import load_config
from ser_tasks.errors import BadInput
from ser_tasks.models.files import ModelSpec, build_model, load_model, save_model
from ser_tasks.steps import network_params
from ser_tasks.training.options import FitOptions

LABELS = ["angry", "happy", "neutral"]


def votes(**kinds: dict[str, int]) -> str:
    return json.dumps({kind: {"counts": counts, "responses": sum(counts.values())} for kind, counts in kinds.items()})


def test_votes_of_those_who_only_heard_a_clip_come_first() -> None:
    both = votes(audio_visual={"happy": 5}, face={"neutral": 9}, voice={"angry": 3, "happy": 1})
    assert vote_shares(both, LABELS) == [0.75, 0.25, 0.0]
    assert vote_shares(votes(audio_visual={"happy": 5}, face={"neutral": 9}), LABELS) == [0.0, 1.0, 0.0]
    assert vote_shares(votes(evaluators={"neutral": 2, "angry": 2}), LABELS) == [0.5, 0.0, 0.5]


@pytest.mark.parametrize("held", [None, float("nan"), "{}", votes(voice={"sad": 4}), votes(face={"angry": 4})])
def test_a_clip_that_nobody_heard_as_one_of_the_labels_has_no_votes(held: object) -> None:
    assert np.isnan(vote_shares(held, LABELS)).all()


def ratings_of(folder: Path, *utterances: str) -> Path:
    folder.mkdir()
    pd.DataFrame({"utterance_id": utterances, "annotator_id": "anna", "rating": 4.0}).to_parquet(
        folder / "ratings.parquet"
    )
    return folder


def test_there_is_a_second_head_where_it_can_learn_and_else_the_model_says_that_there_is_none(tmp_path: Path) -> None:
    asked, train = FitOptions(tone_weight=0.2), pd.DataFrame({"utterance_id": ["a", "b"]})
    spec, options = _with_second_head(small(), asked, ratings_of(tmp_path / "rated", "b", "z"), train)
    assert build_model(spec).tone_head is not None
    assert options == asked
    assert not spec.remark
    for ratings in (None, ratings_of(tmp_path / "others", "z")):
        spec, options = _with_second_head(small(), asked, ratings, train)
        model = build_model(spec)
        assert model.tone_head is None
        assert options.tone_weight == 0
        save_model(tmp_path / "saved", model, spec)
        assert "no second head" in load_model(tmp_path / "saved")[1].remark
        assert not spec.note, "a note would keep the model from being compared"


@pytest.mark.parametrize(
    ("policy", "own", "learnt"), [("votes", 0.0, 1.0), ("votes", 0.3, 0.3), ("majority", 0.0, 0.0)]
)
def test_with_the_policy_votes_networks_learn_the_votes(policy: str, own: float, learnt: float) -> None:
    config = load_config("demo", {"labels.policy": policy, "cnn.fit.soft_weight": own, "wav2vec2.fit.soft_weight": own})
    for model in ("cnn", "wav2vec2"):
        assert network_params(config, model)["fit"]["soft_weight"] == learnt  # type: ignore[arg-type]


def test_the_first_ratings_give_the_champions_successor_a_second_head(tmp_path: Path) -> None:
    champion = build_model(small(), None, 1)
    save_model(tmp_path / "start", champion, small())
    (tmp_path / "start_rows").mkdir()
    pd.DataFrame({"speaker_id": ["a"], "role": ["train"]}).to_parquet(tmp_path / "start_rows" / "rows.parquet")
    inputs = {name: tmp_path / name for name in ("start", "start_rows")}
    spec = ModelSpec("cnn", {"channels": [4] * 4, "tone": True}, LABELS, title="small")
    model = build_model(spec, None, 2)
    _start_from(inputs, model, spec, ["a"])
    assert all(torch.equal(model.state_dict()[name], value) for name, value in champion.state_dict().items())


def small(channels: int = 4, labels: list[str] = LABELS) -> ModelSpec:
    return ModelSpec("cnn", {"channels": [channels] * 4}, labels, title="small")


def test_a_night_may_start_from_the_champion_but_never_from_one_who_knows_the_test_speakers(tmp_path: Path) -> None:
    champion = build_model(small(), None, 1)
    save_model(tmp_path / "start", champion, small())
    (tmp_path / "start_rows").mkdir()
    rows = pd.DataFrame({"speaker_id": ["a", "b"], "role": ["train", "dev"]})
    rows.to_parquet(tmp_path / "start_rows" / "rows.parquet")
    inputs = {name: tmp_path / name for name in ("start", "start_rows")}
    model = build_model(small(), None, 2)
    _start_from(inputs, model, small(), ["a", "b", "new"])
    assert all(torch.equal(value, champion.state_dict()[name]) for name, value in model.state_dict().items())
    with pytest.raises(BadInput, match="has learnt from b, who do not train today"):
        _start_from(inputs, model, small(), ["a", "new"])
    whole = replace(small(), options=small().options | {"front_end": "whole"})
    with pytest.raises(BadInput, match="hears another part of a clip"):
        _start_from(inputs, build_model(whole, None, 0), whole, ["a", "b"])
    with pytest.raises(BadInput, match="another network"):
        _start_from(inputs, build_model(small(8), None, 0), small(8), ["a", "b"])
    with pytest.raises(BadInput, match="other labels"):
        _start_from(inputs, model, small(labels=LABELS[:2]), ["a", "b"])
